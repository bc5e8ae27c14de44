"""The mounts of a container as the runtime reads them: standard ones, options, masked paths. Pure.

What happens inside the root file system before the runtime sees it: `naru.runtime.mountpoints`.
Spec: OCI runtime specification, config.md#mounts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from naru.base.errors import InvalidParameter

DEFAULT_SHM_BYTES = 64 << 20

# The union of Docker's and containerd's lists; `HostFacts.thermal_paths` come on top.
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

PROPAGATIONS = frozenset(
    ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
)

_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
# Flag → the flag that it cancels.
_TMPFS_FLAGS = {
    "exec": "noexec",
    "noexec": "exec",
    "suid": "nosuid",
    "nosuid": "suid",
    "dev": "nodev",
    "nodev": "dev",
    "rw": "ro",
    "ro": "rw",
    "sync": "async",
    "async": "sync",
    "dirsync": "",
    "mand": "nomand",
    "nomand": "mand",
    "atime": "noatime",
    "noatime": "atime",
    "diratime": "nodiratime",
    "nodiratime": "diratime",
    "relatime": "norelatime",
    "norelatime": "relatime",
    "strictatime": "nostrictatime",
    "nostrictatime": "strictatime",
    "defaults": "",
    **dict.fromkeys(PROPAGATIONS, ""),
}
_AMOUNT, _NUMBER = re.compile(r"\d+[kKmMgGtT%]?"), re.compile(r"\d+")
_TMPFS_VALUES = {
    "size": _AMOUNT,
    "nr_inodes": _AMOUNT,
    "nr_blocks": _AMOUNT,
    "mode": re.compile(r"[0-7]+"),
    "uid": _NUMBER,
    "gid": _NUMBER,
    "mpol": re.compile(r"[a-z]+(=[a-z]+)?(:[0-9,-]+)?"),
}


@dataclass(frozen=True, slots=True)
class OciMount:
    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": self.options,
        }


_PROC = OciMount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev"))
_DEV = OciMount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k"))
_PTS = OciMount(
    "/dev/pts",
    "devpts",
    "devpts",
    ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
)
_SYS = OciMount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro"))
_CGROUP = OciMount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", "nosuid", "noexec", "nodev"))
_MQUEUE = OciMount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev"))
_SYS_RW = OciMount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev"))
_CGROUP_RW = OciMount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev"))


def standard_mounts(
    *,
    privileged: bool = False,
    shm_bytes: int | None = DEFAULT_SHM_BYTES,
    writable_cgroups: bool = False,
) -> tuple[OciMount, ...]:
    """/proc, /dev and the rest, in order. `shm_bytes` None: no own /dev/shm."""
    cgroup = _CGROUP_RW if privileged or writable_cgroups else _CGROUP
    mounts = (_PROC, _DEV, _PTS, _SYS_RW if privileged else _SYS, cgroup, _MQUEUE)
    return mounts if shm_bytes is None else (*mounts, shm_mount(shm_bytes))


def shm_mount(size_bytes: int) -> OciMount:
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size_bytes or DEFAULT_SHM_BYTES}")
    return OciMount("/dev/shm", "tmpfs", "shm", options)


def bind_mount(
    destination: str,
    source: str,
    *,
    read_only: bool = False,
    propagation: str = "",
    recursive: bool = True,
    read_only_recursive: bool = True,
) -> OciMount:
    """A bind mount. Read-only covers submounts too, unless `read_only_recursive` is off: a file
    has none, and crun wants a directory for it.

    `propagation` "" leaves the runtime's default (volumes); Docker's default for binds is rprivate.
    """
    options = ["rbind" if recursive else "bind"]
    if read_only:
        options.append("rro" if read_only_recursive else "ro")
    if propagation:
        # crun takes the r of rprivate for rbind's.
        single = not recursive and propagation.startswith("r")
        options.append(propagation[1:] if single else propagation)
    return OciMount(destination, "bind", source, tuple(options))


def tmpfs_mount(
    destination: str,
    options: str = "",
    *,
    size_bytes: int = 0,
    mode: int = 0,
    read_only: bool = False,
    extra: Sequence[Sequence[str]] = (),
) -> OciMount:
    """A tmpfs of `--tmpfs dst:options`, or of `--mount type=tmpfs` with its separate fields.

    Raises: InvalidParameter for an option that tmpfs does not have.
    """
    flags: list[str] = list(_TMPFS_DEFAULTS)
    values: dict[str, str] = {}
    words = [word for word in options.split(",") if word]
    words += ["=".join(option) for option in extra]
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in _TMPFS_VALUES and _TMPFS_VALUES[name].fullmatch(value):
            values[name] = f"{name}={value}"
        elif not equals and name in _TMPFS_FLAGS:
            opposite = _TMPFS_FLAGS[name]
            flags = [flag for flag in flags if flag not in (opposite, name)]
            if name != "defaults":
                flags.append(name)
        else:
            raise InvalidParameter(f'invalid tmpfs option "{word}"')
    if not PROPAGATIONS.intersection(flags):
        flags.append("rprivate")
    if mode:
        values["mode"] = f"mode={mode:o}"
    if size_bytes:
        values["size"] = f"size={_size_text(size_bytes)}"
    if read_only:
        flags.append("ro")
    return OciMount(destination, "tmpfs", "tmpfs", (*flags, *values.values()))


def _size_text(size_bytes: int) -> str:
    for shift, suffix in ((30, "g"), (20, "m"), (10, "k")):
        if size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift}{suffix}"
    return str(size_bytes)


def depth(mount: OciMount) -> int:
    """How many directories deep it is mounted: parents are mounted before their children."""
    return mount.destination.rstrip("/").count("/")


def arrange(
    standard: Sequence[OciMount], wanted: Sequence[OciMount], files: Sequence[OciMount]
) -> list[OciMount]:
    """All mounts in the order in which the runtime makes them.

    A wanted mount replaces the standard one at its place, and one at /dev everything below /dev;
    parents come before children; the files below /etc come last unless the user mounts his own.
    """
    taken = {mount.destination for mount in wanted}
    if "/dev" in taken:
        standard = [mount for mount in standard if not mount.destination.startswith("/dev/")]
    kept = [mount for mount in standard if mount.destination not in taken]
    ordered = sorted(wanted, key=depth)
    return [*kept, *ordered, *(mount for mount in files if mount.destination not in taken)]
