import msgspec
import pytest

from naru.network import describe, plan
from naru.network.model import Network, Pool
from naru.spec.engine.container_config import EndpointSettings

KEYS = ["", plan.engine_key("/srv/one"), plan.engine_key("/srv/two")]


def test_the_default_engine_has_the_plain_names() -> None:
    key = plan.engine_key(plan.DEFAULT_DATA_ROOT)
    assert (plan.bridge_name(key), plan.table_name(key)) == ("naru0", "naru")


@pytest.mark.parametrize(
    "name",
    [plan.bridge_name, plan.table_name, plan.link_prefix, plan.relay_prefix, plan.bridge_mac],
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
