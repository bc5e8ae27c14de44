import pytest

from naru.base.errors import InvalidParameter, NaruError
from naru.network.model import Network, Pool
from naru.network.validate import (
    IFNAME_OPTION,
    SYSCTLS_OPTION,
    address_problems,
    check,
    endpoint_problems,
    interface_sysctls,
    network_name,
    normal_mac,
)
from naru.spec.engine.container_config import EndpointIPAMConfig, EndpointSettings, PortBinding

PORT = {"80/tcp": [PortBinding(host_port="8080")]}


@pytest.mark.parametrize(
    ("mode", "name"), [("", "bridge"), ("default", "bridge"), ("host", "host"), ("mine", "mine")]
)
def test_the_mode_names_a_network(mode: str, name: str) -> None:
    assert network_name(mode) == name


@pytest.mark.parametrize("mode", ["", "default", "bridge", "host", "none", "mine", "container:web"])
def test_every_mode_without_wishes_is_right(mode: str) -> None:
    check(mode, {}, {}, ())


@pytest.mark.parametrize(
    ("mode", "endpoints", "ports", "error", "text"),
    [
        ("container:", {}, {}, InvalidParameter, "invalid container format container:<name|id>"),
        ("container:web", {}, PORT, InvalidParameter, "port publishing and the container type"),
        ("container:web", {"bridge": None}, {}, InvalidParameter, "conflicting options"),
        ("host", {"bridge": None}, {}, InvalidParameter, "cannot be connected to network bridge"),
        ("", {}, {"x": None}, InvalidParameter, "invalid port specification: 'x'"),
        (
            "",
            {"bridge": EndpointSettings(aliases=["db"])},
            {},
            InvalidParameter,
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (
            "",
            {"bridge": EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="1.2.3.4"))},
            {},
            InvalidParameter,
            "user specified IP address is supported on user defined networks only",
        ),
        (
            "",
            {"bridge": EndpointSettings(mac_address="zz")},
            {},
            InvalidParameter,
            "invalid MAC address 'zz'",
        ),
        (
            "",
            {"default": EndpointSettings(driver_opts={"a.b": "c"})},
            {},
            InvalidParameter,
            "driver option 'a.b' of an endpoint is not supported",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    mode: str,
    endpoints: dict[str, EndpointSettings | None],
    ports: dict[str, list[PortBinding] | None],
    error: type[NaruError],
    text: str,
) -> None:
    with pytest.raises(error) as caught:
        check(mode, endpoints, ports, ())
    assert text in caught.value.message


def test_addresses_on_networks_of_the_user_are_left_to_them() -> None:
    asked = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="1.2.3.4"), aliases=["x"])
    check("mine", {"mine": asked}, {}, ())


def test_publish_all_conflicts_with_a_joined_sandbox() -> None:
    with pytest.raises(InvalidParameter, match="container type network mode"):
        check("container:web", {}, {}, (), publish_all=True)


def test_hardware_addresses_are_normal() -> None:
    assert normal_mac("02-42-AC-11-00-63") == "02:42:ac:11:00:63"


@pytest.mark.parametrize("mac", ["", "02:42", "03:42:ac:11:00:63", "00:00:00:00:00:00"])
def test_wrong_hardware_addresses_are_refused(mac: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid MAC address"):
        normal_mac(mac)


def subnet(name: str = "mine", *, asked: bool = True) -> Network:
    pools = (Pool(subnet="10.9.0.0/24", asked=asked), Pool(subnet="fd00:9::/64", asked=asked))
    return Network(id="1", name=name, driver="bridge", created_ns=0, pools=pools, ipv6=True)


def wanting(v4: str = "", v6: str = "", *local: str) -> EndpointSettings:
    config = EndpointIPAMConfig(ipv4_address=v4, ipv6_address=v6, link_local_ips=list(local))
    return EndpointSettings(ipam_config=config)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (EndpointSettings(), None),
        (wanting("10.9.0.5", "fd00:9::5", "169.254.7.7", "fe80::7"), None),
        (wanting("x"), "invalid IPv4 address: x"),
        (wanting("fd00::1"), "invalid IPv4 address: fd00::1"),
        (wanting("", "10.9.0.5"), "invalid IPv6 address: 10.9.0.5"),
        (wanting("", "", "x"), "invalid link-local IP address: x"),
        (EndpointSettings(links=["db:store", "db"]), None),
        (EndpointSettings(links=[":x"]), "invalid link ':x': wanted NAME or NAME:ALIAS"),
        (EndpointSettings(links=["db:"]), "invalid link 'db:'"),
        (EndpointSettings(driver_opts={IFNAME_OPTION: "lan0"}), None),
        (EndpointSettings(driver_opts={IFNAME_OPTION: "a/b"}), "invalid interface name 'a/b'"),
        (EndpointSettings(driver_opts={IFNAME_OPTION: ".."}), "invalid interface name '..'"),
        (EndpointSettings(driver_opts={IFNAME_OPTION: "a" * 16}), "invalid interface name"),
        (EndpointSettings(driver_opts={SYSCTLS_OPTION: "net.ipv4.ip_forward=1"}), "invalid sysctl"),
        (EndpointSettings(driver_opts={"x": "y"}), "driver option 'x' of an endpoint is not"),
    ],
)
def test_wishes_for_an_endpoint(settings: EndpointSettings, problem: str | None) -> None:
    problems = endpoint_problems("mine", settings)
    assert len(problems) == (problem is not None)
    assert problem is None or problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("network", "settings", "problem"),
    [
        (subnet(), EndpointSettings(), None),
        (subnet(), wanting("10.9.0.5", "fd00:9::5"), None),
        (
            subnet(),
            wanting("10.8.0.5"),
            "no configured subnet or ip-range contain the IP address 10.8.0.5",
        ),
        (
            subnet(),
            wanting("", "fd00:8::5"),
            "no configured subnet or ip-range contain the IP address fd00:8::5",
        ),
        (
            subnet(asked=False),
            wanting("10.9.0.5"),
            "user specified IP address is supported only when connecting to networks with user "
            "configured subnets",
        ),
        (
            Network(id="1", name="mine", driver="bridge", created_ns=0),
            wanting("10.9.0.5"),
            "user specified IP address is supported only",
        ),
        (subnet("bridge"), wanting("10.9.0.5"), None),
        (subnet("bridge"), wanting("10.8.0.5"), "no configured subnet or ip-range contain"),
        (subnet(), wanting("x"), "no configured subnet or ip-range contain the IP address x"),
    ],
)
def test_addresses_that_a_network_can_give(
    network: Network, settings: EndpointSettings, problem: str | None
) -> None:
    problems = address_problems(network, settings)
    assert len(problems) == (problem is not None)
    assert problem is None or problems[0].startswith(problem)


def test_every_problem_of_an_endpoint_is_told() -> None:
    asked = EndpointSettings(aliases=["x"], ipam_config=EndpointIPAMConfig(ipv4_address="y"))
    with pytest.raises(InvalidParameter) as caught:
        check("", {"bridge": asked}, {}, ())
    lines = caught.value.message.splitlines()
    assert lines[0] == "invalid config for network bridge: invalid endpoint settings:"
    assert len(lines) == 4


def test_sysctls_of_an_interface() -> None:
    text = "net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.IFNAME.x=-1,"
    assert interface_sysctls(text, "eth7") == (
        ("net/ipv4/conf/eth7/log_martians", "1"),
        ("net/ipv6/neigh/eth7/x", "-1"),
    )
    assert interface_sysctls("", "eth0") == ()


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.eth0.log_martians=1",
        "net.ipv4.conf.IFNAME/../all.forwarding=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "kernel.conf.IFNAME.x=1",
        "net.ipv4.conf.IFNAME.x=1+kernel.y=2",
    ],
)
def test_no_other_sysctl_is_reached(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid sysctl"):
        interface_sysctls(text, "eth0")
