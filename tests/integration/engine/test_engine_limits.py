"""Limits of a container: what the kernel was told, what changes live, what stats read back."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import PATIENCE, ApiError, EngineLab, engine_lab, until
from engine_traffic import cgroup_file, docker, execute, follow, output

pytestmark = pytest.mark.root

MIB = 1 << 20
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(55) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def told(lab: EngineLab, container: str, controller: str, old: str, new: str) -> str:
    """A limit as the kernel has it: file `old` on version 1, `new` on version 2."""
    return cgroup_file(lab, container, controller, new if UNIFIED else old)


def assert_told(
    lab: EngineLab, container: str, wanted: dict[str, tuple[str, str, str, str]]
) -> None:
    """`wanted`: controller and v1 file, v1 value, v2 file, v2 value."""
    for what, (path, old_value, new, new_value) in wanted.items():
        controller, _, old = path.partition("/")
        value = told(lab, container, controller, old, new)
        assert value == (new_value if UNIFIED else old_value), what


def stats(lab: EngineLab, container: str) -> Any:
    return json.loads(lab.call("GET", f"/containers/{container}/stats?stream=0&one-shot=1"))


def test_limits_at_start(lab: EngineLab) -> None:
    container = lab.run(
        "sleep", "600",
        HostConfig={
            "Memory": 64 * MIB, "MemorySwap": 96 * MIB, "MemoryReservation": 32 * MIB,
            "CpuShares": 512, "CpuPeriod": 50000, "CpuQuota": 25000, "CpusetCpus": "0",
            "PidsLimit": 50,
        },
    )  # fmt: skip
    assert_told(lab, container, {
        "memory": ("memory/memory.limit_in_bytes", str(64 * MIB), "memory.max", str(64 * MIB)),
        "swap": ("memory/memory.memsw.limit_in_bytes", str(96 * MIB), "memory.swap.max",
                 str(32 * MIB)),
        "reservation": ("memory/memory.soft_limit_in_bytes", str(32 * MIB), "memory.low",
                        str(32 * MIB)),
        "shares": ("cpu/cpu.shares", "512", "cpu.weight", "20"),
        "quota": ("cpu/cpu.cfs_quota_us", "25000", "cpu.max", "25000 50000"),
        "cpuset": ("cpuset/cpuset.cpus", "0", "cpuset.cpus", "0"),
        "pids": ("pids/pids.max", "50", "pids.max", "50"),
    })  # fmt: skip
    read = stats(lab, container)
    assert read["memory_stats"]["limit"] == 64 * MIB
    assert read["memory_stats"]["usage"] > 0
    assert read["pids_stats"] == {"current": 1, "limit": 50}
    assert execute(lab, container, "nproc")[1] == b"1\n"
    cpus = docker(lab, "run", "-d", "--cpus", "0.5", "busybox", "sleep", "600").stdout.strip()
    assert told(lab, cpus, "cpu", "cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")


def test_update_changes_a_running_container(lab: EngineLab) -> None:
    container = lab.run("sleep", "600", HostConfig={"Memory": 32 * MIB, "PidsLimit": 20})
    url = f"/containers/{container}/update"
    change = {
        "Memory": 128 * MIB, "MemorySwap": 128 * MIB, "CpuShares": 256, "CpuQuota": 30000,
        "CpuPeriod": 60000, "CpusetCpus": "0", "PidsLimit": 33,
    }  # fmt: skip
    lab.json("POST", url, change)
    wanted = {
        "memory": ("memory/memory.limit_in_bytes", str(128 * MIB), "memory.max", str(128 * MIB)),
        "swap": ("memory/memory.memsw.limit_in_bytes", str(128 * MIB), "memory.swap.max", "0"),
        "quota": ("cpu/cpu.cfs_quota_us", "30000", "cpu.max", "30000 60000"),
        "cpuset": ("cpuset/cpuset.cpus", "0", "cpuset.cpus", "0"),
        "pids": ("pids/pids.max", "33", "pids.max", "33"),
    }
    assert_told(lab, container, wanted)
    host = lab.inspect(container)["HostConfig"]
    assert {name: host[name] for name in change} == change
    lab.json("POST", url, {"Memory": 16 * MIB, "MemorySwap": 24 * MIB})
    assert told(lab, container, "memory", "memory.limit_in_bytes", "memory.max") == str(16 * MIB)
    lab.json("POST", url, {"PidsLimit": -1})
    assert told(lab, container, "pids", "pids.max", "pids.max") == "max"
    with pytest.raises(ApiError, match="(?i)memory"):
        lab.json("POST", url, {"Memory": 1024})
    with pytest.raises(ApiError, match="(?i)cpu"):
        lab.json("POST", url, {"CpusetCpus": "4000"})
    with pytest.raises(ApiError, match="memoryswap"):
        lab.json("POST", url, {"Memory": 64 * MIB})
    lab.json("POST", url, {"Memory": 64 * MIB, "MemorySwap": 64 * MIB})
    lab.call("POST", f"/containers/{container}/restart?t=0")
    assert told(lab, container, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)


def test_limits_hold(lab: EngineLab) -> None:
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; echo forked"
    said = output(lab, "sh", "-c", forks, HostConfig={"PidsLimit": 6}, code=2)
    assert "can't fork" in said
    busy = lab.run("sh", "-c", "while :; do :; done", HostConfig={"NanoCpus": 100_000_000})
    until(
        lambda: stats(lab, busy)["cpu_stats"]["throttling_data"]["throttled_periods"] > 2,
        "it is throttled",
    )
    read = stats(lab, busy)["cpu_stats"]
    assert read["cpu_usage"]["total_usage"] > 0
    assert read["online_cpus"] >= 1


def written_bytes(lab: EngineLab, container: str) -> int:
    rows = stats(lab, container)["blkio_stats"]["io_service_bytes_recursive"] or ()
    return sum(row["value"] for row in rows if row["op"].lower() == "write")


def test_stats_count(lab: EngineLab) -> None:
    script = "dd if=/dev/zero of=/file bs=1M count=8 conv=fsync 2>/dev/null; sleep 600 & sleep 600"
    # The kernel counts what a disk does from the first limit on it since boot (Linux 6.10).
    disk = disk_of(lab.data_root)
    rate = [{"Path": disk, "Rate": 1 << 40}] if disk else []
    container = lab.run("sh", "-c", script, HostConfig={"BlkioDeviceWriteBps": rate})
    if disk:
        until(lambda: written_bytes(lab, container) >= 8 * MIB, "what it wrote is counted")
    until(lambda: stats(lab, container)["pids_stats"]["current"] == 2, "its processes are counted")
    with follow(lab, f"/containers/{container}/stats") as stream:
        until(lambda: len(stream.objects()) >= 2, "samples come each second")
        first, second = stream.objects()[:2]
    assert second["precpu_stats"]["cpu_usage"] == first["cpu_stats"]["cpu_usage"]
    assert second["cpu_stats"]["system_cpu_usage"] > first["cpu_stats"]["system_cpu_usage"]
    assert second["pids_stats"]["current"] >= 2
    assert second["networks"]["eth0"]["rx_bytes"] >= 0
    assert second["name"].startswith("/")
    gateway = lab.inspect(container)["NetworkSettings"]["Gateway"]
    sent = second["networks"]["eth0"]["tx_packets"]
    execute(lab, container, "ping", "-c", "3", "-i", "0.2", gateway)
    assert stats(lab, container)["networks"]["eth0"]["tx_packets"] >= sent + 3
    lab.call("POST", f"/containers/{container}/kill")
    assert stats(lab, container)["pids_stats"] == {}


def disk_of(path: Path) -> str:
    """The whole disk that holds `path`, "" when there is none (overlayfs, a network)."""
    number = os.stat(path).st_dev
    entry = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not entry.exists():
        return ""
    folder = entry.resolve()
    disk = folder.parent if (folder / "partition").exists() else folder
    device = f"/dev/{disk.name}"
    return device if os.path.exists(device) else ""


def block_device() -> str:
    for name in sorted(os.listdir("/sys/block")):
        path = f"/dev/{name}"
        with contextlib.suppress(OSError):
            if int(Path(f"/sys/block/{name}/size").read_text()) > 0 and os.path.exists(path):
                return path
    pytest.skip("no block device here")


def test_block_device_rates(lab: EngineLab) -> None:
    path = block_device()
    number = os.stat(path).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    rates = [{"Path": path, "Rate": 2 * MIB}]
    container = lab.run(
        "sleep", "600",
        HostConfig={
            "BlkioDeviceReadBps": rates, "BlkioDeviceWriteBps": rates,
            "BlkioDeviceReadIOps": [{"Path": path, "Rate": 500}],
        },
    )  # fmt: skip
    if UNIFIED:
        assert f"{device} rbps={2 * MIB} wbps={2 * MIB} riops=500" in cgroup_file(
            lab, container, "", "io.max"
        )
    else:
        for name, rate in (("read_bps", 2 * MIB), ("write_bps", 2 * MIB), ("read_iops", 500)):
            value = cgroup_file(lab, container, "blkio", f"blkio.throttle.{name}_device")
            assert value == f"{device} {rate}", name
    with pytest.raises(ApiError, match="/dev/no-such"):
        lab.run("true", HostConfig={"BlkioDeviceReadBps": [{"Path": "/dev/no-such", "Rate": 1}]})


def test_ulimits_and_sysctls(lab: EngineLab) -> None:
    host = {
        "Ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 1024},
                    {"Name": "core", "Soft": 0, "Hard": 0}],
        "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "99", "kernel.msgmax": "9000"},
        "ShmSize": 8 * MIB, "OomScoreAdj": 300,
    }  # fmt: skip
    container = lab.run("sleep", "600", HostConfig=host)
    script = (
        "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        " /proc/sys/kernel/msgmax /proc/1/oom_score_adj; df -k /dev/shm | tail -1 | tr -s ' ' |"
        " cut -d' ' -f2"
    )
    said = execute(lab, container, "sh", "-c", script)[1].split()
    assert said == [b"512", b"1024", b"0", b"99", b"9000", b"300", b"8192"]
    for name in ("kernel.hostname", "vm.swappiness", "net/../kernel/panic"):
        with pytest.raises(ApiError, match="(?i)sysctl"):
            lab.run("true", HostConfig={"Sysctls": {name: "1"}})
    with pytest.raises(ApiError, match="(?i)sysctl|host"):
        lab.run("true", HostConfig={"Sysctls": {"net.ipv4.ip_forward": "1"}, "NetworkMode": "host"})
    with pytest.raises(ApiError, match="(?i)rlimit"):
        lab.create("true", HostConfig={"Ulimits": [{"Name": "nonsense", "Soft": 1, "Hard": 1}]})


def test_impossible_limits_are_refused(lab: EngineLab) -> None:
    for host, words in (
        ({"Memory": 1024}, "(?i)minimum memory"),
        ({"Memory": 64 * MIB, "MemorySwap": 32 * MIB}, "(?i)swap"),
        ({"MemoryReservation": 64 * MIB, "Memory": 32 * MIB}, "(?i)reservation"),
        ({"NanoCpus": 4_000_000_000_000}, "(?i)cpus"),
        ({"NanoCpus": 1_000_000_000, "CpuQuota": 1000}, "(?i)conflicting"),
        ({"CpuPeriod": 10}, "(?i)period"),
        ({"CpuQuota": 10}, "(?i)quota"),
        ({"CpusetCpus": "4000"}, "(?i)cpu"),
        ({"CpusetCpus": "x"}, "(?i)cpu"),
        ({"ShmSize": -1}, "(?i)shm"),
        ({"OomScoreAdj": 2000}, "(?i)oom"),
    ):
        with pytest.raises(ApiError, match=words):
            lab.create("true", HostConfig=host)


def test_ready_quickly_enough_with_many_containers(lab: EngineLab) -> None:
    """A very generous bound: what is measured is `bench`'s business."""
    for _ in range(60):
        lab.create("true")
    lab.kill()
    begun = time.monotonic()
    lab.start()
    assert time.monotonic() - begun < 15 * PATIENCE
    assert len(lab.json("GET", "/containers/json?all=1")) == 60
