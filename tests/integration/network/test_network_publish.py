"""Published ports and ways out, on the wire."""

import errno
import socket
import subprocess
import sys

import pytest
from network_lab import (
    HOST,
    HOST6,
    OUTSIDE,
    Lab,
    ask,
    container_id,
    in_lab,
    request,
    serving,
)

from naru.base.errors import Internal, NotFound
from naru.kernel import host, netns
from naru.kernel.netlink.client import LinkInfo, Netlink

pytestmark = pytest.mark.root


def run(argv: list[str]) -> None:
    subprocess.run(argv, check=True)


def send_loopback_out(pin: str, gateway: str) -> None:
    """In `pin`, 127.0.0.0/8 is no longer its own but behind `gateway`."""

    def allow() -> None:
        host.set_sysctl("net/ipv4/conf/all/route_localnet", "1")

    netns.run_in_netns(pin, allow)
    inside = ["nsenter", f"--net={pin}", "ip"]
    run([*inside, "address", "delete", "127.0.0.1/8", "dev", "lo"])
    run([*inside, "route", "add", "127.0.0.0/8", "via", gateway])


def start(argv: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@in_lab
async def test_a_published_port_is_reached_from_everywhere(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        other = await network.membership.attach(request("other"))
        with serving(web.sandbox_path):
            assert ask("127.0.0.1", 8080) == "172.17.0.1"
            assert ask("127.9.9.9", 8080) == "172.17.0.1"
            assert ask(HOST, 8080) == HOST
            assert ask("172.17.0.1", 8080) == "172.17.0.1"
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask("172.17.0.2", 80, pin=other.sandbox_path) == "172.17.0.3"
            assert ask(HOST, 8080, pin=other.sandbox_path) is not None
            assert ask("172.17.0.1", 8080, pin=other.sandbox_path) is not None
            assert ask("172.17.0.1", 8080, pin=web.sandbox_path) is not None


@in_lab
async def test_neighbours_are_reached_without_bridge_netfilter_too(lab: Lab) -> None:
    name = "net/bridge/bridge-nf-call-iptables"
    if not host.has_sysctl(name):
        return
    host.set_sysctl(name, "0" if host.get_sysctl(name) == "1" else "1")
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        other = await network.membership.attach(request("other"))
        with serving(web.sandbox_path):
            assert ask(HOST, 8080, pin=other.sandbox_path) is not None
            assert ask("172.17.0.1", 8080, pin=web.sandbox_path) is not None


@in_lab
async def test_ipv6_clients_reach_the_container(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(
            request("web", "8080:80", "[::1]:8081:81", "53:53/udp")
        )
        with (
            serving(web.sandbox_path),
            serving(web.sandbox_path, 81),
            serving(web.sandbox_path, 53, socket.SOCK_DGRAM),
        ):
            assert ask("::1", 8080) == "172.17.0.1"
            assert ask(HOST6, 8080) == "172.17.0.1"
            assert ask(HOST6, 8080, pin=lab.outside) == "172.17.0.1"
            assert ask("::1", 8081) == "172.17.0.1"
            assert ask(HOST6, 8081, pin=lab.outside) is None
            assert ask("::1", 53, udp=True) == "172.17.0.1"
            assert ask(HOST6, 53, udp=True, pin=lab.outside) == "172.17.0.1"


@in_lab
async def test_udp_answers_come_from_the_address_that_was_asked(lab: Lab) -> None:
    async with lab.engine() as network:
        dns = await network.membership.attach(request("dns", "5353:53/udp"))
        with serving(dns.sandbox_path, 53, socket.SOCK_DGRAM):
            assert ask("127.0.0.1", 5353, udp=True) == "172.17.0.1"
            assert ask(HOST, 5353, udp=True) == HOST
            assert ask(HOST, 5353, udp=True, pin=lab.outside) == OUTSIDE


@in_lab
async def test_loopback_ports_stay_on_this_host(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "127.0.0.1:8080:80"))
        other = await network.membership.attach(request("other"))
        with serving(web.sandbox_path):
            assert ask("127.0.0.1", 8080) == "172.17.0.1"
            for pin in (lab.outside, other.sandbox_path):
                assert ask(HOST, 8080, pin=pin, timeout_s=0.2) is None
                assert ask("172.17.0.1", 8080, pin=pin, timeout_s=0.2) is None
            # Worst case: a neighbour sends 127.0.0.1 over the wire, and the host would take it.
            host.set_sysctl("net/ipv4/conf/wan0/route_localnet", "1")
            send_loopback_out(lab.outside, HOST)
            assert ask("127.0.0.1", 8080, pin=lab.outside, timeout_s=0.2) is None


@in_lab
async def test_unpublished_ports_are_not_routed_from_outside(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path), serving(web.sandbox_path, 81):
            assert ask("172.17.0.2", 81) is not None
            assert ask("172.17.0.2", 81, pin=lab.outside, timeout_s=0.2) is None
            assert ask("172.17.0.2", 80, pin=lab.outside, timeout_s=0.2) is None


@in_lab
async def test_containers_cannot_use_the_hosts_loopback(lab: Lab) -> None:
    async with lab.engine() as network:
        inside = await network.membership.attach(request("inside"))
        pin = inside.sandbox_path or ""
        send_loopback_out(pin, "172.17.0.1")
        with serving(None, 9000):
            assert ask("172.17.0.1", 9000, pin=pin) == "172.17.0.2"
            assert ask("127.0.0.1", 9000, pin=pin, timeout_s=0.2) is None


@in_lab
async def test_containers_reach_the_world_masqueraded(lab: Lab) -> None:
    async with lab.engine() as network:
        inside = await network.membership.attach(request("inside"))
        with serving(lab.outside, 7000):
            assert ask(OUTSIDE, 7000, pin=inside.sandbox_path) == HOST


@in_lab
async def test_one_address_of_the_host_can_be_chosen(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", f"{HOST}:8080:80"))
        with serving(web.sandbox_path):
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            assert ask("127.0.0.1", 8080) is None


@in_lab
async def test_a_port_in_use_names_its_holder(lab: Lab) -> None:
    async with lab.engine() as network:
        await network.membership.attach(request("web", "8080:80"))
        with pytest.raises(Internal) as caught:
            await network.membership.attach(request("api", "8080:80"))
        text = caught.value.message
        assert text.startswith(
            "failed to set up container networking: driver failed programming external "
            "connectivity on endpoint api ("
        )
        assert text.endswith(
            "Bind for 0.0.0.0:8080 failed: port is already allocated (container web holds it)"
        )
        assert network.audit.holder_of(8080) == "container web"
        await network.membership.detach(container_id("web"))
        await network.membership.attach(request("api", "8080:80"))


@in_lab
async def test_a_port_of_a_host_process_is_refused_and_named(lab: Lab) -> None:
    script = "import socket; s = socket.create_server(('', 8080)); print(1, flush=True); input()"
    with start([sys.executable, "-c", script]) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        async with lab.engine() as network:
            with pytest.raises(Internal, match=rf"address already in use \(process .*{holder.pid}"):
                await network.membership.attach(request("web", "8080:80"))
            holder.kill()
            holder.wait()
            await network.membership.attach(request("web", "8080:80"))


@in_lab
async def test_a_host_process_cannot_take_a_published_port(lab: Lab) -> None:
    async with lab.engine() as network:
        await network.membership.attach(request("web", "8080:80"))
        with pytest.raises(OSError) as caught:
            socket.create_server(("", 8080))
        assert caught.value.errno == errno.EADDRINUSE


@in_lab
async def test_two_engines_do_not_disturb_each_other(lab: Lab) -> None:
    async with lab.engine("a") as first, lab.engine("b", bip="172.28.0.1/24") as second:
        one = await first.membership.attach(request("one", "8080:80"))
        two = await second.membership.attach(request("two", "8081:80"))
        assert two.endpoints["bridge"].ip_address == "172.28.0.2"
        with pytest.raises(Internal, match="address already in use"):
            await second.membership.attach(request("three", "8080:80"))
        with serving(one.sandbox_path), serving(two.sandbox_path):
            assert ask("127.0.0.1", 8080) == "172.17.0.1"
            assert ask("127.0.0.1", 8081) == "172.28.0.1"
            assert ask("::1", 8080) == "172.17.0.1"
            assert ask("::1", 8081) == "172.28.0.1"
            assert ask(HOST, 8081, pin=one.sandbox_path) is not None
            assert ask("172.28.0.2", 80, pin=one.sandbox_path, timeout_s=0.2) is None


@in_lab
async def test_a_link_carries_from_the_first_packet_on(lab: Lab) -> None:
    """Also while the kernel is busy removing the links of others: a lost packet costs 1 s."""
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            for number in range(25):
                other = await network.membership.attach(request(f"c{number}"))
                assert ask(HOST, 8080, pin=other.sandbox_path, timeout_s=0.9) is not None
                await network.membership.detach(container_id(f"c{number}"))


@in_lab
async def test_a_udp_client_that_goes_on_sending_finds_the_next_container(lab: Lab) -> None:
    async with lab.engine() as network:
        client = netns.run_in_netns(
            lab.outside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        client.settimeout(1)
        client.connect((HOST, 5353))

        def answer() -> str:
            client.send(b"?")
            return client.recv(100).decode()

        with client:
            client.send(b"before anything is published")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)
            for name in ("one", "two"):
                server = await network.membership.attach(request(name, "5353:53/udp"))
                with serving(server.sandbox_path, 53, socket.SOCK_DGRAM):
                    assert answer() == OUTSIDE
                await network.membership.detach(container_id(name))


@in_lab
async def test_what_a_container_is_told_of_its_ports(lab: Lab) -> None:
    async with lab.engine() as network:
        asked = request("web", "8080:80", exposed_ports=("80/tcp", "90/udp"))
        web = await network.membership.attach(asked)
        assert list(web.ports) == ["80/tcp", "90/udp"]
        assert web.ports["90/udp"] is None
        every = request("all", exposed_ports=("80-81/tcp", "90/udp"), publish_all=True)
        found = (await network.membership.attach(every)).ports
        ports = [int(found[name][0].host_port) for name in ("80/tcp", "81/tcp", "90/udp")]  # type: ignore[index]
        assert ports[1] == ports[0] + 1
        assert ports[2] == ports[0]


@in_lab
async def test_host_and_none(lab: Lab) -> None:
    async with lab.engine() as network:
        host_mode = await network.membership.attach(request("h", "8080:80", mode="host"))
        assert host_mode.sandbox_path is None
        assert host_mode.ports == {}
        assert list(host_mode.endpoints) == ["host"]
        none = await network.membership.attach(request("n", mode="none"))
        names = {link.name for link in in_netns(none.sandbox_path or "")}
        assert names == {"lo"}
        assert list(network.inspect("none").containers) == [container_id("n")]
        assert await network.counters.of(container_id("n")) == {}
        with pytest.raises(NotFound, match="network nosuch not found"):
            await network.membership.attach(request("x", mode="nosuch"))
        await network.membership.detach(container_id("h"))
        await network.membership.detach(container_id("n"))
    assert [event[:2] for event in lab.events] == [
        ("network", "connect"), ("network", "connect"),
        ("network", "disconnect"), ("network", "disconnect"),
    ]  # fmt: skip


@in_lab
async def test_counters_are_the_containers(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web"))
        with serving(web.sandbox_path):
            for _ in range(20):
                ask("172.17.0.2", 80)
        inside = next(link for link in in_netns(web.sandbox_path or "") if link.name == "eth0")
        told = (await network.counters.of(container_id("web")))["eth0"]
        assert told.rx_packets >= 20
        assert abs(told.rx_bytes - inside.stats.rx_bytes) < 500
        assert abs(told.tx_bytes - inside.stats.tx_bytes) < 500


def in_netns(pin: str) -> list[LinkInfo]:
    netlink = netns.run_in_netns(pin, Netlink)
    try:
        return netlink.links()
    finally:
        netlink.close()
