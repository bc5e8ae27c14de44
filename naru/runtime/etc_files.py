"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container. Pure: text in, text out."""

import ipaddress
from collections.abc import Collection, Iterable, Sequence

from naru.base.errors import InvalidParameter

HOST_GATEWAY = "host-gateway"
INTERNAL_NAMESERVER = "127.0.0.11"
FALLBACK_NAMESERVERS = ("8.8.8.8", "8.8.4.4")

_NOTE = """\
# Written by Naru at each start of the container. To change it for good use --dns, --dns-search and
# --dns-option.
"""
_HOSTS_HEAD = "127.0.0.1\tlocalhost\n"
_HOSTS_HEAD_V6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def extra_hosts(
    entries: Iterable[str] | None, gateways: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """(address, name) of each `--add-host name:address`; `host-gateway` gives one per gateway.

    Raises: InvalidParameter with Docker's text.
    """
    result: list[tuple[str, str]] = []
    for entry in entries or ():
        name, separator, address = entry.partition(":")
        if not separator or not name or name.split() != [name]:
            raise InvalidParameter(f'bad format for add-host: "{entry}"')
        if address == HOST_GATEWAY:
            if not gateways:
                raise InvalidParameter("unable to derive the IP value for host-gateway")
            result.extend((gateway, name) for gateway in gateways)
            continue
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from error
        result.append((address, name))
    return result


def hosts(
    hostname: str,
    domainname: str,
    addresses: Iterable[str],
    extra: Iterable[tuple[str, str]] = (),
    *,
    ipv6: bool = True,
    names: Sequence[str] = (),
) -> str:
    """A container's own /etc/hosts. `names`: more names of the container (links, aliases)."""
    lines = [_HOSTS_HEAD, _HOSTS_HEAD_V6 if ipv6 else ""]
    lines += [f"{address}\t{name}\n" for address, name in extra]
    return "".join(lines) + own_lines(hostname, domainname, addresses, names=names)


def own_lines(
    hostname: str, domainname: str, addresses: Iterable[str], *, names: Sequence[str] = ()
) -> str:
    """The lines of /etc/hosts that name the container itself, one for each address."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    short = full.partition(".")[0]
    own = full if short == full else f"{full} {short}"
    return "".join(f"{address}\t{' '.join((own, *names))}\n" for address in addresses)


def without_addresses(text: str, addresses: Iterable[str]) -> str:
    """/etc/hosts without the lines of these addresses; all else as it was, also by others."""
    gone = set(addresses)
    lines = text.splitlines(keepends=True)
    kept = "".join(line for line in lines if not gone.intersection(line.split()[:1]))
    return kept if not kept or kept.endswith("\n") else kept + "\n"


def with_address(text: str, names: Collection[str], address: str) -> str:
    """A hosts file in which the lines whose first name is one of `names` have another address."""
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if len(words) > 1 and words[1] in names:
            line = line.replace(words[0], address, 1)
        lines.append(line)
    return "".join(lines)


def without_name(text: str, name: str) -> str:
    """A hosts file without the lines whose first name is `name`."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.split()[1:2] != [name])


def hosts_of_host(text: str, extra: Iterable[tuple[str, str]] = ()) -> str:
    """The host's /etc/hosts with `--add-host` entries after it, for `--network host`."""
    if text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"{address}\t{name}\n" for address, name in extra)


def hostname_file(hostname: str) -> str:
    return hostname + "\n"


def resolv_conf(
    host_text: str,
    *,
    nameservers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    keep_loopback: bool = False,
    internal: bool = False,
    ipv6: bool = True,
) -> str:
    """A container's /etc/resolv.conf out of the host's and the overrides.

    `internal`: the engine's name server is asked, and asks those that would stand here otherwise.
    """
    servers, searches, opts, other = _parse(host_text)
    if internal:
        servers = [INTERNAL_NAMESERVER]
    elif nameservers:
        servers = list(nameservers)
    elif not keep_loopback:
        servers = [s for s in servers if not _local(s) and (ipv6 or ":" not in s)]
        servers = servers or list(FALLBACK_NAMESERVERS)
    if search:
        searches = [s for s in search if s != "."]
    if options:
        opts = list(options)
    if internal and not any(option.startswith("ndots:") for option in opts):
        opts.append("ndots:0")
    lines = [_NOTE, *(f"nameserver {server}" for server in servers)]
    if searches:
        lines.append("search " + " ".join(searches))
    if opts:
        lines.append("options " + " ".join(opts))
    return "\n".join((*lines, *other)) + "\n"


def resolvers(host_text: str) -> tuple[str, ...]:
    """The name servers of a resolv.conf, loopback ones included."""
    return tuple(_parse(host_text)[0])


def asks_ndots(options: Sequence[str], host_text: str) -> bool:
    """Whether somebody set `ndots`: then names without a dot are looked for locally only."""
    return any(option.startswith("ndots:") for option in options or _parse(host_text)[2])


def _local(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _parse(text: str) -> tuple[list[str], list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    other: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options += words[1:]
        else:
            other.append(" ".join(words))
    return servers, searches, options, other
