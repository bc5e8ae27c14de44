"""Which limits this host can enforce, as `info` tells it. Pure."""

from naru.runtime.facts import HostFacts
from naru.runtime.resources import has_blkio_weight, has_swap_limit

# As Docker words them. `SwapLimit` and the like: the names of `support`'s keys.
_MISSING = {
    "MemoryLimit": "No memory limit support",
    "SwapLimit": "No swap limit support",
    "CpuCfsQuota": "No cpu cfs quota support",
    "CpuCfsPeriod": "No cpu cfs period support",
    "CPUShares": "No cpu shares support",
    "CPUSet": "No cpuset support",
}
_RATES_V1 = ("read_bps", "write_bps", "read_iops", "write_iops")
_RATES_V2 = ("rbps", "wbps", "riops", "wiops")


def support(facts: HostFacts) -> dict[str, bool]:
    """The booleans of `SystemInfo`."""
    memory = "memory" in facts.controllers
    if facts.cgroup_version == 2:
        cpu = shares = "cpu" in facts.controllers
    else:
        cpu = "cpu.cfs_quota_us" in facts.cgroup_files
        shares = "cpu.shares" in facts.cgroup_files
    return {
        "MemoryLimit": memory,
        "SwapLimit": memory and has_swap_limit(facts),
        "CpuCfsPeriod": cpu,
        "CpuCfsQuota": cpu,
        "CPUShares": shares,
        "CPUSet": "cpuset" in facts.controllers,
        "PidsLimit": "pids" in facts.controllers,
    }


def warnings(facts: HostFacts) -> list[str]:
    """What this kernel does not limit, without Docker's "WARNING: "."""
    able = support(facts)
    told = [text for name, text in _MISSING.items() if not able[name]]
    if facts.cgroup_version == 1:
        if "memory.oom_control" not in facts.cgroup_files:
            told.append("No oom kill disable support")
        # A weight is not missed on version 1: no kernel since 5.0 has it without bfq.
        return told + [
            f"No blkio throttle.{name}_device support"
            for name in _RATES_V1
            if f"blkio.throttle.{name}_device" not in facts.cgroup_files
        ]
    if not has_blkio_weight(facts):
        told += ["No io.weight support", "No io.weight (per device) support"]
    if "io.max" not in facts.cgroup_files:
        told += [f"No io.max ({name}) support" for name in _RATES_V2]
    return told
