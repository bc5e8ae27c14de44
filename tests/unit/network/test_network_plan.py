import msgspec
import pytest

from naru.network import describe, plan
from naru.network.model import AttachRequest, Network, Pool
from naru.network.plan import Attached, EndpointPlan
from naru.spec.engine.container_config import (
    EndpointIPAMConfig,
    EndpointSettings,
    PortBinding,
)

KEYS = ["", plan.engine_key("/srv/one"), plan.engine_key("/srv/two")]


def test_the_default_engine_has_the_plain_names() -> None:
    key = plan.engine_key(plan.DEFAULT_DATA_ROOT)
    assert (plan.bridge_name(key), plan.table_name(key)) == ("naru0", "naru")


@pytest.mark.parametrize(
    "name",
    [
        plan.bridge_name,
        plan.table_name,
        plan.link_prefix,
        plan.network_bridge_prefix,
        plan.relay_prefix,
        plan.bridge_mac,
    ],
)
def test_no_two_engines_share_a_name(name) -> None:  # type: ignore[no-untyped-def]
    assert len({name(key) for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_link_names_fit_the_kernel(key: str) -> None:
    assert len(plan.bridge_name(key)) <= 15
    link = plan.link_name(key, "e" * 64)
    assert len(link) == 15
    assert link.startswith(plan.link_prefix(key))
    assert link.startswith("naru")
    assert not plan.bridge_name(key).startswith(plan.link_prefix(key))


BRIDGE = Network(
    id="1" * 64, name="bridge", driver="bridge", created_ns=1_700_000_000_000_000_001,
    pools=(Pool(subnet="172.17.0.0/16", gateway="172.17.0.1"),), link="naru0",
)  # fmt: skip


def test_a_bridge_is_shown_as_docker_shows_it() -> None:
    settings = EndpointSettings(
        endpoint_id="e" * 64, ip_address="172.17.0.2", ip_prefix_len=16, mac_address="02:42:…"
    )
    shown = msgspec.to_builtins(describe.resource(BRIDGE, {"c" * 64: ("web", settings)}))
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": None,
        "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
    }
    assert shown["Created"] == "2023-11-14T22:13:20.000000001Z"
    assert shown["Containers"]["c" * 64] == {
        "Name": "web",
        "EndpointID": "e" * 64,
        "MacAddress": "02:42:…",
        "IPv4Address": "172.17.0.2/16",
        "IPv6Address": "",
    }
    assert shown["Options"]["com.docker.network.bridge.name"] == "naru0"
    assert list(shown) == [
        "Name", "Id", "Created", "Scope", "Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Internal",
        "Attachable", "Ingress", "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels",
    ]  # fmt: skip


def test_host_and_none_have_no_addresses() -> None:
    none = Network(id="2" * 64, name="none", driver="null", created_ns=1)
    shown = msgspec.to_builtins(describe.resource(none, {"c" * 64: ("web", EndpointSettings())}))
    assert shown["IPAM"]["Config"] is None
    assert shown["Options"] == {}
    assert shown["Containers"]["c" * 64]["IPv4Address"] == ""


def test_a_network_of_ones_own_is_shown_as_docker_shows_it() -> None:
    network = Network(
        id="3" * 64, name="mine", driver="bridge", created_ns=1, ipv6=True, internal=True,
        attachable=True, config_from="conf", link="narubx", labels={"a": "b"},
        options={"com.docker.network.bridge.enable_icc": "false"},
        pools=(
            Pool(subnet="10.9.0.0/16", gateway="10.9.0.1", ip_range="10.9.5.0/24",
                 aux={"r": "10.9.5.1"}, asked=True),
            Pool(subnet="fd00:9::/64", gateway="fd00:9::1", asked=True, gateway_shown=False),
        ),
    )  # fmt: skip
    settings = EndpointSettings(
        endpoint_id="e" * 64, ip_address="10.9.0.2", ip_prefix_len=16,
        global_ipv6_address="fd00:9::2", global_ipv6_prefix_len=64, mac_address="02:…",
    )  # fmt: skip
    members = {"d" * 64: ("b", settings), "c" * 64: ("a", settings)}
    shown = msgspec.to_builtins(describe.resource(network, members))
    assert shown["IPAM"] == {
        "Driver": "default",
        "Options": None,
        "Config": [
            {
                "Subnet": "10.9.0.0/16",
                "IPRange": "10.9.5.0/24",
                "Gateway": "10.9.0.1",
                "AuxiliaryAddresses": {"r": "10.9.5.1"},
            },
            {"Subnet": "fd00:9::/64"},
        ],
    }
    assert list(shown["Containers"]) == ["c" * 64, "d" * 64]
    assert shown["Containers"]["c" * 64]["IPv6Address"] == "fd00:9::2/64"
    assert shown["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
    assert (shown["EnableIPv6"], shown["Internal"], shown["Attachable"]) == (True, True, True)
    assert shown["ConfigFrom"] == {"Network": "conf"}
    assert shown["Labels"] == {"a": "b"}


@pytest.mark.parametrize("key", KEYS)
def test_bridges_of_networks_fit_the_kernel_and_are_told_apart(key: str) -> None:
    name = plan.network_bridge_name(key, "0123456789ab" * 5)
    assert len(name) == 15
    assert name.startswith(plan.network_bridge_prefix(key))
    assert not name.startswith(plan.link_prefix(key))
    assert not plan.bridge_name(key).startswith(plan.network_bridge_prefix(key))
    assert plan.network_bridge_name(key, "0" * 64) != plan.network_bridge_name(key, "1" * 64)
    assert plan.bridge_mac(key) != plan.bridge_mac(key, "0" * 64)


def test_an_endpoints_addresses_are_all_its_interface_has() -> None:
    settings = EndpointSettings(
        ip_address="10.9.0.2", ip_prefix_len=16,
        global_ipv6_address="fd00:9::2", global_ipv6_prefix_len=64,
        ipam_config=EndpointIPAMConfig(link_local_ips=["169.254.7.7", "fe80::7"]),
        driver_opts={
            "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"
        },
    )  # fmt: skip
    endpoint = EndpointPlan(BRIDGE, settings, "eth3", "link")
    assert endpoint.addresses == (
        ("10.9.0.2", 16), ("fd00:9::2", 64), ("169.254.7.7", 16), ("fe80::7", 64),
    )  # fmt: skip
    assert plan.interface_sysctls(endpoint) == (
        ("net/ipv6/conf/eth3/accept_ra", "0"),
        ("net/ipv6/conf/eth3/disable_ipv6", "0"),
        ("net/ipv4/conf/eth3/log_martians", "1"),
    )
    bare = EndpointPlan(BRIDGE, EndpointSettings(ip_address="10.9.0.2", ip_prefix_len=16), "eth0")
    assert plan.interface_sysctls(bare) == ()


def test_what_a_container_wants_published() -> None:
    request = AttachRequest(
        "c", "web", port_bindings={"80/tcp": [PortBinding(host_port="8080")]},
        exposed_ports=("90/udp",), publish_all=True,
    )  # fmt: skip
    item = Attached(request, "/pin", "/owner", (EndpointPlan(BRIDGE, EndpointSettings()),))
    assert [(wish.port, wish.proto, wish.low) for wish in item.wishes] == [
        (80, "tcp", 8080), (90, "udp", 0),
    ]  # fmt: skip
    assert item.exposed == ("90/udp", "80/tcp")
    assert item.on(BRIDGE.id) is item.endpoints[0]
    assert item.on("other") is None
