"""What names mean to one asker."""

import socket

import pytest

from naru.network.dns import message, zone
from naru.network.dns.message import encode_name, reverse_name
from naru.network.dns.zone import View, Zone


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def entry(
    *addresses: str, own: tuple[str, ...], aliases: tuple[str, ...] = (), listed: bool = True
) -> zone.Entry:
    return own, aliases, [packed(address) for address in addresses], listed


def look(view: View, name: str, qtype: int = message.A) -> list[str] | None:
    wire = encode_name(name)
    assert wire is not None
    found = zone.lookup(view, wire, qtype)
    if found is None:
        return None
    return [socket.inet_ntop(socket.AF_INET6 if len(x) > 4 else socket.AF_INET, x) for x in found]


def pointed(view: View, address: str, qtype: int = message.PTR) -> tuple[bytes, ...] | None:
    return zone.lookup(view, reverse_name(packed(address)), qtype)


FRONT = Zone(
    "front",
    [
        entry("10.1.0.2", own=("Web", "0123456789ab"), aliases=("www", "all")),
        entry("10.1.0.3", "fd01::3", own=("api", "aaaaaaaaaaaa"), aliases=("all",)),
        entry("10.1.0.4", own=("sick", "bbbbbbbbbbbb"), aliases=("all", "alone"), listed=False),
        entry("10.1.0.5", own=("all-own.x",), aliases=("api",)),
    ],
)
BACK = Zone(
    "Back.Net",
    [
        entry("10.2.0.3", "fd02::3", own=("api", "aaaaaaaaaaaa"), aliases=("only-back",)),
        entry("10.2.0.9", "fd02::9", own=("db",), aliases=("www",)),
    ],
)
BOTH = View([FRONT, BACK], {"Linked": [packed("10.9.0.1")], "db": [packed("10.9.0.2")]})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", ["10.1.0.2"]),
        ("WEB.", ["10.1.0.2"]),
        ("0123456789ab", ["10.1.0.2"]),
        ("www", ["10.1.0.2"]),  # of the first network that has it
        ("all", ["10.1.0.2", "10.1.0.3"]),
        ("api", ["10.1.0.3", "10.1.0.5"]),  # a name and another's alias
        ("sick", ["10.1.0.4"]),
        ("alone", []),
        ("web.front", ["10.1.0.2"]),
        ("api.back.net", ["10.2.0.3"]),
        ("api.BACK.NET", ["10.2.0.3"]),
        ("all-own.x", ["10.1.0.5"]),
        ("all-own.x.front", ["10.1.0.5"]),
        ("only-back", ["10.2.0.3"]),
        ("linked", ["10.9.0.1"]),
        ("db", ["10.9.0.2"]),  # a link goes before a name
        ("db.back.net", ["10.2.0.9"]),
        ("linked.front", None),
        ("web.back.net", None),
        ("web.fron", None),
        ("webfront", None),
        ("front", None),
        ("example.com", None),
        ("web.front.front", None),
    ],
)
def test_names(name: str, found: list[str] | None) -> None:
    assert look(BOTH, name) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", []),  # it is there, and has none: never asked for elsewhere
        ("api", ["fd01::3"]),
        ("linked", []),
        ("db", ["fd02::9"]),  # the link has none, the network has
        ("example.com", None),
    ],
)
def test_names_of_the_other_family(name: str, found: list[str] | None) -> None:
    assert look(BOTH, name, message.AAAA) == found


@pytest.mark.parametrize("qtype", [2, 5, 6, 12, 15, 16, 33, 65, 255])
def test_other_types_of_our_names_have_no_data(qtype: int) -> None:
    assert look(BOTH, "web", qtype) == []
    assert look(BOTH, "example.com", qtype) is None


def test_only_networks_of_the_asker_are_searched() -> None:
    assert look(View([BACK], {}), "web") is None
    assert look(View([BACK], {}), "web.front") is None
    assert look(View([], {}), "web") is None


def test_addresses_have_names() -> None:
    assert pointed(BOTH, "10.1.0.2") == (b"\x03web\x05front\0",)
    assert pointed(BOTH, "fd02::3") == (b"\x03api\x04back\x03net\0",)
    assert pointed(BOTH, "10.1.0.2", message.A) == ()
    assert pointed(BOTH, "10.1.0.77") is None
    assert pointed(View([FRONT], {}), "10.2.0.3") is None


def test_names_that_cannot_be_asked_for_are_left_out() -> None:
    odd = Zone("n", [entry("10.0.0.1", own=("a" * 64, "ok"), aliases=("..", ""))])
    view = View([odd], {"b" * 64: [packed("10.0.0.2")]})
    assert look(view, "ok") == ["10.0.0.1"]
    assert pointed(view, "10.0.0.1") is None


def test_a_network_whose_name_is_none_has_bare_names_only() -> None:
    odd = View([Zone("a..b", [entry("10.0.0.1", own=("web",))])], {})
    assert look(odd, "web") == ["10.0.0.1"]
    assert look(odd, "web.a") is None


def test_an_address_is_given_once() -> None:
    twice = View([Zone("n", [entry("10.0.0.1", own=("web",), aliases=("web",))])], {})
    assert look(twice, "web") == ["10.0.0.1"]
