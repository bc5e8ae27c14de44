"""What `info` and `version` tell about the host and the programs beneath us; read once at start."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le",
            "s390x": "s390x", "riscv64": "riscv64"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    machine: str
    kernel: str
    operating_system: str
    os_version: str
    cpus: int
    memory_bytes: int
    backing_filesystem: str
    programs: Mapping[str, str] = field(default_factory=dict)

    @property
    def go_arch(self) -> str:
        return _GO_ARCH.get(self.machine, self.machine)


def read_host(data_root: str, programs: Mapping[str, str]) -> Host:
    """`programs`: name → version of crun, conmon, the init."""
    release = _os_release()
    uname = os.uname()
    return Host(
        name=uname.nodename,
        machine=uname.machine,
        kernel=uname.release,
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        backing_filesystem=_filesystem_of(data_root),
        programs=programs,
    )


def _os_release() -> dict[str, str]:
    try:
        return dict(platform.freedesktop_os_release())
    except OSError:
        return {}


def _filesystem_of(path: str) -> str:
    """The type of the file system that holds `path`, by the longest mount point above it."""
    best, kind = "", "unknown"
    path = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields, _, rest = line.partition(" - ")
                target = fields.split()[4].rstrip("/") or "/"
                inside = path == target or path.startswith(target.rstrip("/") + "/")
                if inside and len(target) >= len(best):
                    best, kind = target, rest.split()[0]
    except OSError:
        return kind
    return {"ext4": "extfs", "ext3": "extfs", "ext2": "extfs"}.get(kind, kind)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
