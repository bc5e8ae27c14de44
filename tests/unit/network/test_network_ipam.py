from ipaddress import IPv4Address, IPv4Network

import pytest

from naru.base.errors import Conflict, InvalidParameter
from naru.network.ipam import AddressSpace, choose_subnet, mac_of, parse_bip
from naru.network.model import DEFAULT_BRIDGE_POOLS


def space(subnet: str = "172.17.0.0/29") -> AddressSpace:
    network = IPv4Network(subnet)
    return AddressSpace(network, network[1])


def test_addresses_come_one_after_another_behind_the_gateway() -> None:
    pool = space()
    assert [str(pool.allocate()) for _ in range(3)] == ["172.17.0.2", "172.17.0.3", "172.17.0.4"]
    assert len(pool) == 3


def test_a_freed_address_is_not_taken_again_at_once() -> None:
    pool = space()
    first = pool.allocate()
    pool.release(first)
    assert str(pool.allocate()) == "172.17.0.3"


def test_freed_addresses_are_taken_when_the_end_was_reached() -> None:
    pool = space()
    taken = [pool.allocate() for _ in range(5)]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        pool.allocate()
    pool.release(taken[1])
    assert pool.allocate() == taken[1]


def test_the_gateway_is_never_given_or_released() -> None:
    pool = space()
    gateway = IPv4Address("172.17.0.1")
    pool.release(gateway)
    assert not pool.reserve(gateway)
    assert gateway not in [pool.allocate() for _ in range(5)]


@pytest.mark.parametrize("address", ["172.17.0.0", "172.17.0.7", "172.17.0.8", "10.0.0.1"])
def test_only_host_addresses_of_the_subnet_can_be_reserved(address: str) -> None:
    assert not space().reserve(IPv4Address(address))


def test_a_reserved_address_is_skipped() -> None:
    pool = space()
    assert pool.reserve(IPv4Address("172.17.0.2"))
    assert not pool.reserve(IPv4Address("172.17.0.2"))
    assert str(pool.allocate()) == "172.17.0.3"


def test_a_bridge_that_is_not_the_first_address_is_skipped() -> None:
    subnet, gateway = parse_bip("172.28.0.2/24")
    pool = AddressSpace(subnet, gateway)
    assert [str(pool.allocate()) for _ in range(2)] == ["172.28.0.1", "172.28.0.3"]


def test_the_first_pool_that_is_free_is_chosen() -> None:
    assert str(choose_subnet(DEFAULT_BRIDGE_POOLS, [])[0]) == "172.17.0.0/16"
    taken = [IPv4Network("172.17.5.0/24"), IPv4Network("172.18.0.0/15")]
    subnet, gateway = choose_subnet(DEFAULT_BRIDGE_POOLS, taken)
    assert (str(subnet), str(gateway)) == ("172.20.0.0/16", "172.20.0.1")


def test_a_default_route_takes_nothing() -> None:
    assert (
        str(choose_subnet(DEFAULT_BRIDGE_POOLS, [IPv4Network("0.0.0.0/0")])[0]) == "172.17.0.0/16"
    )


def test_no_free_pool_says_what_to_do() -> None:
    with pytest.raises(Conflict, match="--bip"):
        choose_subnet([("10.0.0.0/8", 16)], [IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("pool", [("10.0.0.1/8", 16), ("10.0.0.0/8", 31), ("10.0.0.0/24", 16)])
def test_a_wrong_pool_is_named(pool: tuple[str, int]) -> None:
    with pytest.raises(InvalidParameter, match="invalid address pool"):
        choose_subnet([pool], [])


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1", "10.0.0.0/24", "10.0.0.255/24", "x/24", "10.0.0.1/31"]
)
def test_a_wrong_bridge_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid bridge address"):
        parse_bip(text)


def test_the_hardware_address_follows_the_address() -> None:
    assert mac_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"
