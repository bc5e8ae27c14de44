"""Network namespaces, netlink and nftables on the real kernel, many at once and on failure."""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from naru.kernel import mount, netns
from naru.kernel.netlink.client import ConfigureLink, Netlink
from naru.kernel.nft import Nft

pytestmark = pytest.mark.root


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path)
    yield path
    for target in mount.mounts_below(path):
        mount.unmount(target)


def _own() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_a_namespace_is_new_and_the_caller_stays_home(pins: str) -> None:
    home, threads = _own(), threading.active_count()
    netns.create_netns(f"{pins}/a")
    netns.create_netns(f"{pins}/b")
    inside = [netns.run_in_netns(f"{pins}/{name}", _own) for name in "ab"]
    assert len({home, *inside}) == 3
    assert _own() == home
    assert threading.active_count() == threads
    netns.remove_netns(f"{pins}/a")
    netns.remove_netns(f"{pins}/a")
    assert os.listdir(pins) == ["b"]


def test_no_descriptor_is_left(pins: str) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        netns.create_netns(f"{pins}/a")
        netns.run_in_netns(f"{pins}/a", _own)
        netns.remove_netns(f"{pins}/a")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_sysctls_are_set_inside_only(pins: str) -> None:
    name = "net/ipv4/ip_unprivileged_port_start"
    before = Path("/proc/sys", name).read_text()
    netns.create_netns(f"{pins}/a", ((name, "7"), ("net/no/such/thing", "1")))
    assert netns.run_in_netns(f"{pins}/a", Path("/proc/sys", name).read_text) == "7\n"
    assert Path("/proc/sys", name).read_text() == before


def test_failure_leaves_nothing(pins: str) -> None:
    with pytest.raises(OSError):
        netns.create_netns(f"{pins}/a", (("net/ipv4/ip_unprivileged_port_start", "many"),))
    assert os.listdir(pins) == []
    with pytest.raises(FileNotFoundError):
        netns.create_netns(f"{pins}/missing/a")


def test_errors_of_the_work_are_raised_here(pins: str) -> None:
    netns.create_netns(f"{pins}/a")

    def work(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="inside"):
        netns.run_in_netns(f"{pins}/a", work, "inside")
    with pytest.raises(FileNotFoundError):
        netns.run_in_netns(f"{pins}/missing", _own)


def test_many_sandboxes_at_once(pins: str) -> None:
    netns.create_netns(f"{pins}/home")
    host = netns.run_in_netns(f"{pins}/home", Netlink)
    bridge = host.ensure_bridge("naru-t0", [("172.30.9.1", 24)])

    def connect(number: int) -> None:
        pin = f"{pins}/sandbox{number}"
        netns.create_netns(pin)
        fd = netns.open_netns(pin)
        try:
            host.create_veth(f"naru-t{number}", bridge, fd, "eth0")
            address = ((f"172.30.9.{number}", 24),)
            link = ConfigureLink("eth0", addresses=address, routes=((None, "172.30.9.1"),))
            host.configure(fd, link, loopback=True)
        finally:
            os.close(fd)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(connect, range(2, 34)))
    assert sum(link.master == bridge for link in host.links()) == 32
    for number in range(2, 34):
        netns.remove_netns(f"{pins}/sandbox{number}")
    host.delete_link("naru-t0")
    host.close()


def test_packets_flow_and_are_counted(pins: str) -> None:
    netns.create_netns(f"{pins}/home")
    netns.create_netns(f"{pins}/box")
    host = netns.run_in_netns(f"{pins}/home", Netlink)
    bridge = host.ensure_bridge("naru-t0", [("172.30.9.1", 24)])
    fd = netns.open_netns(f"{pins}/box")
    host.create_veth("naru-t1", bridge, fd, "eth0", mac="02:42:ac:1e:09:02")
    link = ConfigureLink(
        "eth0", addresses=(("172.30.9.2", 24), ("fd00:9::2", 64)), routes=((None, "172.30.9.1"),)
    )
    host.configure(fd, link, loopback=True)
    os.close(fd)
    assert netns.run_in_netns(f"{pins}/box", _exchange, "172.30.9.1", f"{pins}/home") == b"ping"
    outside = host.link("naru-t1")
    assert outside is not None
    assert outside.stats.rx_packets > 0
    assert outside.stats.rx_bytes > 0
    host.close()


def _exchange(address: str, other: str) -> bytes:

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.settimeout(10)
        return made

    server = netns.run_in_netns(other, listen)
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"ping", server.getsockname())
        return server.recv(100)


def test_the_firewall_from_many_threads(pins: str) -> None:
    netns.create_netns(f"{pins}/home")
    nft = netns.run_in_netns(f"{pins}/home", Nft)
    nft.run("table inet naru-t { map m { type inet_service : ipv4_addr; }; }")

    def add(port: int) -> None:
        nft.run(f"add element inet naru-t m {{ {port} : 10.0.0.1 }}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(1000, 1200)))
    listed = nft.json("list map inet naru-t m")["nftables"]
    assert len(listed[-1]["map"]["elem"]) == 200
    assert "naru-t" in nft.text("list tables")
    nft.close()
