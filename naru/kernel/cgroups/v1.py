"""Control groups of version 1: one hierarchy per controller, one directory in each.

Spec: Documentation/admin-guide/cgroup-v1 of the kernel.
"""

import contextlib
import os

from naru.kernel.cgroups import tree
from naru.kernel.cgroups.model import (
    UNLIMITED_V1,
    BlkioEntry,
    BlkioStats,
    CgroupHost,
    CgroupLimits,
    CgroupStats,
    CpuStats,
    DeviceLimit,
    MemoryStats,
)

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_WALK_FIRST = ("pids", "devices", "freezer", "memory", "cpu")


class V1:
    """The files of one group in every hierarchy."""

    def __init__(self, host: CgroupHost, path: str) -> None:
        self._host, self._path = host, "/" + path.strip("/")
        self._directories = {name: mount + self._path for name, mount in host.mounts.items()}

    @property
    def directories(self) -> list[str]:
        extra = [self._host.unified + self._path] if self._host.unified else []
        return sorted(set(self._directories.values())) + extra

    def _file(self, controller: str, name: str) -> str:
        directory = self._directories.get(controller, f"/sys/fs/cgroup/{controller}{self._path}")
        return f"{directory}/{name}"

    def exists(self) -> bool:
        return any(os.path.isdir(directory) for directory in self._directories.values())

    def create(self) -> None:
        for mount in sorted(set(self._host.mounts.values())):
            is_cpuset = mount == self._host.mounts.get("cpuset")
            for directory in tree.ancestors(mount, self._path):
                tree.make(directory)
                if is_cpuset:
                    _inherit_cpuset(directory)

    def add(self, pid: int) -> None:
        for directory in sorted(set(self._directories.values())):
            tree.write(f"{directory}/cgroup.procs", str(pid))

    def processes(self) -> set[int]:
        for name in _WALK_FIRST:
            directory = self._directories.get(name)
            if directory is not None and os.path.isdir(directory):
                return tree.processes(directory)
        return set()

    @property
    def can_freeze(self) -> bool:
        return os.path.exists(self._file("freezer", "freezer.state"))

    def ask_freeze(self, on: bool) -> None:
        tree.write(self._file("freezer", "freezer.state"), "FROZEN" if on else "THAWED")

    def frozen(self) -> bool:
        return (tree.read(self._file("freezer", "freezer.state")) or "").strip() == "FROZEN"

    def kill_at_once(self) -> bool:
        return False

    def oom_kills(self) -> int:
        return tree.table(self._file("memory", "memory.oom_control")).get("oom_kill", 0)

    def stats(self) -> CgroupStats:
        return CgroupStats(
            cpu=self._cpu(),
            memory=self._memory(),
            blkio=BlkioStats(self._blkio("io_service_bytes"), self._blkio("io_serviced")),
            pids=tree.number(self._file("pids", "pids.current")) or 0,
            pids_limit=tree.number(self._file("pids", "pids.max")),
        )

    def _cpu(self) -> CpuStats:
        percpu = (tree.read(self._file("cpuacct", "cpuacct.usage_percpu")) or "").split()
        throttling = tree.table(self._file("cpu", "cpu.stat"))
        ticks = tree.table(self._file("cpuacct", "cpuacct.stat"))
        user = tree.number(self._file("cpuacct", "cpuacct.usage_user"))
        system = tree.number(self._file("cpuacct", "cpuacct.usage_sys"))
        return CpuStats(
            total_ns=tree.number(self._file("cpuacct", "cpuacct.usage")) or 0,
            user_ns=ticks.get("user", 0) * _TICK_NS if user is None else user,
            system_ns=ticks.get("system", 0) * _TICK_NS if system is None else system,
            percpu_ns=tuple(int(word) for word in percpu),
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_ns=throttling.get("throttled_time", 0),
        )

    def _memory(self) -> MemoryStats:
        limit = tree.number(self._file("memory", "memory.limit_in_bytes"))
        return MemoryStats(
            usage_bytes=tree.number(self._file("memory", "memory.usage_in_bytes")) or 0,
            max_usage_bytes=tree.number(self._file("memory", "memory.max_usage_in_bytes")) or 0,
            limit_bytes=None if limit is None or limit >= UNLIMITED_V1 else limit,
            failcnt=tree.number(self._file("memory", "memory.failcnt")) or 0,
            stat=tree.table(self._file("memory", "memory.stat")),
            oom_kills=self.oom_kills(),
        )

    def _blkio(self, what: str) -> tuple[BlkioEntry, ...]:
        """The proportional scheduler's figures when it counts, else the throttler's."""
        for source in ("bfq", "throttle"):
            text = tree.read(self._file("blkio", f"blkio.{source}.{what}_recursive"))
            if entries := _blkio_entries(text or ""):
                return entries
        return ()

    def update(self, limits: CgroupLimits) -> None:
        self._update_memory(limits)
        self._update_cpu(limits)
        for name, text in (
            ("cpuset.cpus", limits.cpuset_cpus),
            ("cpuset.mems", limits.cpuset_mems),
        ):
            if text is not None:
                tree.write(self._file("cpuset", name), text)
        if limits.pids is not None:
            value = str(limits.pids) if limits.pids > 0 else "max"
            tree.write(self._file("pids", "pids.max"), value)
        self._update_blkio(limits)

    def _update_memory(self, limits: CgroupLimits) -> None:
        """The limit may never exceed that of memory and swap, so whichever grows goes first."""
        memory = self._file("memory", "memory.limit_in_bytes")
        both = self._file("memory", "memory.memsw.limit_in_bytes")
        steps = [(memory, limits.memory), (both, limits.memory_swap)]
        if limits.memory is not None and limits.memory_swap is not None:
            ceiling = tree.number(both)
            if ceiling is not None and (limits.memory < 0 or limits.memory > ceiling):
                steps.reverse()
        steps.append(
            (self._file("memory", "memory.soft_limit_in_bytes"), limits.memory_reservation)
        )
        steps.append((self._file("memory", "memory.swappiness"), limits.memory_swappiness))
        if limits.oom_kill_disable is not None:
            steps.append((self._file("memory", "memory.oom_control"), int(limits.oom_kill_disable)))
        self._write_each(steps)

    def _update_cpu(self, limits: CgroupLimits) -> None:
        period = (self._file("cpu", "cpu.cfs_period_us"), limits.cpu_period)
        quota = (self._file("cpu", "cpu.cfs_quota_us"), limits.cpu_quota)
        steps = [(self._file("cpu", "cpu.shares"), limits.cpu_shares)]
        if limits.cpu_quota is not None and limits.cpu_period is not None:
            steps.append((quota[0], -1))
        steps += [
            period,
            quota,
            (self._file("cpu", "cpu.rt_period_us"), limits.cpu_realtime_period),
            (self._file("cpu", "cpu.rt_runtime_us"), limits.cpu_realtime_runtime),
        ]
        self._write_each(steps)

    def _write_each(self, steps: list[tuple[str, int | None]]) -> None:
        for path, value in steps:
            if value is not None:
                tree.write(path, str(value))

    def _update_blkio(self, limits: CgroupLimits) -> None:
        prefix = "blkio.bfq." if self._has_bfq() else "blkio."
        if limits.blkio_weight is not None and limits.blkio_weight > 0:
            tree.write(self._file("blkio", f"{prefix}weight"), str(limits.blkio_weight))
        throttle = "blkio.throttle."
        wanted: tuple[tuple[str, tuple[DeviceLimit, ...]], ...] = (
            (f"{prefix}weight_device", limits.blkio_weight_device),
            (f"{throttle}read_bps_device", limits.blkio_read_bps),
            (f"{throttle}write_bps_device", limits.blkio_write_bps),
            (f"{throttle}read_iops_device", limits.blkio_read_iops),
            (f"{throttle}write_iops_device", limits.blkio_write_iops),
        )
        for name, devices in wanted:
            for device in devices:
                value = f"{device.major}:{device.minor} {device.rate}"
                tree.write(self._file("blkio", name), value)

    def _has_bfq(self) -> bool:
        plain = self._file("blkio", "blkio.weight")
        return not os.path.exists(plain) and os.path.exists(self._file("blkio", "blkio.bfq.weight"))

    def oom_source(self) -> str:
        return self._file("memory", "memory.oom_control")


def _inherit_cpuset(directory: str) -> None:
    """A new cpuset is empty, and an empty one takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (tree.read(f"{directory}/{name}") or "").strip():
            parent = tree.read(f"{os.path.dirname(directory)}/{name}") or ""
            with contextlib.suppress(FileNotFoundError):
                tree.write(f"{directory}/{name}", parent.strip())


def _blkio_entries(text: str) -> tuple[BlkioEntry, ...]:
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and ":" in fields[0]:
            major, _, minor = fields[0].partition(":")
            found.append(BlkioEntry(int(major), int(minor), fields[1], int(fields[2])))
    return tuple(found)
