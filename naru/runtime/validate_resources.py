"""Limits that a client asks for, checked against what this host can do. Pure.

The texts and minimums are Docker's. A limit that this kernel does not have is named in a warning,
and `naru.runtime.resources` leaves it out.
"""

import re

from msgspec import UNSET

from naru.base.errors import InvalidParameter, Unsupported
from naru.runtime import devices
from naru.runtime.facts import RLIMITS, HostFacts
from naru.runtime.resources import has_blkio_weight, has_device_weight, has_swap_limit
from naru.spec.engine.container_config import Resources

MIN_MEMORY_BYTES = 6 << 20

_NOT_MOUNTED = "or the cgroup is not mounted"


def check_resources(limits: Resources, host: HostFacts) -> list[str]:
    """Warnings. Raises: InvalidParameter, Unsupported naming the limit."""
    _check_memory(limits)
    warnings = _memory_warnings(limits, host)
    warnings += _cpu(limits, host)
    _cpuset(limits, host)
    warnings += _block_io(limits, host)
    _ulimits(limits)
    _devices(limits)
    return warnings


def _check_memory(limits: Resources) -> None:
    memory, swap, reserved = limits.memory, limits.memory_swap, limits.memory_reservation
    if memory != 0 and memory < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidParameter(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if memory == 0 and swap > 0:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if swap < -1:
        raise InvalidParameter(f"Invalid value: {swap}, -1 is unlimited memory and swap")
    swappiness = limits.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidParameter(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )
    if reserved != 0 and reserved < MIN_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reserved:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def _memory_warnings(limits: Resources, host: HostFacts) -> list[str]:
    memory, swappiness = limits.memory, limits.memory_swappiness
    warnings: list[str] = []
    if memory > 0 and limits.memory_swap != -1 and not has_swap_limit(host):
        warnings.append(
            f"Your kernel does not support swap limit capabilities {_NOT_MOUNTED}. "
            "Memory limited without swap."
        )
    if host.cgroup_version == 2:
        if swappiness is not None and swappiness >= 0:
            warnings.append(
                f"Your kernel does not support memory swappiness capabilities {_NOT_MOUNTED}. "
                "Memory swappiness discarded."
            )
        if limits.oom_kill_disable:
            warnings.append(
                "Your kernel does not support OomKillDisable. OomKillDisable discarded."
            )
        if limits.kernel_memory_tcp is not UNSET and limits.kernel_memory_tcp:
            warnings.append(
                f"Your kernel does not support kernel memory TCP limit {_NOT_MOUNTED}. "
                "Limitation discarded."
            )
    elif limits.oom_kill_disable and memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    if limits.kernel_memory is not UNSET and limits.kernel_memory:
        warnings.append("A kernel memory limit is deprecated by the kernel. Limitation discarded.")
    return warnings


def _cpu(limits: Resources, host: HostFacts) -> list[str]:
    nano, period, quota = limits.nano_cpus, limits.cpu_period, limits.cpu_quota
    if nano and period:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and quota:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if nano < 0 or nano > host.cpus * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {host.cpus}.00, as there are only {host.cpus} CPUs "
            "available"
        )
    if limits.cpu_shares < 0:
        raise InvalidParameter(
            f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer"
        )
    if period != 0 and not 1000 <= period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    realtime = limits.cpu_realtime_period or limits.cpu_realtime_runtime
    if realtime and "cpu.rt_runtime_us" not in host.cgroup_files:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if 0 < limits.cpu_realtime_period < limits.cpu_realtime_runtime:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    if limits.cpu_count:
        raise InvalidParameter("invalid option: CPU count configuration is not supported on linux")
    if limits.io_maximum_iops:
        raise InvalidParameter(
            "invalid option: QoS maximum IOPs configuration is not supported on linux"
        )
    if limits.io_maximum_bandwidth:
        raise InvalidParameter(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux"
        )
    if limits.cpu_percent:
        return ["linux does not support CPU percent. Percent discarded."]
    return []


def parse_set(text: str) -> set[int]:
    """The numbers of `0-2,5`. Raises: ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if match is None:
            raise ValueError(text)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first > 8192:
            raise ValueError(text)
        numbers.update(range(first, last + 1))
    return numbers


def _cpuset(limits: Resources, host: HostFacts) -> None:
    for text, label, what, available in (
        (limits.cpuset_cpus, "cpus", "CPUs", host.cpu_set),
        (limits.cpuset_mems, "mems", "memory nodes", host.memory_nodes),
    ):
        if not text:
            continue
        try:
            wanted = parse_set(text)
        except ValueError as error:
            raise InvalidParameter(
                f"Invalid value {text} for cpuset {label}: invalid format: {text}"
            ) from error
        if not wanted <= parse_set(available):
            raise InvalidParameter(
                f"Requested {what} are not available - requested {text}, available: {available}"
            )


def _block_io(limits: Resources, host: HostFacts) -> list[str]:
    warnings: list[str] = []
    supported = has_blkio_weight(host)
    if limits.blkio_weight:
        if not supported:
            warnings.append(
                f"Your kernel does not support Block I/O weight {_NOT_MOUNTED}. Weight discarded."
            )
        elif not 10 <= limits.blkio_weight <= 1000:
            raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    by_device = has_device_weight(host)
    for entry in limits.blkio_weight_device or ():
        if by_device and not 10 <= entry.weight <= 1000:
            raise InvalidParameter(f"Range of blkio weight is from 10 to 1000: {entry.path}")
    if limits.blkio_weight_device and not by_device:
        warnings.append(
            f"Your kernel does not support Block I/O weight_device {_NOT_MOUNTED}. "
            "Weight-device discarded."
        )
    return warnings


def _ulimits(limits: Resources) -> None:
    for limit in limits.ulimits or ():
        if limit.name.lower() not in RLIMITS and limit.name.lower() != "locks":
            raise InvalidParameter(f"wrong rlimit value: RLIMIT_{limit.name.upper()}")
        soft, hard = (value if value >= 0 else float("inf") for value in (limit.soft, limit.hard))
        if limit.soft < -1 or limit.hard < -1 or soft > hard:
            raise InvalidParameter(
                "ulimit soft limit must be less than or equal to hard limit: "
                f"{limit.soft} > {limit.hard}"
            )


def _devices(limits: Resources) -> None:
    for rule in limits.device_cgroup_rules or ():
        devices.parse_rule(rule)
    for mapping in limits.devices or ():
        access = mapping.cgroup_permissions
        if access and not devices.check_permissions(access):
            raise InvalidParameter(
                f'invalid device mode: "{access}" for device "{mapping.path_on_host}"'
            )
    for request in limits.device_requests or ():
        if request.driver == "cdi":
            raise Unsupported(
                "CDI device injection failed: DeviceRequests with driver cdi are not offered by "
                "this release of Naru"
            )
        groups = " ".join("[" + " ".join(group) + "]" for group in request.capabilities or ())
        raise InvalidParameter(
            f'could not select device driver "{request.driver}" with capabilities: [{groups}]'
        )
