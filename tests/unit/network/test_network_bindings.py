import pytest

from naru.base.errors import InvalidParameter
from naru.network.bindings import (
    PortWish,
    Published,
    expand,
    parse_port,
    ports_answer,
    published,
    wishes,
)
from naru.spec.engine.container_config import PortBinding


def bind(port: str = "", ip: str = "") -> PortBinding:
    return PortBinding(host_ip=ip, host_port=port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", (80, 80, "tcp")),
        ("80/tcp", (80, 80, "tcp")),
        ("53/UDP", (53, 53, "udp")),
        ("36412/sctp", (36412, 36412, "sctp")),
        ("7000-7003/tcp", (7000, 7003, "tcp")),
    ],
)
def test_ports_are_parsed(text: str, expected: tuple[int, int, str]) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536/tcp", "80/foo", "90-80", "-1", "80/", "8o", "80-", "80/tcp/udp", "８０"],
)
def test_wrong_ports_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid port specification"):
        parse_port(text)


def test_wishes_come_in_the_order_of_the_containers_ports() -> None:
    asked = {"443/tcp": [bind("8443")], "80/tcp": [bind("8080"), bind("8081", "127.0.0.1")]}
    assert wishes(asked) == [
        PortWish(80, "tcp", "", 8080, 8080),
        PortWish(80, "tcp", "127.0.0.1", 8081, 8081),
        PortWish(443, "tcp", "", 8443, 8443),
    ]


def test_a_range_and_an_empty_port_are_wishes() -> None:
    asked = {"80/tcp": [bind("8000-8010")], "81/tcp": [bind()], "82/tcp": [bind("0")]}
    assert wishes(asked) == [
        PortWish(80, "tcp", "", 8000, 8010),
        PortWish(81, "tcp"),
        PortWish(82, "tcp"),
    ]


def test_addresses_are_normal() -> None:
    assert wishes({"80/tcp": [bind("1", "[0:0::1]")]})[0].host_ip == "::1"


def test_publish_all_takes_exposed_ports_without_a_binding() -> None:
    asked = {"80/tcp": [bind("8080")]}
    found = wishes(asked, ["80/tcp", "90-91/udp"], publish_all=True)
    assert found == [
        PortWish(80, "tcp", "", 8080, 8080),
        PortWish(90, "udp"),
        PortWish(91, "udp"),
    ]


@pytest.mark.parametrize("port", ["x", "70000", "0-5", "9-8", "1-", "-1"])
def test_wrong_host_ports_are_refused(port: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid host port"):
        wishes({"80/tcp": [bind(port)]})


def test_a_wrong_host_address_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"invalid host address '1\.2\.3'"):
        wishes({"80/tcp": [bind("80", "1.2.3")]})


def test_a_bound_range_of_container_ports_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="single port"):
        wishes({"80-81/tcp": [bind("80")]})


def test_the_answer_lists_both_families_and_the_merely_exposed() -> None:
    wish = PortWish(80, "tcp", "", 8080, 8080)
    answer = ports_answer(
        [Published(wish, "0.0.0.0", 8080), Published(wish, "::", 8080)], ["80/tcp", "90/udp"]
    )
    assert answer == {"80/tcp": [bind("8080", "0.0.0.0"), bind("8080", "::")], "90/udp": None}


def test_exposed_ranges_are_expanded() -> None:
    assert expand(["80-82", "81/tcp", "53/udp"]) == [
        (53, "udp"), (80, "tcp"), (81, "tcp"), (82, "tcp"),
    ]  # fmt: skip


def test_a_routed_port_is_shown_without_a_port_of_the_host() -> None:
    routed = Published(PortWish(80, "tcp"), "0.0.0.0", 0)
    assert ports_answer([routed], []) == {"80/tcp": [bind("", "0.0.0.0")]}


def test_what_the_answer_says_is_read_again() -> None:
    granted = (
        Published(PortWish(53, "udp", "::1", 5353, 5353), "::1", 5353),
        Published(PortWish(80, "tcp", "0.0.0.0", 8080, 8080), "0.0.0.0", 8080),
        Published(PortWish(81, "tcp", "0.0.0.0"), "0.0.0.0", 0),
    )
    assert published(ports_answer(granted, ["90/tcp"])) == granted
