"""Limits and statistics of a control group as values, the same for both cgroup versions. Pure."""

from dataclasses import dataclass, field

# What version 1 shows as "no limit": the largest multiple of a page that fits.
UNLIMITED_V1 = 0x7FFFFFFFFFFFF000


@dataclass(frozen=True, slots=True)
class CgroupHost:
    """What this host mounts. `mounts`: controller → directory (version 1; named ones as
    `name=systemd`); `unified`: where version 2 is mounted, "" nowhere. `hybrid`: version 1 with a
    version 2 that has controllers as well."""

    version: int
    hybrid: bool
    controllers: frozenset[str]
    mounts: dict[str, str]
    unified: str
    driver: str = "cgroupfs"


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """`rate`: bytes or operations per second, or a weight; 0 is no limit."""

    major: int
    minor: int
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """What to change; None stays as it is. Bytes, microseconds; -1 is no limit.

    `memory_swap` is memory and swap together, as Docker means it. `pids` 0 is no limit too.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: tuple[DeviceLimit, ...] = ()
    blkio_read_bps: tuple[DeviceLimit, ...] = ()
    blkio_write_bps: tuple[DeviceLimit, ...] = ()
    blkio_read_iops: tuple[DeviceLimit, ...] = ()
    blkio_write_iops: tuple[DeviceLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class CpuStats:
    """Nanoseconds. `percpu_ns` is empty on version 2."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    percpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """`limit_bytes` None: unlimited. `stat` is memory.stat as it is. `oom_kills`: processes that
    the kernel killed here for want of memory."""

    usage_bytes: int = 0
    max_usage_bytes: int = 0
    limit_bytes: int | None = None
    failcnt: int = 0
    stat: dict[str, int] = field(default_factory=dict)
    oom_kills: int = 0


@dataclass(frozen=True, slots=True)
class BlkioEntry:
    """`op`: Read, Write, Sync, Async, Discard, Total."""

    major: int
    minor: int
    op: str
    value: int


@dataclass(frozen=True, slots=True)
class BlkioStats:
    service_bytes: tuple[BlkioEntry, ...] = ()
    serviced: tuple[BlkioEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CgroupStats:
    """A controller that is not there leaves its part at zero. `pids_limit` None: unlimited."""

    cpu: CpuStats = CpuStats()
    memory: MemoryStats = MemoryStats()
    blkio: BlkioStats = BlkioStats()
    pids: int = 0
    pids_limit: int | None = None


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1…10000) of cpu.shares (2…262144); 0 stays 0.

    Spec: the OCI runtime specification's conversion.
    """
    if shares <= 0:
        return 0
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def weight_of_blkio(weight: int) -> int:
    """io.weight (1…10000) of blkio.weight (10…1000)."""
    return 1 + (min(max(weight, 10), 1000) - 10) * 9999 // 990
