import pytest

from naru.base.errors import InvalidParameter, NaruError, Unsupported
from naru.network.drivers import Settings, is_interface_name, parse, settings_of
from naru.network.model import Network

BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"


def test_without_options_a_bridge_is_as_on_docker() -> None:
    assert parse("bridge", {}) == Settings()
    assert Settings() == Settings("", 0, True, True, "", "nat", "nat", "", "", "eth", "")


def test_every_option_of_a_bridge_is_read() -> None:
    options = {
        BRIDGE + "name": "br-mine",
        BRIDGE + "enable_icc": "false",
        BRIDGE + "enable_ip_masquerade": "0",
        BRIDGE + "host_binding_ipv4": "127.0.0.1",
        BRIDGE + "gateway_mode_ipv4": "routed",
        BRIDGE + "gateway_mode_ipv6": "nat",
        BRIDGE + "default_bridge": "false",
        "com.docker.network.host_ipv4": "203.0.113.7",
        "com.docker.network.host_ipv6": "FD00:99::0007",
        "com.docker.network.container_iface_prefix": "lan",
        MTU: "1400",
    }
    assert parse("bridge", options) == Settings(
        link="br-mine", mtu=1400, icc=False, masquerade=False, host_binding="127.0.0.1",
        mode4="routed", mode6="nat", snat4="203.0.113.7", snat6="fd00:99::7", prefix="lan",
    )  # fmt: skip


def test_a_stored_network_has_its_settings() -> None:
    network = Network(
        id="1", name="n", driver="bridge", created_ns=0, internal=True,
        options={BRIDGE + "gateway_mode_ipv4": "isolated"},
    )  # fmt: skip
    assert settings_of(network).mode4 == "isolated"
    assert settings_of(Network(id="1", name="host", driver="host", created_ns=0)) == Settings()


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_flags_are_gos(text: str) -> None:
    assert parse("bridge", {BRIDGE + "enable_icc": text}).icc


@pytest.mark.parametrize(
    ("driver", "options", "error", "text"),
    [
        ("bridge", {"a.b": "c"}, Unsupported, "network option 'a.b' is not supported"),
        (
            "bridge",
            {BRIDGE + "enable_icc": "yes"},
            InvalidParameter,
            f'failed to parse {BRIDGE}enable_icc value: yes (strconv.ParseBool: parsing "yes": '
            "invalid syntax)",
        ),
        ("bridge", {BRIDGE + "enable_icc": ""}, InvalidParameter, "enable_icc value"),
        (
            "bridge",
            {MTU: "x"},
            InvalidParameter,
            f'failed to parse {MTU} value: x (strconv.Atoi: parsing "x": invalid syntax)',
        ),
        ("bridge", {MTU: "-1"}, InvalidParameter, "invalid MTU number: -1"),
        ("bridge", {MTU: "67"}, InvalidParameter, "invalid MTU number: 67: wanted 68 to 65535"),
        ("bridge", {MTU: "65536"}, InvalidParameter, "invalid MTU number"),
        ("bridge", {BRIDGE + "name": "a" * 16}, InvalidParameter, "invalid interface name"),
        ("bridge", {BRIDGE + "name": "a/b"}, InvalidParameter, "invalid interface name 'a/b'"),
        ("bridge", {BRIDGE + "name": ".."}, InvalidParameter, "invalid interface name '..'"),
        ("bridge", {BRIDGE + "name": 'a"b'}, InvalidParameter, "invalid interface name"),
        (
            "bridge",
            {"com.docker.network.container_iface_prefix": "é"},
            InvalidParameter,
            "container_iface_prefix",
        ),
        ("bridge", {BRIDGE + "host_binding_ipv4": "x"}, InvalidParameter, "value: x (nil ip)"),
        ("bridge", {BRIDGE + "host_binding_ipv4": "::1"}, InvalidParameter, "wanted IPv4"),
        ("bridge", {"com.docker.network.host_ipv6": "1.2.3.4"}, InvalidParameter, "wanted IPv6"),
        (
            "bridge",
            {BRIDGE + "gateway_mode_ipv4": "open"},
            InvalidParameter,
            f"failed to parse {BRIDGE}gateway_mode_ipv4 value: open (unknown gateway mode open)",
        ),
        (
            "bridge",
            {BRIDGE + "gateway_mode_ipv6": "nat-unprotected"},
            Unsupported,
            "gateway mode 'nat-unprotected'",
        ),
        (
            "bridge",
            {BRIDGE + "gateway_mode_ipv4": "isolated"},
            InvalidParameter,
            "gateway mode 'isolated' can only be used for an internal network",
        ),
        ("macvlan", {}, Unsupported, "a macvlan network without a parent"),
        ("macvlan", {"parent": "eth0", "x": ""}, Unsupported, "option 'x' is not supported by the"),
        (
            "macvlan",
            {"parent": "eth0", "macvlan_mode": "l2"},
            InvalidParameter,
            "requested macvlan mode 'l2' is not valid",
        ),
        ("macvlan", {"parent": "eth0", "ipvlan_mode": "l2"}, Unsupported, "'ipvlan_mode'"),
        ("ipvlan", {"parent": "../x"}, InvalidParameter, "invalid interface name '../x'"),
        ("null", {"x": "y"}, InvalidParameter, "network driver null has no options, not 'x'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    driver: str, options: dict[str, str], error: type[NaruError], text: str
) -> None:
    with pytest.raises(error) as caught:
        parse(driver, options)
    assert text in caught.value.message


def test_ipv6_needs_larger_packets() -> None:
    assert parse("bridge", {MTU: "1279"}).mtu == 1279
    with pytest.raises(InvalidParameter, match="wanted 1280 to 65535"):
        parse("bridge", {MTU: "1279"}, ipv6=True)
    assert parse("bridge", {MTU: "0"}, ipv6=True).mtu == 0


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_links_on_a_parent(driver: str) -> None:
    first = {"macvlan": "bridge", "ipvlan": "l2"}[driver]
    other = {"macvlan": "private", "ipvlan": "l3"}[driver]
    assert parse(driver, {"parent": "eth0.7"}) == Settings(link="eth0.7", sublink_mode=first)
    options = {"parent": "eth0", f"{driver}_mode": other, MTU: "1400"}
    assert parse(driver, options) == Settings(link="eth0", mtu=1400, sublink_mode=other)


@pytest.mark.parametrize("name", ["eth0", "br-a.1", "_", "a" * 15])
def test_interface_names(name: str) -> None:
    assert is_interface_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "a" * 16, "é", 'a"', "a\n", "а"])
def test_names_that_no_interface_may_have(name: str) -> None:
    assert not is_interface_name(name)
