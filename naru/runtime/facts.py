"""What this host offers to containers: read once at start, then passed around as a value.

Decides nothing: `naru.runtime.validate` and `naru.runtime.ocispec` do, out of these facts.
"""

import contextlib
import os
import platform
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field

from naru.runtime.capabilities import CAPABILITIES, DEFAULT_CAPABILITIES

RLIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": resource.RLIMIT_RTTIME,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Facts about host and daemon; the defaults describe a plain cgroup v2 host for tests.

    `cgroup_files`: names of limit files that exist (`memory.memsw.limit_in_bytes`, `io.weight`):
    on version 2 in a group below the root, which has none of them itself.
    `hard_limits`: ulimit name → hard limit, -1 unlimited. `thermal_paths`: masked, one per CPU.
    """

    cgroup_version: int = 2
    controllers: frozenset[str] = frozenset({"cpu", "cpuset", "memory", "io", "pids"})
    cgroup_files: frozenset[str] = frozenset({"memory.swap.max", "io.weight", "io.max"})
    bounding: frozenset[str] = frozenset(CAPABILITIES)
    machine: str = "x86_64"
    kernel: tuple[int, int] = (6, 1)
    hostname: str = "localhost"
    cpus: int = 2
    cpu_set: str = "0-1"
    memory_nodes: str = "0"
    memory_bytes: int = 1 << 33
    init_path: str | None = None
    oom_score_adj: int = 0
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    thermal_paths: tuple[str, ...] = ()
    seccomp: bool = True
    apparmor: bool = False
    selinux: bool = False
    runtimes: frozenset[str] = frozenset({"crun", "runc", "io.containerd.runc.v2"})
    default_runtime: str = "crun"
    sysctls: frozenset[str] = frozenset(
        {"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"}
    )

    def has_capability(self, name: str) -> bool:
        return name in self.bounding


def gather(*, init_path: str | None = None, default_runtime: str = "crun") -> HostFacts:
    """Read the facts from /proc and /sys; what cannot be read keeps its default."""
    status = _status_fields()
    version, controllers, files = cgroup_facts()
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return HostFacts(
        cgroup_version=version,
        controllers=controllers,
        cgroup_files=files,
        bounding=_bounding(status.get("CapBnd", "")),
        machine=platform.machine(),
        kernel=(int(release[1]), int(release[2])) if release else (5, 10),
        hostname=platform.node(),
        cpus=os.cpu_count() or 1,
        cpu_set=_text("/sys/devices/system/cpu/online") or "0",
        memory_nodes=_text("/sys/devices/system/node/online") or "0",
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        init_path=init_path,
        oom_score_adj=int(_text("/proc/self/oom_score_adj") or 0),
        hard_limits={name: resource.getrlimit(number)[1] for name, number in RLIMITS.items()},
        thermal_paths=_thermal_paths(),
        seccomp="Seccomp" in status,
        apparmor=_text("/sys/module/apparmor/parameters/enabled") == "Y",
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        default_runtime=default_runtime,
        sysctls=frozenset(
            name
            for name in ("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range")
            if os.path.exists("/proc/sys/" + name.replace(".", "/"))
        ),
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as source:
            return source.read().strip()
    except OSError:
        return ""


def _status_fields() -> dict[str, str]:
    lines = (line.partition(":") for line in _text("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _bounding(mask_text: str) -> frozenset[str]:
    if not mask_text:
        return frozenset(DEFAULT_CAPABILITIES)
    mask = int(mask_text, 16)
    return frozenset(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)


def cgroup_facts(base: str = "/sys/fs/cgroup") -> tuple[int, frozenset[str], frozenset[str]]:
    """Version, controllers, and the limit files of the root group's children."""
    if os.path.exists(f"{base}/cgroup.controllers"):
        controllers = frozenset(_text(f"{base}/cgroup.controllers").split())
        return 2, controllers, _limit_files(base)
    controllers = frozenset(
        line.split(":")[1].split(",")[0]
        for line in _text("/proc/self/cgroup").splitlines()
        if line.split(":")[1] and "=" not in line.split(":")[1]
    )
    files: set[str] = set()
    for controller in ("memory", "blkio", "cpu", "cpuset", "pids"):
        try:
            files.update(os.listdir(f"{base}/{controller}"))
        except OSError:
            continue
    return 1, controllers, frozenset(files)


def _limit_files(base: str) -> frozenset[str]:
    """What the groups right below `base` have; the engine's own is one of them."""
    files: set[str] = set()
    with os.scandir(base) as entries:
        groups = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for group in groups:
        with contextlib.suppress(OSError):
            files.update(os.listdir(group))
    return frozenset(files)


def _thermal_paths() -> tuple[str, ...]:
    base = "/sys/devices/system/cpu"
    try:
        names = sorted(name for name in os.listdir(base) if re.fullmatch(r"cpu\d+", name))
    except OSError:
        return ()
    paths = (f"{base}/{name}/thermal_throttle" for name in names)
    return tuple(path for path in paths if os.path.isdir(path))
