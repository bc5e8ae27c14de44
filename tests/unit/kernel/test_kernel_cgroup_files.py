"""Limits and statistics of both cgroup versions, on plain files instead of a kernel's."""

import asyncio
import os
from pathlib import Path

import pytest

from naru.kernel.cgroup import Cgroup, CgroupHost, CgroupLimits, DeviceLimit
from naru.kernel.cgroups.model import BlkioEntry, weight_of_blkio, weight_of_shares


def _v2(tmp_path: Path, **files: str) -> tuple[Cgroup, Path]:
    directory = tmp_path / "naru/c1"
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return Cgroup(CgroupHost(2, False, frozenset(), {}, str(tmp_path)), "/naru/c1"), directory


def _v1(tmp_path: Path, **files: str) -> tuple[Cgroup, Path]:
    """Every controller in one directory, as a host may well mount them."""
    directory = tmp_path / "naru/c1"
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    names = ("cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "freezer")
    mounts = dict.fromkeys(names, str(tmp_path))
    return Cgroup(CgroupHost(1, False, frozenset(names), mounts, ""), "/naru/c1"), directory


@pytest.mark.parametrize("path", ["", "/", "/a/../b"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="invalid cgroup path"):
        Cgroup(CgroupHost(2, False, frozenset(), {}, "/sys/fs/cgroup"), path)


def test_statistics_of_version_2(tmp_path: Path) -> None:
    group, _ = _v2(
        tmp_path,
        cpu__stat="usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\n"
        "throttled_usec 2\n",
        memory__current="4096\n",
        memory__peak="8192\n",
        memory__max="max\n",
        memory__events="low 0\nmax 5\noom 2\noom_kill 1\n",
        memory__stat="anon 1\nfile 2\n",
        io__stat="8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 \n",
        pids__current="3\n",
        pids__max="50\n",
    )
    stats = group.read_stats()
    assert (stats.cpu.total_ns, stats.cpu.user_ns, stats.cpu.system_ns) == (30000, 20000, 10000)
    cpu = stats.cpu
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled_ns) == (4, 3, 2000)
    memory = stats.memory
    assert (memory.usage_bytes, memory.max_usage_bytes, memory.limit_bytes) == (4096, 8192, None)
    assert (memory.failcnt, memory.oom_kills, memory.stat) == (2, 1, {"anon": 1, "file": 2})
    assert (stats.pids, stats.pids_limit) == (3, 50)
    assert stats.blkio.service_bytes[:2] == (
        BlkioEntry(8, 0, "Read", 10),
        BlkioEntry(8, 0, "Write", 20),
    )
    assert stats.blkio.serviced[:2] == (BlkioEntry(8, 0, "Read", 1), BlkioEntry(8, 0, "Write", 2))
    assert group.oom_kills() == 1


def test_statistics_of_version_1(tmp_path: Path) -> None:
    group, _ = _v1(
        tmp_path,
        cpuacct__usage="100\n",
        cpuacct__usage_percpu="60 40 \n",
        cpuacct__stat="user 1\nsystem 2\n",
        cpu__stat="nr_periods 1\nnr_throttled 2\nthrottled_time 3\n",
        memory__usage_in_bytes="4096\n",
        memory__max_usage_in_bytes="8192\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__failcnt="7\n",
        memory__stat="cache 1\ntotal_cache 2\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        pids__current="3\n",
        pids__max="max\n",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 5\n8:0 Total 5\nTotal 5\n",
    )
    stats = group.read_stats()
    assert (stats.cpu.total_ns, stats.cpu.percpu_ns) == (100, (60, 40))
    assert (stats.cpu.user_ns, stats.cpu.system_ns) == (10_000_000, 20_000_000)
    assert stats.cpu.throttled_ns == 3
    memory = stats.memory
    assert (memory.limit_bytes, memory.failcnt, memory.oom_kills) == (None, 7, 2)
    assert (stats.pids, stats.pids_limit) == (3, None)
    assert stats.blkio.service_bytes == (
        BlkioEntry(8, 0, "Read", 5),
        BlkioEntry(8, 0, "Total", 5),
    )


@pytest.mark.parametrize("version", [1, 2])
def test_statistics_of_a_group_that_is_gone(tmp_path: Path, version: int) -> None:
    mounts = {"memory": str(tmp_path)}
    group = Cgroup(CgroupHost(version, False, frozenset(), mounts, str(tmp_path)), "/gone")
    stats = group.read_stats()
    assert (stats.cpu.total_ns, stats.memory.usage_bytes, stats.pids) == (0, 0, 0)
    assert not group.exists()
    assert group.pids() == []
    group.kill_all()
    group.thaw()
    group.remove()


def test_limits_of_version_2(tmp_path: Path) -> None:
    names = ("memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpuset.cpus", "pids.max",
             "io.weight", "io.max")  # fmt: skip
    group, directory = _v2(tmp_path, cpu__max="max 100000", **dict.fromkeys(names, ""))
    group.update(
        CgroupLimits(
            memory=100,
            memory_swap=150,
            memory_reservation=50,
            cpu_shares=1024,
            cpu_quota=50_000,
            cpuset_cpus="0-1",
            pids=-1,
            blkio_weight=500,
            blkio_write_iops=(DeviceLimit(8, 0, 9),),
        )
    )
    read = {name: (directory / name).read_text() for name in (*names, "cpu.max")}
    assert read == {
        "memory.max": "100",
        "memory.swap.max": "50",
        "memory.low": "50",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0-1",
        "pids.max": "max",
        "io.weight": "default 4950",
        "io.max": "8:0 wiops=9",
    }


@pytest.mark.parametrize(("swap", "written"), [(-1, "max"), (100, "0"), (400, "300")])
def test_swap_of_version_2_is_the_difference(tmp_path: Path, swap: int, written: str) -> None:
    group, directory = _v2(tmp_path, memory__swap__max="", memory__max="100\n")
    group.update(CgroupLimits(memory_swap=swap))
    assert (directory / "memory.swap.max").read_text() == written
    assert (directory / "memory.max").read_text() == "100\n"


def test_limits_of_version_1(tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "cpu.shares", "pids.max",
             "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpuset.mems", "blkio.weight",
             "blkio.throttle.read_bps_device")  # fmt: skip
    group, directory = _v1(
        tmp_path, memory__memsw__limit_in_bytes="50\n", **dict.fromkeys(names, "")
    )
    group.update(
        CgroupLimits(
            memory=100,
            memory_swap=200,
            memory_reservation=70,
            cpu_shares=512,
            cpu_quota=5000,
            cpu_period=10000,
            cpuset_mems="0",
            pids=0,
            blkio_weight=300,
            blkio_read_bps=(DeviceLimit(8, 16, 1 << 20),),
        )
    )
    read = {name: (directory / name).read_text() for name in names}
    assert read == {
        "memory.limit_in_bytes": "100",
        "memory.soft_limit_in_bytes": "70",
        "cpu.shares": "512",
        "pids.max": "max",
        "cpu.cfs_quota_us": "5000",
        "cpu.cfs_period_us": "10000",
        "cpuset.mems": "0",
        "blkio.weight": "300",
        "blkio.throttle.read_bps_device": "8:16 1048576",
    }
    assert (directory / "memory.memsw.limit_in_bytes").read_text().startswith("200")


@pytest.mark.parametrize("make", [_v1, _v2])
def test_a_limit_that_the_kernel_lacks_is_named(make, tmp_path: Path) -> None:
    group, _ = make(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        group.update(CgroupLimits(memory_reservation=1))
    assert "memory." in str(caught.value.filename)


def test_conversion_of_weights() -> None:
    assert [weight_of_shares(n) for n in (0, 1, 2, 1024, 262144, 1 << 30)] == [
        0, 1, 1, 39, 10000, 10000,
    ]  # fmt: skip
    assert [weight_of_blkio(n) for n in (10, 500, 1000)] == [1, 4950, 10000]


def test_out_of_memory_on_version_2(tmp_path: Path) -> None:
    group, directory = _v2(tmp_path, memory__events="oom_kill 0\n")
    watch = group.watch_oom()

    async def told() -> int:
        async with asyncio.timeout(10):
            (directory / "memory.events").write_text("oom_kill 2\n")
            return await watch.wait()

    try:
        assert asyncio.run(told()) == 2
    finally:
        watch.close()
        watch.close()


def test_watching_a_group_that_is_gone(tmp_path: Path) -> None:
    group, _ = _v2(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        group.watch_oom()
    group, _ = _v1(tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        group.watch_oom()
    assert len(os.listdir("/proc/self/fd")) == before
