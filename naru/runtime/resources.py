"""A container's limits as `linux.resources` of the OCI runtime specification. Pure.

The runtime translates them for cgroup v1 and v2. Whether a limit makes sense on this host was
decided before, in `naru.runtime.validate`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from naru.runtime.devices import Device, cgroup_rules
from naru.runtime.facts import HostFacts
from naru.spec.engine.container_config import HostConfig, Resources

NANO_PERIOD_US = 100_000
_WEIGHTS = ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight")


def linux_resources(
    limits: HostConfig,
    devices: Sequence[Device],
    host: HostFacts,
    block_numbers: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    """`linux.resources` with only what was asked for, and always the device rules."""
    result: dict[str, Any] = {
        "devices": cgroup_rules(devices, limits.device_cgroup_rules, privileged=limits.privileged)
    }
    for name, section in (
        ("memory", memory(limits, host)),
        ("cpu", cpu(limits)),
        ("blockIO", block_io(limits, block_numbers, host)),
    ):
        if section:
            result[name] = section
    if limits.pids_limit:
        result["pids"] = {"limit": max(limits.pids_limit, -1)}
    return result


def memory(limits: Resources, host: HostFacts) -> dict[str, Any]:
    section: dict[str, Any] = {}
    if limits.memory > 0:
        section["limit"] = limits.memory
    if limits.memory_reservation > 0:
        section["reservation"] = limits.memory_reservation
    swap = swap_limit(limits)
    if swap and has_swap_limit(host):
        section["swap"] = swap
    if host.cgroup_version == 2:
        return section
    if limits.memory_swappiness is not None and limits.memory_swappiness >= 0:
        section["swappiness"] = limits.memory_swappiness
    if limits.oom_kill_disable:
        section["disableOOMKiller"] = True
    if limits.kernel_memory_tcp is not UNSET and limits.kernel_memory_tcp:
        section["kernelTCP"] = limits.kernel_memory_tcp
    return section


def kept(limits: HostConfig, host: HostFacts) -> HostConfig:
    """Without what this host cannot do: a warning told that it is discarded, and `inspect` shows
    it no more, as on Docker."""
    gone: dict[str, Any] = {"cpu_percent": 0}
    if not has_swap_limit(host) and limits.memory > 0:
        gone["memory_swap"] = -1
    if not has_blkio_weight(host):
        gone["blkio_weight"] = 0
    if not has_device_weight(host):
        gone["blkio_weight_device"] = limits.blkio_weight_device and []
    if host.cgroup_version == 2:
        gone |= {"memory_swappiness": None, "oom_kill_disable": None}
        if limits.kernel_memory_tcp is not UNSET:
            gone["kernel_memory_tcp"] = 0
    return replace(limits, **gone)


def has_swap_limit(host: HostFacts) -> bool:
    return not host.cgroup_files.isdisjoint(("memory.memsw.limit_in_bytes", "memory.swap.max"))


def has_blkio_weight(host: HostFacts) -> bool:
    """A matter of kernel and scheduler: a file is there, or it is not."""
    return not host.cgroup_files.isdisjoint(_WEIGHTS)


def has_device_weight(host: HostFacts) -> bool:
    """On version 2 the scheduler bfq alone takes a weight for one device."""
    if host.cgroup_version == 2:
        return "io.bfq.weight" in host.cgroup_files
    return has_blkio_weight(host)


def swap_limit(limits: Resources) -> int:
    """Memory and swap together, as Docker counts: -1 unlimited, twice the memory by default."""
    if limits.memory > 0 and limits.memory_swap == 0:
        return limits.memory * 2
    return limits.memory_swap


def cpu(limits: Resources) -> dict[str, Any]:
    section: dict[str, Any] = {}
    if limits.cpu_shares:
        section["shares"] = limits.cpu_shares
    if limits.nano_cpus > 0:
        section["period"] = NANO_PERIOD_US
        section["quota"] = limits.nano_cpus * NANO_PERIOD_US // 1_000_000_000
    if limits.cpu_period:
        section["period"] = limits.cpu_period
    if limits.cpu_quota:
        section["quota"] = limits.cpu_quota
    if limits.cpu_realtime_period:
        section["realtimePeriod"] = limits.cpu_realtime_period
    if limits.cpu_realtime_runtime:
        section["realtimeRuntime"] = limits.cpu_realtime_runtime
    if limits.cpuset_cpus:
        section["cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        section["mems"] = limits.cpuset_mems
    return section


def block_io(
    limits: Resources, numbers: Mapping[str, tuple[int, int]], host: HostFacts
) -> dict[str, Any]:
    """`numbers`: the device (major, minor) behind each path, from `devices.block_numbers`."""
    section: dict[str, Any] = {}
    if limits.blkio_weight and has_blkio_weight(host):
        section["weight"] = limits.blkio_weight
    if limits.blkio_weight_device and has_device_weight(host):
        section["weightDevice"] = [
            {**_device(entry.path, numbers), "weight": entry.weight}
            for entry in limits.blkio_weight_device
        ]
    for name, rates in (
        ("throttleReadBpsDevice", limits.blkio_device_read_bps),
        ("throttleWriteBpsDevice", limits.blkio_device_write_bps),
        ("throttleReadIOPSDevice", limits.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", limits.blkio_device_write_iops),
    ):
        if rates:
            section[name] = [{**_device(e.path, numbers), "rate": e.rate} for e in rates]
    return section


def block_paths(limits: Resources, host: HostFacts) -> list[str]:
    """Every path of a block device whose limits count on this host."""
    weights = limits.blkio_weight_device if has_device_weight(host) else ()
    entries = [
        *(weights or ()),
        *(limits.blkio_device_read_bps or ()),
        *(limits.blkio_device_write_bps or ()),
        *(limits.blkio_device_read_iops or ()),
        *(limits.blkio_device_write_iops or ()),
    ]
    return [entry.path for entry in entries]


def _device(path: str, numbers: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    major, minor = numbers[path]
    return {"major": major, "minor": minor}
