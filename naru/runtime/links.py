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
    for number, protocol in _sorted(link.ports):
        url = f"{protocol}://{link.address}:{number}"
        if len(result) == 1:
            result.append(f"{prefix}_PORT={url}")
        port = f"{prefix}_PORT_{number}_{protocol.upper()}"
        result += [
            f"{port}={url}",
            f"{port}_ADDR={link.address}",
            f"{port}_PORT={number}",
            f"{port}_PROTO={protocol}",
        ]
    for entry in link.env:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_PASSED_ON:
            result.append(f"{prefix}_ENV_{name}={value}")
    return result


def _sorted(ports: Sequence[str]) -> list[tuple[int, str]]:
    """By number, TCP before the others."""
    pairs = []
    for port in ports:
        number, _, protocol = port.partition("/")
        if number.isdigit():
            pairs.append((int(number), protocol or "tcp"))
    return sorted(set(pairs), key=lambda pair: (pair[0], pair[1] != "tcp", pair[1]))
