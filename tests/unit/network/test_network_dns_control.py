"""What narud tells the name server."""

import pytest

from naru.network.dns import control
from naru.network.dns.model import Client, Member, encode


def test_a_frame_comes_in_pieces() -> None:
    data = control.frame({"do": "list"}) + control.frame({"do": "end"})
    assert control.length(data[:3]) is None
    size = control.length(data[:4])
    assert size == len(control.frame({"do": "list"}))
    assert control.parse(data[:size]) == {"do": "list"}


def test_a_giant_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        control.length(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="no object"):
        control.parse(b"\0\0\0\x02[]")


def member(name: str, network: str = "n1", **more: bool) -> Member:
    return Member(network, f"net-{network}", ("10.0.0.1",), (name,), ("all",), **more)


def test_a_network_is_told_once() -> None:
    web, api, other = member("web"), member("api"), member("web", "n2")
    told, zones = encode(
        [Client("1", "/a", (web, api)), Client("2", "/b", (web, other, api), links={"x": ("y",)})]
    )
    assert len(zones) == 2
    assert [fields["zones"] for fields in told] == [list(zones)[:1], list(zones)]
    assert zones[told[0]["zones"][0]] == [
        "net-n1",
        [
            [("web",), ("all",), ("10.0.0.1",), True],
            [("api",), ("all",), ("10.0.0.1",), True],
        ],
    ]
    assert told[1]["links"] == {"x": ["y"]}


def test_a_key_says_what_is_in_the_zone() -> None:
    def key(*members: Member) -> str:
        (fields,), _ = encode([Client("1", "/a", members)])
        (found,) = fields["zones"]
        return str(found)

    assert key(member("web")) == key(member("web"))
    assert len({key(member("web")), key(member("api")), key(member("web", listed=False))}) == 3
    assert key(member("web", "n2")) != key(member("web", "n1"))
