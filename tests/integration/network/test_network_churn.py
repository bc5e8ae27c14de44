"""Many networks, many changes: linear in time, and nothing is left behind."""

import asyncio
import os
import socket
import time

import pytest
from network_lab import (
    HOST,
    OUTSIDE,
    Lab,
    ask,
    container_id,
    endpoint,
    eventually,
    in_lab,
    links,
    make,
    on,
    request,
    serving,
)

from naru.base.errors import Forbidden, NaruError
from naru.kernel import netns
from naru.kernel.netlink.client import ConfigureLink, Netlink
from naru.kernel.nft import Nft
from naru.network.service import NetworkService

pytestmark = pytest.mark.root

PREDEFINED = ["bridge", "host", "none"]


def traces(lab: Lab, pin: str = "") -> list[str]:
    """Every link, address and route, and every element of the table; inside `pin` too."""
    netlink = lab.netlink if not pin else netns.run_in_netns(pin, Netlink)
    found = [f"link {item.name}" for item in netlink.links()]
    for family in (socket.AF_INET, socket.AF_INET6):
        found += [
            f"route {item.destination} {item.via}"
            for item in netlink.routes(family)
            if not str(item.destination).startswith(("fe80:", "ff00:"))
        ]
    found += [f"address {item.address}" for item in netlink.addresses() if "." in item.address]
    if pin:
        netlink.close()
        return sorted(found)
    nft = Nft()
    for entry in nft.json("list table inet naru_a")["nftables"]:
        item = entry.get("map") or entry.get("set") or {}
        found += [f"element {item['name']} {one}" for one in item.get("elem", ())]
    nft.close()
    return sorted(found) + (traces(lab, lab.outside) if not pin else [])


@in_lab
async def test_two_hundred_networks_in_linear_time(lab: Lab) -> None:
    async with lab.engine() as network:
        before = traces(lab)
        spent = []
        for part in range(4):
            begin = time.perf_counter()
            for number in range(50):
                await make(network, f"n{part * 50 + number}")
            spent.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        listed = network.networks()
        listing = time.perf_counter() - begin
        assert len(listed) == 203
        subnets = [item.ipam.config[0].subnet for item in listed if item.ipam.config]
        assert len(set(subnets)) == 201
        assert len({item.name for item in lab.netlink.links() if item.kind == "bridge"}) == 201
        removing = []
        for part in range(4):
            begin = time.perf_counter()
            for number in range(50):
                await network.remove(f"n{part * 50 + number}")
            removing.append(time.perf_counter() - begin)
        assert spent[3] < 4 * min(spent) + 0.2, spent
        assert removing[0] < 4 * min(removing) + 0.2, removing
        assert listing < 0.1
        assert sorted(item.name for item in network.networks()) == PREDEFINED
        assert traces(lab) == before


@in_lab
async def test_fifty_networks_at_once(lab: Lab) -> None:
    async with lab.engine() as network:
        before = traces(lab)
        ids = await asyncio.gather(*(make(network, f"n{number}") for number in range(50)))
        assert len(set(ids)) == 50
        subnets = {network.inspect(one).ipam.config[0].subnet for one in ids}  # type: ignore[index]
        assert len(subnets) == 50
        taken = await asyncio.gather(
            *(make(network, "same") for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(one, str) for one in taken) == 1
        texts = {str(one) for one in taken if not isinstance(one, str)}
        assert texts == {"network with name same already exists"}
        await asyncio.gather(*(network.remove(one) for one in ids), network.remove("same"))
        assert sorted(item.name for item in network.networks()) == PREDEFINED
        assert traces(lab) == before


@in_lab
async def test_fifty_overlapping_networks_at_once_are_one(lab: Lab) -> None:
    async with lab.engine() as network:
        before = traces(lab)
        made = await asyncio.gather(
            *(make(network, f"n{number}", "172.30.0.0/16") for number in range(20)),
            return_exceptions=True,
        )
        winners = [one for one in made if isinstance(one, str)]
        assert len(winners) == 1
        assert all("Pool overlaps" in str(one) for one in made if one not in winners)
        await network.remove(winners[0])
        assert traces(lab) == before


@in_lab
async def test_many_connections_leave_nothing(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "a", "172.30.1.0/24", "fd00:7:1::/64")
        await make(network, "b", "172.30.2.0/24")
        web = await network.membership.attach(request("web", "8080:80", mode="a"))
        pin = web.sandbox_path or ""
        before, inside = traces(lab), traces(lab, pin)
        seen = set()
        for number in range(300):
            told = await network.membership.connect(
                container_id("web"), "b", endpoint(priority=number % 3 - 1)
            )
            seen.add(told.endpoints["b"].ip_address)
            assert told.interfaces == {"a": "eth0", "b": "eth1"}
            await network.membership.disconnect(container_id("web"), "b")
        assert len(seen) == 253, "every address in turn"
        await eventually(lambda: len(links(lab)) == 1, "links")
        assert traces(lab) == before
        assert traces(lab, pin) == inside
        with serving(pin, ipv6=True):
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE


@in_lab
async def test_an_address_is_not_given_again_at_once(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "a", "172.30.1.0/29")
        given = []
        for number in range(7):
            told = await network.membership.attach(request(f"c{number}", mode="a"))
            given.append(told.endpoints["a"].ip_address[-1])
            await network.membership.detach(container_id(f"c{number}"))
        assert given == ["2", "3", "4", "5", "6", "2", "3"]


@in_lab
async def test_containers_come_and_go_on_many_networks_at_once(lab: Lab) -> None:
    async with lab.engine() as network:
        names = [f"n{number}" for number in range(8)]
        await asyncio.gather(*(make(network, name) for name in names))
        before = traces(lab)

        async def life(number: int) -> None:
            me = f"c{number}"
            where = on(*names[number % 8 : number % 8 + 3])
            mode = next(iter(where))
            await network.membership.attach(request(me, f"{8100 + number}:80", mode=mode, on=where))
            await network.membership.connect(container_id(me), "bridge", endpoint())
            await network.membership.disconnect(container_id(me), mode)
            await network.membership.detach(container_id(me))

        await asyncio.gather(*(life(number) for number in range(24)))
        await eventually(lambda: not links(lab), "links", 5)
        assert traces(lab) == before


@in_lab
async def test_a_network_in_use_stays(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "a")
        await network.membership.attach(request("web", mode="a"))
        with pytest.raises(Forbidden, match='network a has active endpoints .name:"web" id:"'):
            await network.remove("a")
        assert await network.prune({}) == []
        await network.membership.detach(container_id("web"))
        assert await network.prune({}) == ["a"]
        with pytest.raises(Forbidden, match="bridge is a pre-defined network"):
            await network.remove("bridge")


@in_lab
async def test_removing_while_somebody_joins(lab: Lab) -> None:
    """Either the network goes or the container is on it, never a container on nothing."""
    async with lab.engine() as network:
        before = traces(lab)
        for number in range(15):
            await make(network, "a")
            joining = network.membership.attach(request(f"c{number}", mode="a"))
            removing = network.remove("a")
            if number % 2:
                joined, removed = await asyncio.gather(joining, removing, return_exceptions=True)
            else:
                removed, joined = await asyncio.gather(removing, joining, return_exceptions=True)
            assert isinstance(joined, NaruError) or isinstance(removed, NaruError), number
            assert not (isinstance(joined, BaseException) and isinstance(removed, BaseException))
            await network.membership.detach(container_id(f"c{number}"))
            if isinstance(removed, BaseException):
                await network.remove("a")
        await eventually(lambda: not links(lab), "links")
        assert traces(lab) == before


@in_lab
async def test_macvlan(lab: Lab) -> None:
    """Two containers on a parent: they reach each other and what is behind the parent."""
    fd = netns.open_netns(lab.outside)
    lab.netlink.create_veth("par0", None, fd, "par1")
    lab.netlink.configure(fd, ConfigureLink(name="par1", addresses=(("172.30.5.254", 24),)))
    os.close(fd)
    async with lab.engine() as network:
        await _macvlan(lab, network)


async def _macvlan(lab: Lab, network: NetworkService) -> None:
    parent = {"parent": "par0"}
    await make(network, "lan", "172.30.5.0/24", driver="macvlan", options=parent)
    await make(network, "one", "172.30.1.0/24")
    a = await network.membership.attach(request("a", "8080:80", mode="lan"))
    b = await network.membership.attach(request("b", mode="lan", on=on("lan")))
    assert a.ports == {}
    assert links(lab) == set(), "its links live inside only"
    with serving(a.sandbox_path), serving(lab.outside, 7000):
        assert ask("172.30.5.2", 80, pin=b.sandbox_path) == "172.30.5.3"
        assert ask("172.30.5.2", 80, pin=lab.outside) == "172.30.5.254"
        assert ask("172.30.5.254", 7000, pin=b.sandbox_path) == "172.30.5.3"
        told = await network.membership.connect(container_id("a"), "one", endpoint(priority=5))
        assert told.ports["80/tcp"]
        assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
        assert (await network.counters.of(container_id("a")))["eth0"].rx_packets > 0
    await network.membership.disconnect(container_id("a"), "lan")
    with serving(b.sandbox_path):
        assert ask("172.30.5.3", 80, pin=lab.outside) == "172.30.5.254"
    for name in ("a", "b"):
        await network.membership.detach(container_id(name))
    await network.remove("lan")
    assert lab.netlink.link("par0") is not None, "the parent is its owner's"
