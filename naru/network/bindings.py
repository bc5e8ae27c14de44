"""Published ports as asked for: parsing, checking, and the order in which they are given. Pure.

Spec: Engine API, `PortBindings` ("80/tcp" → HostIp and HostPort, which may be empty or a range),
`ExposedPorts`, `PublishAllPorts`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from naru.base.errors import InvalidParameter
from naru.spec.engine.container_config import PortBinding

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(\w+))?\Z", re.ASCII)
PROTOCOLS = ("tcp", "udp", "sctp")
Ports = dict[str, list[PortBinding] | None]


@dataclass(frozen=True, slots=True, order=True)
class PortWish:
    """One binding. `low`..`high`: the host's ports that will do; both 0: an ephemeral one.

    `host_ip` "" is every address, of both families.
    """

    port: int
    proto: str
    host_ip: str = ""
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """A wish granted: `host_ip` is one address of one family or its wildcard."""

    wish: PortWish
    host_ip: str
    host_port: int


def parse_port(text: str) -> tuple[int, int, str]:
    """First, last and protocol of `80`, `80/tcp`, `80-90/udp`. Raises: InvalidParameter."""
    match = _PORT.match(text)
    if match is None:
        raise InvalidParameter(f"invalid port specification: {text!r}")
    first, last = int(match[1]), int(match[2] or match[1])
    proto = (match[3] or "tcp").lower()
    if proto not in PROTOCOLS:
        raise InvalidParameter(f"invalid port specification: {text!r}: invalid proto: {proto}")
    if not 1 <= first <= last <= 65535:
        raise InvalidParameter(f"invalid port specification: {text!r}: wanted 1 to 65535")
    return first, last, proto


def port_name(port: int, proto: str) -> str:
    return f"{port}/{proto}"


def expand(names: Iterable[str]) -> list[tuple[int, str]]:
    """Every port that `ExposedPorts`' names stand for, in order."""
    ports: set[tuple[int, str]] = set()
    for name in names:
        first, last, proto = parse_port(name)
        ports.update((port, proto) for port in range(first, last + 1))
    return sorted(ports)


def wishes(
    bindings: Mapping[str, list[PortBinding] | None],
    exposed: Iterable[str] = (),
    *,
    publish_all: bool = False,
) -> list[PortWish]:
    """What has to be published, in the order of the container's ports.

    With `publish_all` every exposed port without a binding gets an ephemeral one.
    Raises: InvalidParameter, naming the port.
    """
    wanted: dict[tuple[int, str], list[PortWish]] = {}
    for name, items in bindings.items():
        first, last, proto = parse_port(name)
        if first != last:
            raise InvalidParameter(f"invalid port specification: {name!r}: wanted a single port")
        for item in items or []:
            wanted.setdefault((first, proto), []).append(_wish(name, first, proto, item))
    if publish_all:
        for port, proto in expand(exposed):
            wanted.setdefault((port, proto), [PortWish(port, proto)])
    return [wish for key in sorted(wanted) for wish in wanted[key]]


def _wish(name: str, port: int, proto: str, binding: PortBinding) -> PortWish:
    host_ip = binding.host_ip.strip("[]")
    if host_ip:
        try:
            host_ip = str(ip_address(host_ip))
        except ValueError as error:
            raise InvalidParameter(
                f"invalid host address {binding.host_ip!r} for port {name}"
            ) from error
    low, high = _host_ports(name, binding.host_port)
    return PortWish(port, proto, host_ip, low, high)


def _host_ports(name: str, text: str) -> tuple[int, int]:
    if text in ("", "0"):
        return 0, 0
    low, dash, high = text.partition("-")
    if text.isascii() and low.isdecimal() and (high.isdecimal() if dash else True):
        first, last = int(low), int(high or low)
        if 1 <= first <= last <= 65535:
            return first, last
    raise InvalidParameter(f"invalid host port {text!r} for port {name}: wanted 1 to 65535")


def ports_answer(published: Iterable[Published], exposed: Iterable[str]) -> Ports:
    """`NetworkSettings.Ports` out of what was granted (port 0: routed) and the exposed ports."""
    answer: Ports = {port_name(port, proto): None for port, proto in expand(exposed)}
    for item in published:
        name = port_name(item.wish.port, item.wish.proto)
        listed = answer.get(name) or []
        port = str(item.host_port or "")
        answer[name] = [*listed, PortBinding(host_ip=item.host_ip, host_port=port)]
    return dict(sorted(answer.items()))


def published(ports: Mapping[str, list[PortBinding] | None]) -> tuple[Published, ...]:
    """What `NetworkSettings.Ports` says is published. Raises: InvalidParameter."""
    found = []
    for name, listed in ports.items():
        port, _, proto = parse_port(name)
        for item in listed or []:
            number = int(item.host_port or 0)
            wish = PortWish(port, proto, item.host_ip, number, number)
            found.append(Published(wish, item.host_ip, number))
    return tuple(found)
