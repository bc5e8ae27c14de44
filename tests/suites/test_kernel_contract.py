"""One contract for the kernel and its fake: what holds for one must hold for the other.

Each test runs twice; the real half needs root, works in a namespace, folder and group of its own,
and leaves nothing.
"""

import asyncio
import errno
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from naru.base.errors import Internal
from naru.kernel import cgroup, mount, netns
from naru.kernel.fake.cgroup import FakeCgroup, FakeGroups
from naru.kernel.fake.mount import FakeMounts
from naru.kernel.fake.netlink import FakeNetlink, FakeNetwork
from naru.kernel.fake.nft import FakeNft
from naru.kernel.fake.spawn import FakeSpawner
from naru.kernel.netlink.client import ConfigureLink, Netlink
from naru.kernel.nft import Nft
from naru.kernel.spawn import Spawner

BOTH = [pytest.param("fake", id="fake"), pytest.param("real", id="real", marks=pytest.mark.root)]


# --- network -------------------------------------------------------------------------------------


@pytest.fixture(params=BOTH)
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """`host`: Netlink of a fresh namespace that plays the host; `open`, `close`, `inside`, …"""
    pin, home = str(tmp_path / "sandbox"), str(tmp_path / "home")
    if request.param == "fake":
        network = FakeNetwork()
        yield SimpleNamespace(
            host=FakeNetlink(network),
            pin=pin,
            create=network.create_netns,
            remove=network.remove_netns,
            open=network.open_netns,
            close=network.close_netns,
            inside=lambda: FakeNetlink(network, pin),
        )
        return
    with ExitStack() as undo:
        undo.callback(netns.remove_netns, home)
        undo.callback(netns.remove_netns, pin)
        netns.create_netns(home)
        host = netns.run_in_netns(home, Netlink)
        undo.callback(host.close)

        def inside() -> Netlink:
            made = netns.run_in_netns(pin, Netlink)
            undo.callback(made.close)
            return made

        yield SimpleNamespace(
            host=host,
            pin=pin,
            create=netns.create_netns,
            remove=netns.remove_netns,
            open=netns.open_netns,
            close=os.close,
            inside=inside,
        )


def test_a_bridge_is_made_once_and_then_adapted(net) -> None:
    index = net.host.ensure_bridge("naru-t0", [("172.30.9.1", 24)])
    assert net.host.link_index("naru-t0") == index
    assert net.host.ensure_bridge("naru-t0", [("172.30.8.1", 16)], mtu=1400) == index
    link = net.host.link("naru-t0")
    assert (link.kind, link.up, link.mtu, link.master) == ("bridge", True, 1400, 0)
    four = [item for item in net.host.addresses(index) if ":" not in item.address]
    assert [(item.address, item.prefix) for item in four] == [("172.30.8.1", 16)]


def test_a_link_of_another_kind_is_no_bridge(net) -> None:
    with pytest.raises(OSError) as caught:
        net.host.ensure_bridge("lo", [])
    assert caught.value.errno == errno.EEXIST


def test_what_is_not_there(net) -> None:
    assert net.host.link_index("naru-t9") is None
    assert net.host.link("naru-t9") is None
    assert net.host.delete_link("naru-t9") is False
    with pytest.raises(OSError) as caught:
        net.host.configure(None, ConfigureLink("naru-t9"))
    assert caught.value.errno == errno.ENODEV
    assert caught.value.filename == "naru-t9"
    with pytest.raises(FileNotFoundError):
        net.open(net.pin)
    net.remove(net.pin)


def _connect(net, mac: str = "02:42:ac:1e:09:02") -> None:
    index = net.host.ensure_bridge("naru-t0", [("172.30.9.1", 24)])
    net.create(net.pin)
    fd = net.open(net.pin)
    net.host.create_veth("naru-t1", index, fd, "eth0", mac=mac, mtu=1400)
    link = ConfigureLink(
        "eth0",
        mac=mac,
        addresses=(("172.30.9.2", 24),),
        routes=((None, "172.30.9.1"), ("10.77.0.0/16", "172.30.9.9")),
    )
    net.host.configure(fd, link, loopback=True)
    net.close(fd)


def test_a_sandbox_is_connected(net) -> None:
    _connect(net)
    outside = net.host.link("naru-t1")
    assert (outside.kind, outside.up, outside.mtu) == ("veth", True, 1400)
    assert outside.master == net.host.link_index("naru-t0")
    inside = net.inside()
    eth0, lo = inside.link("eth0"), inside.link("lo")
    assert (eth0.up, eth0.mtu, eth0.mac) == (True, 1400, "02:42:ac:1e:09:02")
    assert (eth0.peer, outside.peer) == (outside.index, eth0.index)
    assert lo.up
    assert {link.name for link in inside.links()} == {"lo", "eth0"}
    four = [item for item in inside.addresses(eth0.index) if ":" not in item.address]
    assert [(item.address, item.prefix) for item in four] == [("172.30.9.2", 24)]
    routes = {(route.destination, route.via) for route in inside.routes()}
    assert {(None, "172.30.9.1"), ("10.77.0.0/16", "172.30.9.9"), ("172.30.9.0/24", None)} <= routes
    assert eth0.stats.rx_errors == 0


def test_deleting_one_end_deletes_both(net) -> None:
    _connect(net)
    inside = net.inside()
    assert net.host.delete_link("naru-t1") is True
    assert inside.link("eth0") is None
    assert all(route.destination is not None for route in inside.routes())
    assert net.host.delete_link("naru-t1") is False


def test_a_name_that_is_taken(net) -> None:
    _connect(net)
    fd = net.open(net.pin)
    try:
        with pytest.raises(OSError) as caught:
            net.host.create_veth("naru-t1", None, fd, "eth1")
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(FileExistsError):
            net.create(net.pin)
    finally:
        net.close(fd)
    assert net.inside().link("eth1") is None


def test_a_bridge_that_is_not_there(net) -> None:
    net.create(net.pin)
    fd = net.open(net.pin)
    try:
        with pytest.raises(OSError):
            net.host.create_veth("naru-t1", 54321, fd, "eth0")
    finally:
        net.close(fd)
    assert net.host.link("naru-t1") is None


def test_many_links_go_at_once(net) -> None:
    _connect(net)
    index = net.host.link_index("naru-t0")
    fd = net.open(net.pin)
    for number in range(2, 6):
        net.host.create_veth(f"naru-t{number}", index, fd, f"eth{number}")
    net.close(fd)
    net.host.delete_links([], 4711)
    net.host.delete_links(["naru-t1", "naru-t2", "naru-t3", "naru-t9"], 4711)
    left = {link.name for link in net.host.links() if link.kind == "veth"}
    assert left == {"naru-t4", "naru-t5"}
    assert {link.name for link in net.inside().links()} == {"lo", "eth4", "eth5"}


def test_a_link_is_put_on_another_bridge(net) -> None:
    _connect(net)
    other = net.host.ensure_bridge("naru-t8", [])
    net.host.set_master("naru-t1", other)
    assert net.host.link("naru-t1").master == other
    assert net.host.settle("naru-t1", "naru-t9")
    with pytest.raises(OSError):
        net.host.set_master("naru-t1", 54321)
    with pytest.raises(OSError):
        net.host.set_master("naru-t9", other)


def test_a_local_prefix_is_no_route_of_the_main_table(net) -> None:
    with pytest.raises(OSError) as caught:
        net.host.ensure_local_prefix("fd00:77::/64")
    assert caught.value.errno == errno.ENETDOWN
    net.host.configure(None, None, loopback=True)
    net.host.ensure_local_prefix("fd00:77::/64")
    net.host.ensure_local_prefix("fd00:77::/64")
    routes = net.host.routes(socket.AF_INET6)
    assert all(route.destination != "fd00:77::/64" for route in routes)


def test_renaming_and_port_flags(net) -> None:
    _connect(net)
    net.host.set_bridge_port("naru-t1", hairpin=True)
    fd = net.open(net.pin)
    net.host.configure(fd, ConfigureLink("eth0", up=False))
    net.host.configure(fd, ConfigureLink("eth0", rename="lan0", mtu=1300))
    net.close(fd)
    link = net.inside().link("lan0")
    assert (link.up, link.mtu) == (True, 1300)
    with pytest.raises(OSError):
        net.host.set_bridge_port("naru-t9", hairpin=True)


# --- firewall ------------------------------------------------------------------------------------


@pytest.fixture(params=BOTH)
def nft(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nft | FakeNft]:
    if request.param == "fake":
        yield FakeNft()
        return
    pin = str(tmp_path / "firewall")
    netns.create_netns(pin)
    try:
        made = netns.run_in_netns(pin, Nft)
        yield made
        made.close()
    finally:
        netns.remove_netns(pin)


TABLE = """table inet naru-t {
  map published { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set open { type inet_service; elements = { 80, 81 } }
}
"""


def _names(nft: Nft | FakeNft) -> set[str]:
    return {
        item["table"]["name"] for item in nft.json("list tables")["nftables"] if "table" in item
    }


def _elements(nft: Nft | FakeNft, name: str = "published") -> int:
    for item in nft.json("list table inet naru-t")["nftables"]:
        if item.get("map", {}).get("name") == name:
            return len(item["map"].get("elem", ()))
    raise AssertionError(f"no map {name}")


def test_a_table_comes_and_goes(nft) -> None:
    nft.run(TABLE)
    nft.run(TABLE)
    assert _names(nft) == {"naru-t"}
    nft.run("delete table inet naru-t")
    assert _names(nft) == set()
    with pytest.raises(Internal, match="No such file or directory"):
        nft.run("delete table inet naru-t")


def test_elements_are_added_and_deleted(nft) -> None:
    nft.run(TABLE)
    one = "{ tcp . 80 : 172.30.9.2 . 80 }"
    nft.run(f"add element inet naru-t published {one}")
    nft.run(f"add element inet naru-t published {one}")
    assert _elements(nft) == 1
    with pytest.raises(Internal, match="File exists"):
        nft.run("add element inet naru-t published { tcp . 80 : 172.30.9.3 . 80 }")
    nft.run("delete element inet naru-t published { tcp . 80 }")
    assert _elements(nft) == 0
    with pytest.raises(Internal, match="No such file or directory"):
        nft.run("delete element inet naru-t published { tcp . 80 }")


def test_a_transaction_is_whole(nft) -> None:
    nft.run(TABLE)
    with pytest.raises(Internal):
        nft.run(
            "add element inet naru-t published { tcp . 81 : 172.30.9.2 . 81 }\n"
            "add element inet naru-t missing { 1 }\n"
        )
    assert _elements(nft) == 0


def test_nonsense_is_refused_in_words(nft) -> None:
    with pytest.raises(Internal, match=r"nftables: Error: syntax error"):
        nft.run("frobnicate the table")


def test_a_closed_context_is_refused(nft) -> None:
    nft.close()
    nft.close()
    with pytest.raises(Internal, match="closed"):
        nft.run(TABLE)


# --- mounts --------------------------------------------------------------------------------------


@pytest.fixture(params=BOTH)
def mounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimpleNamespace]:
    base = str(tmp_path / "m")
    for name in ("a", "b", "c", "upper", "work", "target/below"):
        os.makedirs(f"{base}/{name}")
    if request.param == "fake":
        yield SimpleNamespace(base=base, do=FakeMounts())
        return
    mount.bind(base, base, recursive=False, propagation="private")
    try:
        yield SimpleNamespace(base=base, do=mount)
    finally:
        for target in mount.mounts_below(base):
            mount.unmount(target)
        mount.unmount(base)


def test_unmounting_what_is_not_mounted(mounts) -> None:
    mounts.do.unmount(f"{mounts.base}/a")
    mounts.do.unmount(f"{mounts.base}/missing")
    assert mounts.do.mounts_below(mounts.base) == []


def test_mounts_are_listed_deepest_first(mounts) -> None:
    do, base = mounts.do, mounts.base
    do.mount_tmpfs(f"{base}/target", "size=64k,mode=755")
    if do is mount:
        os.mkdir(f"{base}/target/below")
    do.bind(f"{base}/a", f"{base}/target/below", read_only=True)
    do.mount_overlay(f"{base}/b", [f"{base}/a", f"{base}/c"], f"{base}/upper", f"{base}/work")
    found = do.mounts_below(base)
    assert found[0] == f"{base}/target/below"
    assert set(found[1:]) == {f"{base}/target", f"{base}/b"}
    assert do.is_mount_point(f"{base}/b")
    for target in found:
        do.unmount(target)
    assert do.mounts_below(base) == []


def test_a_busy_mount_goes_lazily_only(mounts) -> None:
    do, base = mounts.do, mounts.base
    do.mount_tmpfs(f"{base}/target", "size=64k")
    if do is mount:
        os.mkdir(f"{base}/target/below")
    do.mount_tmpfs(f"{base}/target/below", "size=64k")
    with pytest.raises(OSError) as caught:
        do.unmount(f"{base}/target", lazy=False)
    assert caught.value.errno == errno.EBUSY
    do.unmount(f"{base}/target")
    assert do.mounts_below(base) == []


def test_stacked_mounts_go_one_by_one(mounts) -> None:
    do, target = mounts.do, f"{mounts.base}/a"
    do.mount_tmpfs(target, "size=64k")
    do.mount_tmpfs(target, "size=64k")
    assert do.mounts_below(mounts.base) == [target, target]
    do.unmount(target)
    assert do.mounts_below(mounts.base) == [target]
    do.unmount(target)
    assert not do.is_mount_point(target)


def test_sharing_is_idempotent(mounts) -> None:
    do, target = mounts.do, f"{mounts.base}/a"
    do.make_shared(target)
    do.make_shared(target)
    assert do.mounts_below(mounts.base) == [target]


# --- control groups ------------------------------------------------------------------------------


@pytest.fixture(params=BOTH)
def group(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """`made`: the group; `process()`: a process to put into it, killable."""
    path = f"/naru-t-{secrets.token_hex(4)}"
    if request.param == "fake":
        groups, numbers = FakeGroups(), iter(range(100, 200))
        yield SimpleNamespace(
            made=FakeCgroup(groups, f"{path}/c1"), process=lambda: next(numbers), reap=lambda: None
        )
        return
    spawner, children = Spawner(), []
    host = cgroup.detect()

    def process() -> int:
        children.append(spawner.spawn(["/bin/sleep", "100"], env={}))
        return children[-1].pid

    def reap() -> None:
        for child in children:
            assert child.wait_blocking(5) == -signal.SIGKILL

    try:
        made = cgroup.Cgroup(host, f"{path}/c1")
        yield SimpleNamespace(made=made, process=process, reap=reap)
    finally:
        for child in children:
            child.kill()
            child.wait_blocking(5)
        cgroup.Cgroup(host, path).remove()


def test_a_group_comes_and_goes(group) -> None:
    made = group.made
    assert not made.exists()
    assert made.pids() == []
    made.create()
    made.create()
    assert made.exists()
    made.remove()
    made.remove()
    assert not made.exists()


def test_processes_are_added_frozen_and_killed(group) -> None:
    made = group.made
    made.create()
    pids = sorted(group.process() for _ in range(3))
    for pid in pids:
        made.add(pid)
    assert made.pids() == pids
    assert made.read_stats().pids == 3
    assert not made.frozen
    made.freeze()
    assert made.frozen
    made.thaw()
    assert not made.frozen
    made.freeze()
    made.kill_all()
    group.reap()
    assert made.pids() == []
    made.remove()
    assert not made.exists()


def test_limits_are_read_back(group) -> None:
    made = group.made
    made.create()
    made.update(cgroup.CgroupLimits(memory=64 << 20, pids=33))
    stats = made.read_stats()
    assert (stats.memory.limit_bytes, stats.pids_limit) == (64 << 20, 33)
    made.update(cgroup.CgroupLimits(memory=-1, pids=0))
    stats = made.read_stats()
    assert (stats.memory.limit_bytes, stats.pids_limit) == (None, None)
    assert made.oom_kills() == 0
    made.remove()


def test_what_needs_a_group_says_so(group) -> None:
    made = group.made
    for call in (
        made.freeze,
        lambda: made.add(os.getpid()),
        lambda: made.update(cgroup.CgroupLimits(pids=1)),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    made.thaw()
    made.kill_all()
    made.remove()


# --- spawning ------------------------------------------------------------------------------------


@pytest.fixture(params=["fake", "real"])
def spawner(request: pytest.FixtureRequest) -> Iterator[Spawner | FakeSpawner]:
    made: Spawner | FakeSpawner = Spawner()
    if request.param == "fake":
        made = FakeSpawner()
        made.endings = {"/bin/true": 0, "/bin/false": 1}
        made.missing = {"/nonexistent"}
    yield made
    made.close()


def test_children_end_with_their_status(spawner) -> None:
    async def run() -> list[int]:
        children = [spawner.spawn([name], env={}) for name in ("/bin/true", "/bin/false")]
        return [await child.wait() for child in children]

    assert asyncio.run(run()) == [0, 1]


def test_a_running_child_is_killed(spawner) -> None:
    async def run() -> int:
        child = spawner.spawn(["/bin/sleep", "100"], env={})
        assert child.poll() is None
        with pytest.raises(TimeoutError):
            child.wait_blocking(0.01)
        child.kill()
        status = await child.wait()
        child.kill()
        assert child.poll() == child.wait_blocking() == await child.wait()
        return status

    assert asyncio.run(run()) == -signal.SIGKILL


def test_a_missing_program_is_named(spawner) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        spawner.spawn(["/nonexistent"], env={})
    assert caught.value.filename == "/nonexistent"
