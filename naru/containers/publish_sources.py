"""Which networks may reach a published port: the label `io.naru.publish.sources`. Pure.

    *=10.0.0.0/8                                     every published port of the container
    8080/tcp=10.0.0.0/8,192.168.1.0/24;53/udp=fd00::/8     by port of the host

A port without its own entry goes by `*`; without that, everyone may reach it.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from naru.base.errors import InvalidParameter

LABEL = "io.naru.publish.sources"


def parse(labels: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """ "8080/tcp" or "*" → networks, neither overlapping nor twice. Raises: InvalidParameter."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, labels.get(LABEL, "").replace(" ", "").split(";")):
        port, equals, sources = entry.partition("=")
        if not equals or not sources:
            raise InvalidParameter(
                f"invalid label {LABEL}: {entry!r}: wanted PORT/PROTOCOL=NETWORK,… or *=NETWORK,…"
            )
        found[_port(port)] = _networks(sources)
    return found


def _port(text: str) -> str:
    if text == "*":
        return text
    number, _, proto = text.partition("/")
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= 65535):
        raise InvalidParameter(f"invalid label {LABEL}: {text!r} is no port of the host")
    if (proto or "tcp") not in ("tcp", "udp", "sctp"):
        raise InvalidParameter(f"invalid label {LABEL}: invalid proto: {proto}")
    return f"{int(number)}/{proto or 'tcp'}"


def _networks(text: str) -> tuple[str, ...]:
    v4: list[IPv4Network] = []
    v6: list[IPv6Network] = []
    for item in text.split(","):
        try:
            network = ip_network(item)
        except ValueError as error:
            raise InvalidParameter(
                f"invalid label {LABEL}: {item!r} is no network: {error}"
            ) from error
        if isinstance(network, IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return tuple(str(item) for item in (*collapse_addresses(v4), *collapse_addresses(v6)))
