"""`--link name:alias` on the default bridge: names in /etc/hosts and Docker's variables. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from naru.base.errors import InvalidParameter

_NOT_PASSED_ON = ("HOME", "PATH")


@dataclass(frozen=True, slots=True)
class Link:
    """A running container as another one sees it. `ports`: `80/tcp`; `env`: the linked one's."""

    alias: str
    name: str
    hostname: str
    address: str
    ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


def parse_link(text: str) -> tuple[str, str]:
    """(container, alias) of `name:alias`, `name`, or `/name:/me/alias`, which inspect shows.

    Raises: InvalidParameter.
    """
    name, _, alias = text.partition(":")
    name = name.strip("/")
    alias = alias.rpartition("/")[2] or name
    if not name or ":" in alias or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", alias):
        raise InvalidParameter(f"bad format for links: {text}")
    return name, alias


def hosts_of(links: Iterable[Link]) -> list[tuple[str, str]]:
    """(address, names) for /etc/hosts."""
    return [
        (link.address, " ".join(dict.fromkeys((link.alias, link.hostname, link.name))))
        for link in links
        if link.address
    ]


def environment_of(links: Iterable[Link], own_name: str) -> tuple[str, ...]:
    """The variables that describe the linked containers to container `own_name`."""
    return tuple(entry for link in links for entry in _variables(link, own_name))


def _variables(link: Link, own_name: str) -> list[str]:
    prefix = link.alias.upper().replace("-", "_")
    result = [f"{prefix}_NAME=/{own_name}/{link.alias}"]
    ports = _sorted(link.ports)
    if ports:
        result.append(f"{prefix}_PORT={_url(link, *ports[0])}")
    for number, protocol in ports:
        port = f"{prefix}_PORT_{number}_{protocol.upper()}"
        result += [
            f"{port}={_url(link, number, protocol)}",
            f"{port}_ADDR={link.address}",
            f"{port}_PORT={number}",
            f"{port}_PROTO={protocol}",
        ]
    for first, last, protocol in _ranges(ports):
        port = f"{prefix}_PORT_{first}_{protocol.upper()}"
        result += [
            f"{port}_START={_url(link, first, protocol)}",
            f"{port}_PORT_START={first}",
            f"{port}_END={_url(link, last, protocol)}",
            f"{port}_PORT_END={last}",
        ]
    for entry in link.env:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_PASSED_ON:
            result.append(f"{prefix}_ENV_{name}={value}")
    return result


def _url(link: Link, number: int, protocol: str) -> str:
    return f"{protocol}://{link.address}:{number}"


def _sorted(ports: Sequence[str]) -> list[tuple[int, str]]:
    """TCP before the others, then by number."""
    pairs = []
    for port in ports:
        number, _, protocol = port.partition("/")
        if number.isdigit():
            pairs.append((int(number), protocol or "tcp"))
    return sorted(set(pairs), key=lambda pair: (pair[1] != "tcp", pair[1], pair[0]))


def _ranges(ports: Sequence[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """(first, last, protocol) of neighbours, where there are at least two."""
    found: list[tuple[int, int, str]] = []
    for number, protocol in ports:
        if found and (found[-1][1] + 1, found[-1][2]) == (number, protocol):
            found[-1] = (found[-1][0], number, protocol)
        else:
            found.append((number, number, protocol))
    return [item for item in found if item[0] < item[1]]
