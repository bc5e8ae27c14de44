"""Who reaches whom on networks of one's own, on the wire."""

import subprocess

import pytest
from network_lab import (
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    Lab,
    ask,
    endpoint,
    in_lab,
    make,
    on,
    pings,
    request,
    serving,
    unheard,
)

from naru.kernel import host
from naru.network.model import Attachment

pytestmark = pytest.mark.root

BRIDGE = "com.docker.network.bridge."
NETFILTER = "net/bridge/bridge-nf-call-iptables"
DUAL = ("172.30.1.0/24", "fd00:7:1::/64")


def address(of: Attachment, name: str) -> str:
    return of.endpoints[name].ip_address


@in_lab
async def test_networks_are_isolated_and_a_container_may_be_on_both(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        await make(network, "two", "172.30.2.0/24", "fd00:7:2::/64")
        attach = network.membership.attach
        a = await attach(request("a", mode="one"))
        b = await attach(request("b", mode="two"))
        both = await attach(request("both", mode="one", on=on("one", "two")))
        old = await attach(request("old"))
        pins = [item.sandbox_path for item in (a, b, both, old)]
        with serving(pins[0], ipv6=True), serving(pins[1], ipv6=True), serving(pins[2], ipv6=True):
            assert address(both, "one") == "172.30.1.3"
            assert ask("172.30.1.3", 80, pin=a.sandbox_path) == "172.30.1.2"
            assert ask("fd00:7:1::3", 80, pin=a.sandbox_path) == "fd00:7:1::2"
            assert ask(address(both, "two"), 80, pin=b.sandbox_path) == "172.30.2.2"
            assert ask("172.30.1.2", 80, pin=both.sandbox_path) == "172.30.1.3"
            assert ask("fd00:7:2::2", 80, pin=both.sandbox_path) == "fd00:7:2::3"
            for asker, others in (
                (a, ("172.30.2.2", "fd00:7:2::2", "172.30.2.3", "fd00:7:2::3")),
                (b, ("172.30.1.2", "fd00:7:1::2", "172.30.1.3")),
                (old, ("172.30.1.2", "172.30.2.2")),
            ):
                for other in others:
                    assert unheard(other, 80, asker.sandbox_path), (asker.request.name, other)
                    assert not pings(other, asker.sandbox_path, 0.1), (asker.request.name, other)
            assert unheard("172.30.1.2", 80, lab.outside)
            assert unheard("fd00:7:1::2", 80, lab.outside)


@in_lab
async def test_containers_reach_the_world_with_the_hosts_address(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        a = await network.membership.attach(request("a", mode="one"))
        with serving(lab.outside, 7000, ipv6=True):
            assert ask(OUTSIDE, 7000, pin=a.sandbox_path) == HOST
            assert ask(OUTSIDE6, 7000, pin=a.sandbox_path) == HOST6


@in_lab
async def test_an_internal_network_is_shut_both_ways(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "shut", *DUAL, internal=True)
        await make(network, "one", "172.30.2.0/24", "fd00:7:2::/64")
        attach = network.membership.attach
        inside = await attach(request("inside", "8080:80", mode="shut"))
        beside = await attach(request("beside", mode="shut"))
        other = await attach(request("other", "8081:80", mode="one"))
        assert inside.ports == {}
        assert inside.endpoints["shut"].gateway == ""
        pin = inside.sandbox_path or ""
        run("nsenter", f"--net={pin}", "ip", "route", "add", "default", "via", "172.30.1.1")
        run("nsenter", f"--net={pin}", "ip", "-6", "route", "add", "default", "via", "fd00:7:1::1")
        with (
            serving(pin, ipv6=True),
            serving(other.sandbox_path, ipv6=True),
            serving(lab.outside, 7000, ipv6=True),
        ):
            assert ask("172.30.1.2", 80, pin=beside.sandbox_path) == "172.30.1.3"
            assert ask("fd00:7:1::2", 80, pin=beside.sandbox_path) == "fd00:7:1::3"
            assert ask("172.30.1.2", 80) == "172.30.1.1", "the host itself may"
            for target in (OUTSIDE, OUTSIDE6):
                assert unheard(target, 7000, pin), target
            for target in ("172.30.2.2", "fd00:7:2::2"):
                assert unheard(target, 80, pin), target
            assert unheard(HOST, 8081, pin), "nor by a published port of another"
            for asker in (lab.outside, other.sandbox_path):
                for target in ("172.30.1.2", "fd00:7:1::2"):
                    assert unheard(target, 80, asker), (asker, target)
                assert unheard(HOST, 8080, asker)


@in_lab
async def test_a_container_on_an_internal_and_an_open_network_is_reached(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "a-shut", "172.30.1.0/24", internal=True)
        await make(network, "open", "172.30.2.0/24")
        both = await network.membership.attach(
            request("both", "8080:80", mode="a-shut", on=on("a-shut", "open"))
        )
        with serving(both.sandbox_path), serving(lab.outside, 7000):
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask(OUTSIDE, 7000, pin=both.sandbox_path) == HOST


@in_lab
async def test_without_icc_neighbours_do_not_reach_each_other(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "apart", *DUAL, options={BRIDGE + "enable_icc": "false"})
        a = await network.membership.attach(request("a", "8080:80", mode="apart"))
        b = await network.membership.attach(request("b", mode="apart"))
        with serving(a.sandbox_path, ipv6=True), serving(lab.outside, 7000):
            assert unheard("172.30.1.2", 80, b.sandbox_path)
            assert unheard("fd00:7:1::2", 80, b.sandbox_path)
            assert not pings("172.30.1.2", b.sandbox_path, 0.1)
            assert ask(OUTSIDE, 7000, pin=b.sandbox_path) == HOST
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask("172.30.1.2", 80) == "172.30.1.1"
            if host.has_sysctl(NETFILTER):  # where bridges translate by themselves, it is not
                host.set_sysctl(NETFILTER, "0")
            assert ask(HOST, 8080, pin=b.sandbox_path) is not None, "published is for everyone"
            assert unheard("172.30.1.2", 80, b.sandbox_path)


@in_lab
async def test_a_routed_network_opens_what_is_published_and_no_more(lab: Lab) -> None:
    routed = {BRIDGE + "gateway_mode_ipv4": "routed", BRIDGE + "gateway_mode_ipv6": "routed"}
    async with lab.engine() as network:
        await make(network, "open", *DUAL, options=routed)
        await make(network, "one", "172.30.2.0/24")
        web = await network.membership.attach(request("web", "8080:80", mode="open"))
        other = await network.membership.attach(request("other", mode="one"))
        pin = web.sandbox_path
        assert [item.host_port for item in web.ports["80/tcp"] or ()] == ["", ""]
        with (
            serving(pin, ipv6=True),
            serving(pin, 81, ipv6=True),
            serving(lab.outside, 7000, ipv6=True),
        ):
            assert ask("172.30.1.2", 80, pin=lab.outside) == OUTSIDE
            assert ask("fd00:7:1::2", 80, pin=lab.outside) == OUTSIDE6
            assert unheard("172.30.1.2", 81, lab.outside)
            assert unheard("fd00:7:1::2", 81, lab.outside)
            assert pings("172.30.1.2", lab.outside)
            assert pings("fd00:7:1::2", lab.outside)
            assert unheard(HOST, 8080, lab.outside), "nothing is translated"
            assert ask(OUTSIDE, 7000, pin=pin) == "172.30.1.2", "nor on the way out"
            assert ask(OUTSIDE6, 7000, pin=pin) == "fd00:7:1::2"
            assert ask("172.30.1.2", 80, pin=other.sandbox_path) is not None
            assert unheard("172.30.1.2", 81, other.sandbox_path)
        await network.membership.detach(web.request.container_id)
        again = await network.membership.attach(
            request("again", mode="open", on={"open": endpoint("172.30.1.2")})
        )
        with serving(again.sandbox_path):
            assert unheard("172.30.1.2", 80, lab.outside)


@in_lab
async def test_the_first_container_is_reached_from_its_first_packet_on(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", *DUAL)
        first = await network.membership.attach(request("first", "8080:80", mode="one"))
        with serving(first.sandbox_path, ipv6=True):
            assert ask(HOST6, 8080, pin=lab.outside, timeout_s=0.9) == OUTSIDE6
            assert ask(HOST, 8080, pin=lab.outside, timeout_s=0.9) == OUTSIDE


@in_lab
async def test_outgoing_connections_get_the_address_that_was_chosen(lab: Lab) -> None:
    run("ip", "address", "add", "203.0.113.7/24", "dev", "wan0")
    run("ip", "address", "add", "fd00:99::7/64", "dev", "wan0", "nodad")
    options = {
        "com.docker.network.host_ipv4": "203.0.113.7",
        "com.docker.network.host_ipv6": "fd00:99::7",
    }
    async with lab.engine() as network:
        await make(network, "one", *DUAL, options=options)
        await make(
            network, "two", "172.30.2.0/24", options={BRIDGE + "enable_ip_masquerade": "false"}
        )
        a = await network.membership.attach(request("a", "8080:80", mode="one"))
        b = await network.membership.attach(request("b", mode="two"))
        with serving(lab.outside, 7000, ipv6=True), serving(a.sandbox_path):
            assert ask(OUTSIDE, 7000, pin=a.sandbox_path) == "203.0.113.7"
            assert ask(OUTSIDE6, 7000, pin=a.sandbox_path) == "fd00:99::7"
            assert ask(OUTSIDE, 7000, pin=b.sandbox_path) == "172.30.2.2"
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask(HOST, 8080, pin=a.sandbox_path) is not None


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)
