import pytest

from naru.base.errors import Conflict, Forbidden, InvalidParameter
from naru.network.leases import Leases
from naru.network.model import Network, Pool
from naru.spec.engine.container_config import EndpointIPAMConfig, EndpointSettings

DUAL = Network(
    id="d", name="dual", driver="bridge", created_ns=0, ipv6=True,
    pools=(
        Pool(subnet="10.9.0.0/29", gateway="10.9.0.1", asked=True),
        Pool(subnet="fd00:9::/64", gateway="fd00:9::1", asked=True),
    ),
)  # fmt: skip
ONLY4 = Network(
    id="4", name="four", driver="bridge", created_ns=0,
    pools=(Pool(subnet="10.8.0.0/30", gateway="10.8.0.1"),),
)  # fmt: skip


def asked(v4: str = "", v6: str = "") -> EndpointSettings:
    return EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address=v4, ipv6_address=v6))


def got(v4: str = "", v6: str = "") -> EndpointSettings:
    return EndpointSettings(ip_address=v4, global_ipv6_address=v6)


def test_both_families_are_given() -> None:
    leases = Leases()
    assert leases.take(DUAL, EndpointSettings()) == ("10.9.0.2", "fd00:9::2")
    assert leases.take(DUAL, EndpointSettings()) == ("10.9.0.3", "fd00:9::3")
    assert leases.take(ONLY4, EndpointSettings()) == ("10.8.0.2", "")


def test_what_is_asked_for_is_given_in_its_usual_spelling() -> None:
    assert Leases().take(DUAL, asked("10.9.0.5", "FD00:9:0::0005")) == ("10.9.0.5", "fd00:9::5")


def test_an_address_in_use_is_refused_and_the_other_family_given_back() -> None:
    leases = Leases()
    leases.take(DUAL, asked("10.9.0.5", "fd00:9::5"))
    with pytest.raises(Forbidden, match="Address already in use"):
        leases.take(DUAL, asked("10.9.0.6", "fd00:9::5"))
    assert leases.take(DUAL, asked("10.9.0.6"))[0] == "10.9.0.6"
    with pytest.raises(Forbidden, match="Address already in use"):
        leases.take(DUAL, asked("10.9.0.1"))
    with pytest.raises(Forbidden, match="Address already in use"):
        leases.take(DUAL, asked("10.9.0.7"))


def test_a_full_network_says_so_and_an_address_comes_back_when_the_end_was_reached() -> None:
    leases = Leases()
    leases.take(ONLY4, EndpointSettings())
    with pytest.raises(Conflict, match=r"no available IPv4 addresses .*: 10\.8\.0\.0/30"):
        leases.take(ONLY4, EndpointSettings())
    leases.release(ONLY4, got("10.8.0.2"))
    assert leases.take(ONLY4, EndpointSettings())[0] == "10.8.0.2"


def test_a_freed_address_is_not_given_again_at_once() -> None:
    leases = Leases()
    first = leases.take(DUAL, EndpointSettings())
    leases.release(DUAL, got(*first))
    assert leases.take(DUAL, EndpointSettings()) == ("10.9.0.3", "fd00:9::3")


def test_what_a_running_container_has_is_reserved_whole_or_not_at_all() -> None:
    leases = Leases()
    leases.reserve(DUAL, got("10.9.0.2", "fd00:9::2"))
    assert leases.take(DUAL, EndpointSettings()) == ("10.9.0.3", "fd00:9::3")
    with pytest.raises(InvalidParameter, match=r"address fd00:9::2 is not free in fd00:9::/64"):
        leases.reserve(DUAL, got("10.9.0.4", "fd00:9::2"))
    leases.reserve(DUAL, got("10.9.0.4", "fd00:9::4"))
    with pytest.raises(InvalidParameter, match=r"address 10\.7\.0\.1 is not free in 10\.9\.0\.0"):
        leases.reserve(DUAL, got("10.7.0.1"))
    with pytest.raises(InvalidParameter, match="address fd00:9::2 is not free in four"):
        leases.reserve(ONLY4, got("", "fd00:9::2"))


def test_nothing_of_a_removed_network_stays() -> None:
    leases = Leases()
    leases.take(DUAL, EndpointSettings())
    leases.forget(DUAL)
    leases.forget(DUAL)
    leases.release(DUAL, got("10.9.0.2", "fd00:9::2"))
    assert leases.take(DUAL, EndpointSettings()) == ("10.9.0.2", "fd00:9::2")
