import pytest

from naru.base.errors import Forbidden, InvalidParameter
from naru.network import addressing, plan
from naru.network.leases import Leases
from naru.network.model import AttachRequest, Network, Pool
from naru.network.plan import EndpointPlan
from naru.spec.engine.container_config import EndpointIPAMConfig, EndpointSettings

DUAL = Network(
    id="d" * 64, name="dual", driver="bridge", created_ns=0, ipv6=True, link="narubx",
    pools=(
        Pool(subnet="10.9.0.0/24", gateway="10.9.0.1", asked=True),
        Pool(subnet="fd00:9::/64", gateway="fd00:9::1", asked=True),
    ),
)  # fmt: skip
ONLY6 = Network(
    id="6" * 64, name="six", driver="bridge", created_ns=0, ipv4=False, ipv6=True,
    pools=(Pool(subnet="fd00:6::/64", gateway="fd00:6::1", asked=True),),
)  # fmt: skip
SHUT = Network(
    id="s" * 64, name="shut", driver="bridge", created_ns=0, internal=True, pools=DUAL.pools[:1]
)
WEB = AttachRequest("c" * 64, "web", hostname="box", network_mode="dual", mac="02:42:00:00:00:77")


def made(
    network: Network = DUAL,
    asked: EndpointSettings | None = None,
    request: AttachRequest = WEB,
    taken: tuple[str, ...] = (),
) -> EndpointPlan:
    return addressing.endpoint_of(
        request, network, asked or EndpointSettings(), taken, Leases(), "k3y"
    )


def test_an_endpoint_gets_what_the_network_has() -> None:
    endpoint = made()
    found = endpoint.settings
    assert (found.ip_address, found.ip_prefix_len, found.gateway) == ("10.9.0.2", 24, "10.9.0.1")
    assert (found.global_ipv6_address, found.global_ipv6_prefix_len) == ("fd00:9::2", 64)
    assert found.ipv6_gateway == "fd00:9::1"
    assert found.network_id == DUAL.id
    assert len(found.endpoint_id) == 64
    assert found.mac_address == "02:42:00:00:00:77", "the container's, on its main network"
    assert endpoint.interface == "eth0"
    assert endpoint.link == plan.link_name("k3y", found.endpoint_id)
    assert endpoint.addresses == (("10.9.0.2", 24), ("fd00:9::2", 64))


def test_hardware_addresses_follow_the_address_where_none_is_asked_for() -> None:
    other = AttachRequest("c" * 64, "web", network_mode="bridge", mac="02:42:00:00:00:77")
    assert made(request=other).settings.mac_address == "02:42:0a:09:00:02"
    assert made(ONLY6).settings.mac_address == "02:42:00:00:00:02"
    asked = EndpointSettings(mac_address="02-42-0A-00-00-09")
    assert made(asked=asked).settings.mac_address == "02:42:0a:00:00:09"
    with pytest.raises(InvalidParameter, match="invalid MAC address"):
        made(asked=EndpointSettings(mac_address="zz"))


def test_what_an_earlier_run_got_by_itself_is_not_taken_for_a_wish() -> None:
    earlier = EndpointSettings(ip_address="10.9.0.9", mac_address="02:42:0a:09:00:09")
    other = AttachRequest("c" * 64, "web", network_mode="bridge")
    assert made(asked=earlier, request=other).settings.mac_address == "02:42:0a:09:00:02"


def test_a_stopped_container_shows_the_hardware_address_it_asked_for() -> None:
    assert addressing.asked_mac(EndpointSettings(mac_address="02:42:00:00:00:01")) != ""
    assert addressing.asked_mac(made(request=AttachRequest("c", "web")).settings) == ""


def test_a_closed_network_leads_nowhere() -> None:
    assert (made(SHUT).settings.gateway, made(SHUT).settings.ip_address) == ("", "10.9.0.2")


def test_host_and_none_have_a_place_and_nothing_else() -> None:
    host = Network(id="h" * 64, name="host", driver="host", created_ns=0)
    endpoint = made(host)
    assert (endpoint.interface, endpoint.link, endpoint.addresses) == ("", "", ())
    assert endpoint.settings.dns_names is None
    assert addressing.adopted(host, endpoint.settings, "eth0", "k3y").interface == ""


def test_links_of_macvlan_live_inside_only() -> None:
    parent = {"parent": "eth0"}
    macvlan = Network(
        id="m", name="m", driver="macvlan", created_ns=0, options=parent, pools=DUAL.pools
    )
    endpoint = made(macvlan)
    assert (endpoint.link, endpoint.interface) == ("", "eth0")
    assert endpoint.settings.gateway == "10.9.0.1"
    l3 = Network(
        id="l", name="l", driver="ipvlan", created_ns=0, pools=DUAL.pools,
        options=parent | {"ipvlan_mode": "l3"},
    )  # fmt: skip
    assert made(l3).settings.gateway == "", "there is no neighbour to ask"


def test_interfaces_get_the_first_free_name_or_the_one_asked_for() -> None:
    assert made(taken=("eth0", "eth2")).interface == "eth1"
    opts = {"com.docker.network.endpoint.ifname": "lan7"}
    assert made(asked=EndpointSettings(driver_opts=opts), taken=("eth0",)).interface == "lan7"
    prefixed = Network(
        id="p", name="p", driver="bridge", created_ns=0, pools=DUAL.pools,
        options={"com.docker.network.container_iface_prefix": "lan"},
    )  # fmt: skip
    assert made(prefixed, taken=("eth0", "lan0")).interface == "lan1"


def test_names_on_a_network_of_ones_own() -> None:
    asked = EndpointSettings(aliases=["db", "web", "store"])
    assert made(asked=asked).settings.dns_names == ["web", "db", "store", "c" * 12, "box"]
    same = AttachRequest("c" * 64, "web", hostname="c" * 12, network_mode="dual")
    assert made(request=same).settings.dns_names == ["web", "c" * 12]
    default = Network(id="b", name="bridge", driver="bridge", created_ns=0, pools=DUAL.pools)
    assert made(default).settings.dns_names is None


def test_an_adopted_endpoint_is_found_again() -> None:
    endpoint = made()
    again = addressing.adopted(DUAL, endpoint.settings, endpoint.interface, "k3y")
    assert again == endpoint


def test_an_address_in_use_is_refused() -> None:
    asked = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="10.9.0.1"))
    with pytest.raises(Forbidden, match="Address already in use"):
        made(asked=asked)


def test_the_network_of_the_mode_comes_first() -> None:
    names = {name: EndpointSettings() for name in ("b", "a", "c")}
    assert addressing.in_order("b", names) == ["b", "a", "c"]
    assert addressing.in_order("bridge", names) == ["a", "b", "c"]
