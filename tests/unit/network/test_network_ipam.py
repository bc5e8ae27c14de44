import itertools
import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from naru.base.errors import Conflict, InvalidParameter
from naru.network.ipam import (
    AddressSpace,
    Subnet,
    choose_subnet,
    mac_of,
    mac_of_v6,
    parse_bip,
    parse_pools,
    space_of,
    ula_pool,
)
from naru.network.model import DEFAULT_BRIDGE_POOLS, DEFAULT_POOLS, Pool


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


def test_hundreds_of_networks_lie_side_by_side() -> None:
    taken: list[Subnet] = []
    for _ in range(1200):
        subnet, gateway = choose_subnet(DEFAULT_POOLS, taken)
        assert gateway == subnet[1]
        taken.append(subnet)
    assert str(taken[0]) == "172.18.0.0/24"
    assert str(taken[-1]) == "172.22.175.0/24"
    assert len(set(taken)) == 1200


def test_the_first_gap_is_taken_however_many_are_taken_in_no_order() -> None:
    every = list(IPv4Network("172.18.0.0/16").subnets(new_prefix=24))
    gap = every[101]
    taken = [item for item in every[:200] if item != gap]
    random.Random(7).shuffle(taken)
    assert choose_subnet(DEFAULT_POOLS, taken)[0] == gap


def test_what_is_taken_may_be_larger_smaller_or_overlap_itself() -> None:
    pools = [("10.0.0.0/22", 24)]
    taken = [IPv4Network("10.0.0.0/23"), IPv4Network("10.0.0.0/24"), IPv4Network("10.0.2.128/32")]
    assert str(choose_subnet(pools, taken)[0]) == "10.0.3.0/24"
    assert str(choose_subnet(pools, [IPv4Network("9.0.0.0/8")])[0]) == "10.0.0.0/24"
    assert str(choose_subnet(pools, [IPv4Network("11.0.0.0/8")])[0]) == "10.0.0.0/24"
    with pytest.raises(Conflict, match="--subnet"):
        choose_subnet(pools, [IPv4Network("10.0.0.0/22")])


def test_a_pool_that_is_full_is_passed_over() -> None:
    pools = [("10.0.0.0/24", 25), ("10.1.0.0/24", 24)]
    taken = list(IPv4Network("10.0.0.0/24").subnets(new_prefix=25))
    assert str(choose_subnet(pools, taken)[0]) == "10.1.0.0/24"


def test_subnets_of_ipv6_come_from_the_engines_own_prefix() -> None:
    pool = ula_pool("k3y")
    base = IPv6Network(pool[0])
    assert base.prefixlen == 48
    assert base.subnet_of(IPv6Network("fd00::/8"))
    assert ula_pool("other") != pool
    taken: list[Subnet] = [IPv4Network("172.18.0.0/24")]
    for expected in itertools.islice(base.subnets(new_prefix=64), 300):
        subnet, gateway = choose_subnet([*DEFAULT_POOLS, pool], taken, ipv6=True)
        assert subnet == expected
        assert gateway == subnet[1]
        taken.append(subnet)
    assert len(set(taken)) == 301


def test_pools_of_the_other_family_are_passed_over() -> None:
    with pytest.raises(Conflict, match="fully subnetted"):
        choose_subnet(DEFAULT_POOLS, [], ipv6=True)
    with pytest.raises(Conflict, match="fully subnetted"):
        choose_subnet([ula_pool("")], [])


def test_addresses_of_ipv6_come_one_after_another() -> None:
    pool = space_of(Pool(subnet="fd00:9::/64", gateway="fd00:9::1"))
    assert [str(pool.allocate()) for _ in range(2)] == ["fd00:9::2", "fd00:9::3"]
    assert pool.reserve(IPv6Address("fd00:9::ffff:ffff:ffff:ffff"))
    assert not pool.reserve(IPv6Address("fd00:9::"))
    assert not pool.reserve(IPv4Address("10.0.0.1"))


def test_the_range_bounds_what_is_given_and_not_what_is_asked_for() -> None:
    pool = space_of(
        Pool(subnet="10.9.0.0/16", gateway="10.9.0.1", ip_range="10.9.5.0/30",
             aux={"r": "10.9.5.1"})
    )  # fmt: skip
    assert pool.reserve(IPv4Address("10.9.0.7"))
    assert [str(pool.allocate()) for _ in range(3)] == ["10.9.5.0", "10.9.5.2", "10.9.5.3"]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        pool.allocate()
    assert not pool.reserve(IPv4Address("10.9.5.1")), "kept for somebody"
    assert len(pool) == 4


def test_without_a_gateway_its_address_is_given() -> None:
    pool = space_of(Pool(subnet="10.9.0.0/29"))
    assert str(pool.allocate()) == "10.9.0.1"


def test_a_range_at_the_edge_gives_no_network_or_broadcast_address() -> None:
    pool = space_of(Pool(subnet="10.9.0.0/24", gateway="10.9.0.1", ip_range="10.9.0.252/30"))
    given = [str(pool.allocate()) for _ in range(3)]
    assert given == ["10.9.0.252", "10.9.0.253", "10.9.0.254"]


def test_hardware_addresses_of_ipv6() -> None:
    assert mac_of_v6(IPv6Address("fd00:9::2")) == "02:42:00:00:00:02"


def test_pools_may_be_of_both_families() -> None:
    found = parse_pools([("10.0.0.0/8", 24), ("fd00:1::/48", 64)])
    assert found == [(IPv4Network("10.0.0.0/8"), 24), (IPv6Network("fd00:1::/48"), 64)]
    with pytest.raises(InvalidParameter, match="invalid address pool 'fd00:1::/48'"):
        parse_pools([("fd00:1::/48", 127)])


def test_only_what_was_given_in_turn_moves_the_turn_on() -> None:
    pool = space("10.9.0.0/24")
    assert pool.reserve(IPv4Address("10.9.0.77"))
    assert str(pool.allocate()) == "10.9.0.2"
    assert pool.reserve(IPv4Address("10.9.0.80"), follow=True)
    assert str(pool.allocate()) == "10.9.0.81"
