"""Control groups of version 2: one hierarchy, one directory.

Spec: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

import contextlib
import os

from naru.kernel.cgroups import tree
from naru.kernel.cgroups.model import (
    BlkioEntry,
    BlkioStats,
    CgroupHost,
    CgroupLimits,
    CgroupStats,
    CpuStats,
    DeviceLimit,
    MemoryStats,
    weight_of_blkio,
    weight_of_shares,
)

_DEFAULT_PERIOD_US = 100_000


class V2:
    """The files of one group."""

    def __init__(self, host: CgroupHost, path: str) -> None:
        self._host, self._path = host, "/" + path.strip("/")
        self._directory = host.unified + self._path

    @property
    def directories(self) -> list[str]:
        return [self._directory]

    def _file(self, name: str) -> str:
        return f"{self._directory}/{name}"

    def exists(self) -> bool:
        return os.path.isdir(self._directory)

    def create(self) -> None:
        above = self._host.unified
        for directory in tree.ancestors(self._host.unified, self._path):
            _enable_controllers(above)
            tree.make(directory)
            above = directory

    def add(self, pid: int) -> None:
        tree.write(self._file("cgroup.procs"), str(pid))

    def processes(self) -> set[int]:
        return tree.processes(self._directory)

    @property
    def can_freeze(self) -> bool:
        return os.path.exists(self._file("cgroup.freeze"))

    def ask_freeze(self, on: bool) -> None:
        tree.write(self._file("cgroup.freeze"), "1" if on else "0")

    def frozen(self) -> bool:
        return tree.table(self._file("cgroup.events")).get("frozen") == 1

    def kill_at_once(self) -> bool:
        """Kills the whole group in one step (Linux 5.14); False where that is not offered."""
        try:
            tree.write(self._file("cgroup.kill"), "1")
        except OSError:
            return False
        return True

    def oom_kills(self) -> int:
        return tree.table(self._file("memory.events")).get("oom_kill", 0)

    def stats(self) -> CgroupStats:
        cpu = tree.table(self._file("cpu.stat"))
        return CgroupStats(
            cpu=CpuStats(
                total_ns=cpu.get("usage_usec", 0) * 1000,
                user_ns=cpu.get("user_usec", 0) * 1000,
                system_ns=cpu.get("system_usec", 0) * 1000,
                periods=cpu.get("nr_periods", 0),
                throttled_periods=cpu.get("nr_throttled", 0),
                throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            ),
            memory=self._memory(),
            blkio=_blkio(tree.read(self._file("io.stat")) or ""),
            pids=tree.number(self._file("pids.current")) or 0,
            pids_limit=tree.number(self._file("pids.max")),
        )

    def _memory(self) -> MemoryStats:
        events = tree.table(self._file("memory.events"))
        return MemoryStats(
            usage_bytes=tree.number(self._file("memory.current")) or 0,
            max_usage_bytes=tree.number(self._file("memory.peak")) or 0,
            limit_bytes=tree.number(self._file("memory.max")),
            failcnt=events.get("oom", 0),
            stat=tree.table(self._file("memory.stat")),
            oom_kills=events.get("oom_kill", 0),
        )

    def update(self, limits: CgroupLimits) -> None:
        self._update_memory(limits)
        self._update_cpu(limits)
        if limits.pids is not None:
            tree.write(self._file("pids.max"), _or_max(limits.pids if limits.pids else -1))
        self._update_io(limits)

    def _update_memory(self, limits: CgroupLimits) -> None:
        if limits.memory_swap is not None:
            memory = limits.memory
            if memory is None:
                memory = tree.number(self._file("memory.max"))
            # Version 2 limits swap alone; Docker's figure is memory and swap together.
            unlimited = limits.memory_swap < 0 or memory is None or memory < 0
            swap = -1 if unlimited else max(0, limits.memory_swap - (memory or 0))
            tree.write(self._file("memory.swap.max"), _or_max(swap))
        if limits.memory is not None:
            tree.write(self._file("memory.max"), _or_max(limits.memory))
        if limits.memory_reservation is not None:
            low = max(0, limits.memory_reservation)
            tree.write(self._file("memory.low"), str(low))

    def _update_cpu(self, limits: CgroupLimits) -> None:
        if limits.cpu_shares:
            tree.write(self._file("cpu.weight"), str(weight_of_shares(limits.cpu_shares)))
        if limits.cpu_quota is not None or limits.cpu_period is not None:
            words = (tree.read(self._file("cpu.max")) or "max").split()
            quota = words[0] if limits.cpu_quota is None else _or_max(limits.cpu_quota or -1)
            period = limits.cpu_period or int(words[1] if len(words) > 1 else _DEFAULT_PERIOD_US)
            tree.write(self._file("cpu.max"), f"{quota} {period}")
        for name, text in (
            ("cpuset.cpus", limits.cpuset_cpus),
            ("cpuset.mems", limits.cpuset_mems),
        ):
            if text is not None:
                tree.write(self._file(name), text)

    def _update_io(self, limits: CgroupLimits) -> None:
        bfq = os.path.exists(self._file("io.bfq.weight"))
        if limits.blkio_weight is not None and limits.blkio_weight > 0:
            weight = limits.blkio_weight if bfq else weight_of_blkio(limits.blkio_weight)
            name = "io.bfq.weight" if bfq else "io.weight"
            tree.write(self._file(name), str(weight) if bfq else f"default {weight}")
        for device in limits.blkio_weight_device:
            weight = device.rate if bfq else weight_of_blkio(device.rate)
            name = "io.bfq.weight" if bfq else "io.weight"
            tree.write(self._file(name), f"{device.major}:{device.minor} {weight}")
        wanted: tuple[tuple[str, tuple[DeviceLimit, ...]], ...] = (
            ("rbps", limits.blkio_read_bps),
            ("wbps", limits.blkio_write_bps),
            ("riops", limits.blkio_read_iops),
            ("wiops", limits.blkio_write_iops),
        )
        for key, devices in wanted:
            for device in devices:
                rate = _or_max(device.rate or -1)
                tree.write(self._file("io.max"), f"{device.major}:{device.minor} {key}={rate}")

    def oom_source(self) -> str:
        return self._file("memory.events")


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _enable_controllers(directory: str) -> None:
    """Hands every controller that `directory` has on to its children; one at a time, because one
    that is refused would take the others with it."""
    offered = (tree.read(f"{directory}/cgroup.controllers") or "").split()
    enabled = (tree.read(f"{directory}/cgroup.subtree_control") or "").split()
    for controller in offered:
        if controller not in enabled:
            with contextlib.suppress(OSError):
                tree.write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _blkio(text: str) -> BlkioStats:
    service, serviced = [], []
    for line in text.splitlines():
        device, *pairs = line.split()
        if ":" not in device:
            continue
        major, minor = (int(word) for word in device.split(":"))
        values = dict(pair.partition("=")[::2] for pair in pairs)
        for op, bytes_key, count_key in (("Read", "rbytes", "rios"), ("Write", "wbytes", "wios")):
            service.append(BlkioEntry(major, minor, op, int(values.get(bytes_key, 0))))
            serviced.append(BlkioEntry(major, minor, op, int(values.get(count_key, 0))))
    return BlkioStats(tuple(service), tuple(serviced))
