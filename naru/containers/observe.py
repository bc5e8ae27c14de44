"""What is read of running containers: processes and statistics.

Spec: Engine API 1.51, ContainerTop and ContainerStats.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from naru.base.clock import ZERO_TIME, now_ns, rfc3339
from naru.base.errors import Conflict
from naru.containers import top
from naru.containers.deps import Deps
from naru.containers.model import Container
from naru.kernel.cgroup import BlkioEntry, CgroupStats
from naru.kernel.threads import offload
from naru.network.model import InterfaceStats

_TICKS = os.sysconf("SC_CLK_TCK")
_V1_UNLIMITED = 1 << 60


class Observe:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def top(self, ref: str, ps_args: str = "") -> tuple[list[str], list[list[str]]]:
        """Titles and rows of `ps`. Raises: NotFound, Conflict when it does not run."""
        return await top.top(self._deps, ref, ps_args)

    async def stats(self, ref: str, *, one_shot: bool = False) -> dict[str, Any]:
        """One sample; unless `one_shot`, taken after a first one, so that rates can be told."""
        container = self._deps.store.find(ref)
        if container.state.status not in ("running", "paused"):
            return empty(container)
        previous = None if one_shot else await self._sample(container)
        if previous is not None:
            await asyncio.sleep(1.0)
        sample = await self._sample(container)
        return empty(container) if sample is None else encode(container, previous, sample)

    async def stream(self, ref: str) -> AsyncIterator[dict[str, Any]]:
        """A sample a second for as long as the container exists. Raises: NotFound."""
        container = self._deps.store.find(ref)
        previous: _Sample | None = None
        while (now := self._deps.store.get(container.id)) is not None:
            alive = now.state.status in ("running", "paused")
            sample = await self._sample(now) if alive else None
            yield empty(now) if sample is None else encode(now, previous, sample)
            previous = sample
            await asyncio.sleep(1.0)

    async def _sample(self, container: Container) -> "_Sample | None":
        """None when it has just ended."""
        try:
            group = self._deps.runtime.cgroup(container.id)
        except Conflict:
            return None
        stats, system_ns = await offload(lambda: (group.read_stats(), _system_cpu_ns()))
        interfaces = await self._deps.network.counters.of(container.id)
        return _Sample(now_ns(), stats, system_ns, interfaces)


class _Sample:
    __slots__ = ("interfaces", "read_ns", "stats", "system_ns")

    def __init__(
        self,
        read_ns: int,
        stats: CgroupStats,
        system_ns: int,
        interfaces: dict[str, InterfaceStats],
    ) -> None:
        self.read_ns, self.stats = read_ns, stats
        self.system_ns, self.interfaces = system_ns, interfaces


def _system_cpu_ns() -> int:
    """CPU time of the whole host since boot, all states, nanoseconds."""
    with open("/proc/stat", encoding="ascii") as source:
        fields = source.readline().split()[1:8]
    return sum(map(int, fields)) * (1_000_000_000 // _TICKS)


def empty(container: Container) -> dict[str, Any]:
    """What Docker tells of a container that does not run."""
    nothing = _cpu(CgroupStats(), 0, known=False)
    return {
        "name": f"/{container.name}",
        "id": container.id,
        "read": ZERO_TIME,
        "preread": ZERO_TIME,
        "pids_stats": {},
        "blkio_stats": _blkio(CgroupStats(), known=False),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": nothing,
        "precpu_stats": nothing,
        "memory_stats": {},
    }


def encode(container: Container, before: _Sample | None, now: _Sample) -> dict[str, Any]:
    """One sample as the Engine API writes it."""
    stats = now.stats
    body: dict[str, Any] = {
        "name": f"/{container.name}",
        "id": container.id,
        "read": rfc3339(now.read_ns),
        "preread": rfc3339(before.read_ns) if before else ZERO_TIME,
        "pids_stats": {"current": stats.pids, "limit": stats.pids_limit or (1 << 64) - 1},
        "blkio_stats": _blkio(stats, known=True),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(stats, now.system_ns, known=True),
        "precpu_stats": _cpu(before.stats, before.system_ns, known=True)
        if before
        else _cpu(CgroupStats(), 0, known=False),
        "memory_stats": _memory(stats),
    }
    if now.interfaces:
        body["networks"] = {
            name: {field: getattr(item, field) for field in InterfaceStats.__slots__}
            for name, item in now.interfaces.items()
        }
    return body


def _cpu(stats: CgroupStats, system_ns: int, *, known: bool) -> dict[str, Any]:
    cpu = stats.cpu
    usage: dict[str, Any] = {"total_usage": cpu.total_ns}
    if known and cpu.percpu_ns:
        usage["percpu_usage"] = list(cpu.percpu_ns)
    usage["usage_in_kernelmode"] = cpu.system_ns
    usage["usage_in_usermode"] = cpu.user_ns
    body: dict[str, Any] = {"cpu_usage": usage}
    if known:
        body["system_cpu_usage"] = system_ns
        body["online_cpus"] = os.cpu_count() or 1
    body["throttling_data"] = {
        "periods": cpu.periods,
        "throttled_periods": cpu.throttled_periods,
        "throttled_time": cpu.throttled_ns,
    }
    return body


def _memory(stats: CgroupStats) -> dict[str, Any]:
    memory = stats.memory
    limit = memory.limit_bytes
    if limit is None or limit >= _V1_UNLIMITED:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    body: dict[str, Any] = {"usage": memory.usage_bytes, "stats": memory.stat, "limit": limit}
    if memory.max_usage_bytes:
        body["max_usage"] = memory.max_usage_bytes
    if memory.failcnt:
        body["failcnt"] = memory.failcnt
    return body


def _blkio(stats: CgroupStats, *, known: bool) -> dict[str, Any]:
    def rows(entries: tuple[BlkioEntry, ...]) -> list[dict[str, Any]] | None:
        if not known:
            return None
        return [
            {"major": item.major, "minor": item.minor, "op": item.op.lower(), "value": item.value}
            for item in entries
        ]

    nothing: list[Any] | None = [] if known else None
    return {
        "io_service_bytes_recursive": rows(stats.blkio.service_bytes),
        "io_serviced_recursive": rows(stats.blkio.serviced),
        "io_queue_recursive": nothing,
        "io_service_time_recursive": nothing,
        "io_wait_time_recursive": nothing,
        "io_merged_recursive": nothing,
        "io_time_recursive": nothing,
        "sectors_recursive": nothing,
    }
