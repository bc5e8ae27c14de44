"""`--publish-source`: from which networks a published port may be reached. Pure.

The container carries the answer as a label, `*=NETWORK,…` or `PORT/PROTOCOL=NETWORK,…` with `;`
between entries; PORT is the host's. Naru's engine reads it, other engines do not.
"""

from __future__ import annotations

from naru.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Source = tuple[str, tuple[str, ...]]

LABEL = "io.naru.publish.sources"
EVERY = "*"
MAX_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


def read_source(text: str) -> Source:
    """A port of the host (`8080/tcp`, or `*`) and networks. Raises: ValueError."""
    port, equals, networks = text.rpartition("=")
    items = [item.strip() for item in networks.split(",")]
    if "" in items:
        raise ValueError("no network is named: it is [PORT[/PROTOCOL]=]CIDR[,CIDR...]")
    chosen = _port(port) if equals else EVERY
    return chosen, tuple(_network(item) for item in items)


def _port(text: str) -> str:
    if text == EVERY:
        return text
    number, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    fine = number.isascii() and number.isdigit() and 1 <= int(number) <= MAX_PORT
    if not fine:
        raise ValueError(f"{text} is no port of the host: it is PORT or PORT/PROTOCOL")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    return f"{int(number)}/{protocol}"


def _network(text: str) -> str:
    from ipaddress import ip_network

    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"invalid CIDR address: {text}") from None
    raise ValueError(f"invalid CIDR address: {text}: the network it lies in is {wider}")


SOURCE = Kind("source", read_source, repeats=True)


def sources_label(sources: Iterable[Source], bindings: dict[str, Any], every_port: bool) -> str:
    """The label's value. `bindings`: the PortBindings; `every_port`: with --publish-all.

    Raises: ValueError for a port that is not published, since nothing would be held back there.
    """
    merged: dict[str, dict[str, None]] = {}
    for port, networks in sources:
        merged.setdefault(port, {}).update(dict.fromkeys(networks))
    published = [
        (binding["HostPort"], inside.partition("/")[2])
        for inside, many in bindings.items()
        for binding in many
    ]
    for port in merged:
        if port == EVERY and not published and not every_port:
            raise ValueError("--publish-source: no port is published, see --publish")
        if port != EVERY and not any(_is_at(port, *one) for one in published):
            number, _, protocol = port.partition("/")
            raise ValueError(
                f"--publish-source: port {port} of the host is not published, "
                f"see --publish {number}:PORT/{protocol}"
            )
    return ";".join(f"{port}={','.join(networks)}" for port, networks in merged.items())


def _is_at(port: str, host_port: str, protocol: str) -> bool:
    """Whether a binding to `host_port` (a number, a range, empty for any) may be at `port`."""
    number, _, wanted = port.partition("/")
    if wanted != protocol:
        return False
    first, _, last = host_port.partition("-")
    if not first or int(first) == 0:
        return False
    return int(first) <= int(number) <= int(last or first)
