"""Control groups on the real kernel: out of memory, fork storms, freezing, both versions' files."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Iterator

import pytest

from naru.kernel import cgroup
from naru.kernel.cgroup import Cgroup, CgroupHost, CgroupLimits
from naru.kernel.spawn import Child, Spawner

pytestmark = pytest.mark.root

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Members:
    """Starts programs that wait, stopped, until they are in the group."""

    def __init__(self) -> None:
        self._spawner, self._children = Spawner(), list[Child]()

    def start(self, group: Cgroup, script: str) -> Child:
        reading, writing = os.pipe()
        child = self._spawner.spawn(
            ["/bin/sh", "-c", f"read go; {script}"], env=ENV, fds={0: reading}
        )
        self._children.append(child)
        group.add(child.pid)
        os.write(writing, b"go\n")
        os.close(reading)
        os.close(writing)
        return child

    def end(self) -> None:
        for child in self._children:
            child.kill()
            child.wait_blocking(10)


@pytest.fixture
def members() -> Iterator[Members]:
    made = Members()
    yield made
    made.end()


def _hosts() -> list[CgroupHost]:
    """This host, and of a hybrid one its version 2 too (kill and freeze need no controller)."""
    host = cgroup.detect()
    if not host.hybrid:
        return [host]
    return [host, CgroupHost(2, False, frozenset(), {}, host.unified)]


@pytest.fixture(params=[0, 1])
def group(request: pytest.FixtureRequest, members: Members) -> Iterator[Cgroup]:
    hosts = _hosts()
    if request.param >= len(hosts):
        pytest.skip("this host has one cgroup version only")
    parent = f"/naru-t-{secrets.token_hex(4)}"
    made = Cgroup(hosts[request.param], f"{parent}/c1")
    made.create()
    yield made
    whole = Cgroup(hosts[request.param], parent)
    whole.kill_all()
    members.end()
    whole.remove()


def test_a_fork_storm_is_killed(group: Cgroup, members: Members) -> None:
    storm = "while :; do (sleep 0.01; sleep 0.01) & (sleep 0.02) & sleep 0.005; done"
    child = members.start(group, storm)
    deadline = time.monotonic() + 20
    while len(group.pids()) < 8:
        assert time.monotonic() < deadline, "no storm"
    group.kill_all()
    assert child.wait_blocking(5) == -signal.SIGKILL
    group.remove()
    assert not group.exists()


def test_a_frozen_group_is_killed(group: Cgroup, members: Members) -> None:
    child = members.start(group, "exec sleep 100")
    group.freeze()
    group.kill_all()
    assert child.wait_blocking(5) == -signal.SIGKILL


def test_groups_below_are_seen_and_removed(group: Cgroup, members: Members) -> None:
    below = Cgroup(group_host(group), f"{group.path}/inner/deeper")
    below.create()
    child = members.start(below, "exec sleep 100")
    assert group.pids() == [child.pid]
    group.kill_all()
    child.wait_blocking(5)
    group.remove()
    assert not below.exists()


def group_host(group: Cgroup) -> CgroupHost:
    return group._files._host


def test_a_group_with_a_process_is_not_removed(group: Cgroup, members: Members) -> None:
    child = members.start(group, "exec sleep 100")
    with pytest.raises(Exception, match=rf"processes \[{child.pid}\] stay"):
        group.remove()
    assert group.exists()


@pytest.fixture
def limited(members: Members) -> Iterator[Cgroup]:
    host = cgroup.detect()
    parent = f"/naru-t-{secrets.token_hex(4)}"
    made = Cgroup(host, f"{parent}/c1")
    made.create()
    yield made
    Cgroup(host, parent).kill_all()
    members.end()
    Cgroup(host, parent).remove()


def test_running_out_of_memory_is_told(limited: Cgroup, members: Members) -> None:
    limited.update(CgroupLimits(memory=16 << 20))
    watch = limited.watch_oom()
    child = members.start(limited, "exec tail /dev/zero")

    async def until_killed() -> int:
        async with asyncio.timeout(20):
            while (kills := await watch.wait()) == 0:
                continue
            return kills

    try:
        assert asyncio.run(until_killed()) == 1
    finally:
        watch.close()
    assert child.wait_blocking(10) == -signal.SIGKILL
    assert limited.oom_kills() == 1
    assert limited.read_stats().memory.oom_kills == 1
    limited.remove()
    assert limited.oom_kills() == 0


def test_limits_grow_and_shrink(limited: Cgroup) -> None:
    both = limited.read_stats().memory.limit_bytes
    assert both is None
    for size in (64 << 20, 128 << 20, 32 << 20, -1, 64 << 20):
        limited.update(CgroupLimits(memory=size, memory_swap=size if size < 0 else size * 2))
        assert limited.read_stats().memory.limit_bytes == (None if size < 0 else size)
    for quota, period in ((50_000, 100_000), (5_000, 10_000), (200_000, 100_000), (-1, 100_000)):
        limited.update(CgroupLimits(cpu_quota=quota, cpu_period=period))


def test_processes_are_counted_and_bounded(limited: Cgroup, members: Members) -> None:
    limited.update(CgroupLimits(pids=1))
    child = members.start(limited, "sleep 100 & wait")
    assert child.wait_blocking(10) != 0
    assert limited.read_stats().pids_limit == 1


def test_work_is_counted(limited: Cgroup, members: Members) -> None:
    child = members.start(limited, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
    assert child.wait_blocking(20) == 0
    cpu = limited.read_stats().cpu
    assert cpu.total_ns > 1_000_000
    assert cpu.user_ns > 0


def test_a_fresh_group_takes_processes_and_cpus(limited: Cgroup, members: Members) -> None:
    """On version 1 a new cpuset is empty and would take no process."""
    limited.update(CgroupLimits(cpuset_cpus="0", cpuset_mems="0"))
    child = members.start(limited, "grep Cpus_allowed_list /proc/self/status | grep -q '\t0$'")
    assert child.wait_blocking(10) == 0


def test_bandwidth_of_a_device(limited: Cgroup) -> None:
    if "blkio" not in cgroup.detect().controllers and "io" not in cgroup.detect().controllers:
        pytest.skip("this host has no controller for block devices")
    device = os.stat("/").st_dev
    limit = cgroup.DeviceLimit(os.major(device), os.minor(device), 1 << 20)
    limited.update(CgroupLimits(blkio_read_bps=(limit,), blkio_write_iops=(limit,)))
    limited.update(CgroupLimits(blkio_read_bps=(cgroup.DeviceLimit(limit.major, limit.minor, 0),)))
