from collections.abc import Mapping

import pytest

from naru.network import gateways
from naru.network.bindings import PortWish, Published
from naru.network.gateways import Exits
from naru.network.model import AttachRequest, Network, Publication
from naru.network.plan import Attached, EndpointPlan
from naru.spec.engine.container_config import EndpointSettings

BRIDGE = "com.docker.network.bridge."


def network(
    name: str, driver: str = "bridge", *, internal: bool = False, **options: str
) -> Network:
    named = {BRIDGE + key: value for key, value in options.items()}
    if driver == "macvlan":
        named = {"parent": "eth0"}
    return Network(
        id=name, name=name, driver=driver, created_ns=0, internal=internal, options=named
    )


def place(on: Network, v4: str = "10.0.0.2", v6: str = "", *, priority: int = 0) -> EndpointPlan:
    settings = EndpointSettings(
        ip_address=v4,
        gateway="10.0.0.1" if v4 else "",
        global_ipv6_address=v6,
        ipv6_gateway="fd00::1" if v6 else "",
        gw_priority=priority,
    )
    return EndpointPlan(on, settings, "eth0", "link")


def item(
    *endpoints: EndpointPlan,
    granted: tuple[Published, ...] = (),
    sources: Mapping[str, tuple[str, ...]] | None = None,
) -> Attached:
    request = AttachRequest("c", "web", sources=sources or {})
    return Attached(request, "/pin", "/owner", endpoints, granted)


PLAIN = place(network("b"))
FIRST = place(network("a"))
DUAL = place(network("z"), v6="fd00::2")
PREFERRED = place(network("y"), priority=5)
DEMOTED = place(network("a"), priority=-5)
SHUT = place(network("i", internal=True), priority=9)
ONLY6 = place(network("six"), "", "fd00::6")
NONE = EndpointPlan(network("none", "null"), EndpointSettings())


@pytest.mark.parametrize(
    ("endpoints", "v4", "v6"),
    [
        ((), None, None),
        ((NONE,), None, None),
        ((PLAIN,), PLAIN, None),
        ((PLAIN, FIRST), FIRST, None),
        ((PLAIN, FIRST, DUAL), DUAL, DUAL),
        ((PLAIN, PREFERRED, DUAL), PREFERRED, DUAL),
        ((DEMOTED, PLAIN), PLAIN, None),
        ((DEMOTED,), DEMOTED, None),
        ((SHUT, PLAIN), PLAIN, None),
        ((SHUT,), None, None),
        ((ONLY6, PLAIN), PLAIN, ONLY6),
        ((ONLY6, DUAL), DUAL, DUAL),
    ],
)
def test_the_way_out(
    endpoints: tuple[EndpointPlan, ...], v4: EndpointPlan | None, v6: EndpointPlan | None
) -> None:
    assert gateways.exits(endpoints) == Exits(v4, v6)
    assert gateways.exits(endpoints[::-1]) == Exits(v4, v6), "the order says nothing"


def test_routes_go_through_the_chosen_ones() -> None:
    chosen = gateways.exits([PLAIN, ONLY6])
    assert gateways.routes(PLAIN, chosen) == ((None, "10.0.0.1"),)
    assert gateways.routes(ONLY6, chosen) == ((None, "fd00::1"),)
    assert gateways.routes(FIRST, chosen) == ()
    assert gateways.routes(DUAL, gateways.exits([DUAL])) == ((None, "10.0.0.1"), (None, "fd00::1"))


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ((), ("", "")),
        ((PLAIN,), ("nat", "relay")),
        ((DUAL,), ("nat", "nat")),
        ((SHUT,), ("", "")),
        ((ONLY6,), ("", "nat")),
        ((place(network("r", gateway_mode_ipv4="routed")),), ("routed", "")),
        (
            (place(network("r", gateway_mode_ipv6="routed"), v6="fd00::2"),),
            ("nat", "routed"),
        ),
        ((place(network("m", "macvlan")),), ("", "")),
        ((place(network("m", "macvlan"), v6="fd00::2"), PREFERRED), ("nat", "")),
    ],
)
def test_how_ports_are_published(
    endpoints: tuple[EndpointPlan, ...], expected: tuple[str, str]
) -> None:
    assert gateways.modes(item(*endpoints)) == expected


def test_where_ports_are_published_by_default() -> None:
    bound = place(network("h", host_binding_ipv4="127.0.0.1"))
    assert gateways.host_binding(item(bound)) == "127.0.0.1"
    assert gateways.host_binding(item(PLAIN)) == gateways.host_binding(item(NONE)) == ""
    assert gateways.host_binding(item(bound, PREFERRED)) == ""


WISH = PortWish(80, "tcp", "", 8080, 8080)
BOTH = (Published(WISH, "0.0.0.0", 8080), Published(WISH, "::", 8080))


def test_ports_lead_to_the_address_of_the_way_out() -> None:
    assert gateways.publications(item(PLAIN, granted=BOTH)) == (
        Publication("tcp", "0.0.0.0", 8080, "10.0.0.2", 80),
        Publication("tcp", "::", 8080, "10.0.0.2", 80),
    )
    assert gateways.publications(item(DUAL, granted=BOTH)) == (
        Publication("tcp", "0.0.0.0", 8080, "10.0.0.2", 80),
        Publication("tcp", "::", 8080, "fd00::2", 80, relay_ip="10.0.0.2"),
    )
    assert gateways.publications(item(ONLY6, granted=BOTH)) == (
        Publication("tcp", "::", 8080, "fd00::6", 80),
    )
    assert gateways.publications(item(SHUT, granted=BOTH)) == ()


def test_sources_are_those_of_the_port_else_of_all() -> None:
    sources = {"8080/tcp": ("10.0.0.0/8",), "*": ("192.168.0.0/16",)}
    two = (*BOTH[:1], Published(PortWish(81, "tcp"), "0.0.0.0", 8081))
    found = gateways.publications(item(PLAIN, granted=two, sources=sources))
    assert [one.sources for one in found] == [("10.0.0.0/8",), ("192.168.0.0/16",)]
    assert gateways.publications(item(PLAIN, granted=BOTH))[0].sources == ()


@pytest.mark.parametrize(
    ("host_ip", "mode4", "mode6", "expected"),
    [
        ("", "nat", "nat", "46"),
        ("", "nat", "relay", "46"),
        ("", "nat", "", "4"),
        ("", "", "nat", "6"),
        ("", "routed", "nat", "6"),
        ("", "", "", ""),
        ("1.2.3.4", "nat", "nat", "46"),
        ("1.2.3.4", "routed", "nat", ""),
        ("::1", "nat", "relay", "46"),
        ("::1", "nat", "", ""),
    ],
)
def test_families_of_a_wish(host_ip: str, mode4: str, mode6: str, expected: str) -> None:
    wish = PortWish(80, "tcp", host_ip)
    found = gateways.families([wish], mode4, mode6)
    assert found == ([(wish, expected)] if expected else [])


@pytest.mark.parametrize(
    ("host_ip", "mode4", "mode6", "expected"),
    [
        ("", "routed", "routed", ["0.0.0.0", "::"]),
        ("", "routed", "nat", ["0.0.0.0"]),
        ("", "nat", "routed", ["::"]),
        ("1.2.3.4", "routed", "routed", ["0.0.0.0"]),
        ("::1", "routed", "routed", ["::"]),
        ("", "nat", "relay", []),
    ],
)
def test_what_is_open_on_a_routed_network(
    host_ip: str, mode4: str, mode6: str, expected: list[str]
) -> None:
    found = gateways.routed([PortWish(80, "tcp", host_ip)], mode4, mode6)
    assert [(one.host_ip, one.host_port) for one in found] == [(ip, 0) for ip in expected]
