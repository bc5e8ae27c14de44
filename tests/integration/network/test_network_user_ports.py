"""Published ports on networks of one's own: both families, sources, ways in that must be shut."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest
from network_lab import (
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    STRANGER,
    STRANGER6,
    Lab,
    ask,
    container_id,
    endpoint,
    in_lab,
    make,
    on,
    request,
    serving,
    unheard,
)

from naru.base.errors import Internal
from naru.kernel import host, netns
from naru.kernel.netlink.client import Netlink
from naru.network.service import NetworkService
from naru.spec.engine.container_config import EndpointSettings

pytestmark = pytest.mark.root

DUAL = ("172.30.1.0/24", "fd00:7:1::/64")
UDP = socket.SOCK_DGRAM
NETFILTER = "net/bridge/bridge-nf-call-iptables"


@in_lab
async def test_the_clients_address_is_seen_in_both_families(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        web = await network.membership.attach(request("web", "8080:80", mode="one"))
        with serving(web.sandbox_path, ipv6=True):
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask(HOST6, 8080, pin=lab.outside) == OUTSIDE6
            assert ask(HOST, 8080) == HOST
            assert ask(HOST6, 8080) == HOST6
            assert ask("127.0.0.1", 8080) == "172.30.1.1"
            assert ask("::1", 8080) == "172.30.1.1", "the kernel has no way: by the relay"


@in_lab
async def test_ipv6_clients_of_a_network_without_ipv6_are_relayed(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", "172.30.1.0/24")
        web = await network.membership.attach(request("web", "8080:80", mode="one"))
        with serving(web.sandbox_path):
            assert ask(HOST6, 8080, pin=lab.outside) == "172.30.1.1"
            assert ask("::1", 8080) == "172.30.1.1"


@in_lab
async def test_a_network_of_ipv6_only(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "six", "fd00:7:6::/64", enable_ipv4=False)
        web = await network.membership.attach(request("web", "8080:80", mode="six"))
        assert web.endpoints["six"].ip_address == ""
        assert [item.host_ip for item in web.ports["80/tcp"] or ()] == ["::"]
        with serving(web.sandbox_path, ipv6=True):
            assert ask(HOST6, 8080, pin=lab.outside) == OUTSIDE6
            assert unheard(HOST, 8080, lab.outside)


@in_lab
async def test_udp_answers_come_from_the_address_that_was_asked(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        dns = await network.membership.attach(request("dns", "5353:53/udp", mode="one"))
        with serving(dns.sandbox_path, 53, UDP, ipv6=True):
            for target, client in ((HOST, OUTSIDE), (HOST6, OUTSIDE6)):
                assert ask(target, 5353, udp=True, pin=lab.outside) == client
            assert ask("127.0.0.1", 5353, udp=True) == "172.30.1.1"
            assert ask("172.30.1.1", 5353, udp=True) is not None
            assert ask("::1", 5353, udp=True) == "172.30.1.1"


@in_lab
async def test_only_allowed_sources_reach_a_port(lab: Lab) -> None:
    sources = {"8080/tcp": (f"{OUTSIDE}/32", f"{OUTSIDE6}/128", "172.30.2.0/24")}
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        await make(network, "two", "172.30.2.0/24")
        asked = request("web", "8080:80", "8081:80", mode="one", sources=sources)
        web = await network.membership.attach(asked)
        other = await network.membership.attach(request("other", mode="two"))
        same = await network.membership.attach(request("same", mode="one"))
        with serving(web.sandbox_path, ipv6=True):
            assert ask(HOST, 8080, pin=lab.outside, source=OUTSIDE) == OUTSIDE
            assert ask(HOST6, 8080, pin=lab.outside, source=OUTSIDE6) == OUTSIDE6
            assert unheard(HOST, 8080, lab.outside, STRANGER)
            assert unheard(HOST6, 8080, lab.outside, STRANGER6)
            assert ask(HOST, 8081, pin=lab.outside, source=STRANGER) == STRANGER
            assert ask("127.0.0.1", 8080) is not None, "the host itself may"
            assert ask(HOST, 8080, pin=other.sandbox_path) is not None
            assert unheard(HOST, 8080, same.sandbox_path)
        rows = {row["HostIP"]: row for row in network.audit.ports() if row["HostPort"] == 8080}
        assert rows["0.0.0.0"]["Sources"] == list(sources["8080/tcp"])
        await network.membership.detach(container_id("web"))
        free = await network.membership.attach(request("free", "8080:80", mode="one"))
        with serving(free.sandbox_path, ipv6=True):
            assert ask(HOST, 8080, pin=lab.outside, source=STRANGER) == STRANGER
            assert ask(HOST6, 8080, pin=lab.outside, source=STRANGER6) == STRANGER6


@in_lab
async def test_sources_hold_through_the_relay_and_for_one_address(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", "172.30.1.0/24")
        asked = request(
            "web", "8080:80", f"{HOST}:8081:80", mode="one",
            sources={"*": (f"{OUTSIDE}/32", f"{OUTSIDE6}/128")},
        )  # fmt: skip
        web = await network.membership.attach(asked)
        only4 = request("four", "8082:80", mode="one", sources={"*": (f"{OUTSIDE}/32",)})
        four = await network.membership.attach(only4)
        with serving(web.sandbox_path), serving(four.sandbox_path):
            assert ask(HOST6, 8080, pin=lab.outside, source=OUTSIDE6) == "172.30.1.1"
            assert unheard(HOST6, 8080, lab.outside, STRANGER6)
            assert ask(HOST, 8081, pin=lab.outside, source=OUTSIDE) == OUTSIDE
            assert unheard(HOST, 8081, lab.outside, STRANGER)
            assert unheard(HOST6, 8082, lab.outside, OUTSIDE6), "no IPv6 source was allowed"


@in_lab
async def test_a_containers_address_is_no_way_in_from_outside(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        web = await network.membership.attach(request("web", "8080:80", mode="one"))
        with serving(web.sandbox_path, ipv6=True), serving(web.sandbox_path, 81, ipv6=True):
            assert ask("172.30.1.2", 80) is not None
            for port in (80, 81):
                assert unheard("172.30.1.2", port, lab.outside), port
                assert unheard("fd00:7:1::2", port, lab.outside), port


async def _hairpins(lab: Lab, network: NetworkService) -> None:
    await make(network, "one", *DUAL)
    await make(network, "two", "172.30.2.0/24", "fd00:7:2::/64")
    web = await network.membership.attach(request("web", "8080:80", mode="one"))
    near = await network.membership.attach(request("near", mode="one"))
    far = await network.membership.attach(request("far", mode="two"))
    old = await network.membership.attach(request("old"))
    with serving(web.sandbox_path, ipv6=True):
        for asker in (web, near, far, old):
            for target in (HOST, "172.30.1.1"):
                assert ask(target, 8080, pin=asker.sandbox_path), (asker.request.name, target)
        for asker in (web, near, far):
            assert ask(HOST6, 8080, pin=asker.sandbox_path), asker.request.name


@in_lab
async def test_containers_reach_published_ports_by_the_hosts_addresses(lab: Lab) -> None:
    async with lab.engine() as network:
        await _hairpins(lab, network)


@in_lab
async def test_and_with_bridge_netfilter_the_other_way_too(lab: Lab) -> None:
    for name in (NETFILTER, NETFILTER.replace("iptables", "ip6tables")):
        if not host.has_sysctl(name):
            return
        host.set_sysctl(name, "0" if host.get_sysctl(name) == "1" else "1")
    async with lab.engine() as network:
        await _hairpins(lab, network)


@in_lab
async def test_a_network_may_publish_on_one_address_by_default(lab: Lab) -> None:
    options = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    async with lab.engine() as network:
        await make(network, "one", "172.30.1.0/24", options=options)
        asked = request("web", "8080:80", f"{HOST}:8081:80", mode="one")
        web = await network.membership.attach(asked)
        assert [item.host_ip for item in web.ports["80/tcp"] or ()] == ["127.0.0.1", HOST]
        with serving(web.sandbox_path):
            assert ask("127.0.0.1", 8080) == "172.30.1.1"
            assert unheard(HOST, 8080, lab.outside)
            assert ask(HOST, 8081, pin=lab.outside) == OUTSIDE


@in_lab
async def test_ports_and_the_default_route_follow_the_networks(lab: Lab) -> None:
    options = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    async with lab.engine() as network:
        await make(network, "b", "172.30.2.0/24")
        await make(network, "a", "172.30.1.0/24")
        await make(network, "z", "172.30.9.0/24", options=options)
        await make(network, "c-shut", "172.30.3.0/24", internal=True)
        member, me = network.membership, container_id("web")
        web = await member.attach(request("web", "8080:80", mode="b"))
        pin = web.sandbox_path or ""

        def leads(through: str) -> None:
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE, through
            assert route(pin) == through

        with serving(pin):
            leads("172.30.2.1")
            await member.connect(me, "c-shut", endpoint(priority=100))
            leads("172.30.2.1")
            await member.connect(me, "a", endpoint())
            leads("172.30.1.1")
            await member.disconnect(me, "a")
            leads("172.30.2.1")
            await member.connect(me, "a", endpoint(priority=-1))
            leads("172.30.2.1")
            told = await member.connect(me, "z", endpoint(priority=7))
            assert route(pin) == "172.30.9.1"
            assert [item.host_ip for item in told.ports["80/tcp"] or ()] == ["127.0.0.1"]
            assert unheard(HOST, 8080, lab.outside)
            assert ask("127.0.0.1", 8080) == "172.30.9.1"
            told = await member.disconnect(me, "z")
            assert len(told.ports["80/tcp"] or ()) == 2
            leads("172.30.2.1")
            await member.disconnect(me, "b")
            leads("172.30.1.1")
            told = await member.disconnect(me, "a")
            assert told.ports == {}
            assert unheard(HOST, 8080, lab.outside)
            assert route(pin) == ""
            await member.connect(me, "b", endpoint())
            leads("172.30.2.1")


@in_lab
async def test_a_refused_port_leaves_a_connection_undone(lab: Lab) -> None:
    """The other network publishes elsewhere, and there somebody has the port already."""
    options = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    async with lab.engine() as network:
        await make(network, "b", "172.30.2.0/24")
        await make(network, "a", "172.30.1.0/24", options=options)
        member, me = network.membership, container_id("web")
        web = await member.attach(request("web", f"{HOST}:8080:80", mode="b"))
        shut = request("shut", "8090:80", mode="b")
        await make(network, "in", "172.30.3.0/24", internal=True)
        late = await member.attach(request("late", "8091:80", mode="in", on=on("in")))
        with socket.create_server(("", 8091)), pytest.raises(Internal, match="already in use"):
            await member.connect(container_id("late"), "b", endpoint())
        assert list((await member.attach(shut)).endpoints) == ["b"]
        assert [item.name for item in network.inspect("b").containers.values()] == ["shut", "web"]
        await member.connect(container_id("late"), "b", endpoint())
        with serving(late.sandbox_path), serving(web.sandbox_path):
            assert ask(HOST, 8091, pin=lab.outside) == OUTSIDE
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            await member.connect(me, "a", endpoint())
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE, "an address of its own stays"


@in_lab
async def test_traffic_flows_while_networks_come_and_go(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "a", "172.30.1.0/24")
        await make(network, "b", "172.30.2.0/24")
        web = await network.membership.attach(request("web", "8080:80", mode="a"))
        with serving(web.sandbox_path):
            failed = await asked_meanwhile(lab, lambda: come_and_go(network, endpoint()))
            assert failed == [], "the way out is the same all the time"
            failed = await asked_meanwhile(lab, lambda: come_and_go(network, endpoint(priority=9)))
            assert len(failed) <= 4, f"only what was under way may be cut: {failed}"


async def come_and_go(network: NetworkService, asked: EndpointSettings) -> None:
    for _ in range(10):
        await network.membership.connect(container_id("web"), "b", asked)
        await network.membership.disconnect(container_id("web"), "b")


async def asked_meanwhile(lab: Lab, work: Callable[[], Awaitable[None]]) -> list[str]:
    """The addresses at which port 8080 did not answer while `work` went on."""
    failed: list[str] = []
    asked, stop = 0, threading.Event()

    def hammer() -> None:
        nonlocal asked
        while not stop.is_set() or asked < 30:
            for address, pin in ((HOST, lab.outside), ("127.0.0.1", None), (HOST6, None)):
                asked += 1
                if ask(address, 8080, pin=pin) is None:
                    failed.append(address)

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        await work()
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
    return failed


def route(pin: str) -> str:
    """Where the container's IPv4 default route leads."""
    netlink = netns.run_in_netns(pin, Netlink)
    try:
        return next((item.via or "" for item in netlink.routes() if item.destination is None), "")
    finally:
        netlink.close()
