"""Facts of this host, and the few of its settings that Naru changes."""

import os
import platform
from dataclasses import dataclass

from naru.kernel.files import read_file_limited

_SYSCTLS = "/proc/sys"
_IP_FORWARD = "net/ipv4/ip_forward"

# In the order of their numbers: linux/capability.h.
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITY_NAMES = tuple(_CAPABILITIES.split())


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Of the file system that holds a path. `free_bytes`: what root may still write."""

    total_bytes: int
    free_bytes: int
    total_files: int
    free_files: int


def kernel_version() -> str:
    return platform.release()


def machine() -> str:
    """`x86_64`, `aarch64`."""
    return platform.machine()


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def os_release() -> dict[str, str]:
    """The fields of os-release(5); empty where there is none."""
    try:
        return dict(platform.freedesktop_os_release())
    except OSError:
        return {}


def bounding_set() -> frozenset[str]:
    """The capabilities that this process may hand on, as `CAP_CHOWN`."""
    mask = int(status_field("CapBnd") or "0", 16)
    return frozenset(
        f"CAP_{name}" for number, name in enumerate(CAPABILITY_NAMES) if mask >> number & 1
    )


def seccomp_available() -> bool:
    """Whether the kernel filters system calls."""
    return os.path.exists(f"{_SYSCTLS}/kernel/seccomp/actions_avail")


def status_field(name: str) -> str | None:
    """A field of /proc/self/status."""
    text = read_file_limited("/proc/self/status", 1 << 16).decode(errors="replace")
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def filesystems() -> frozenset[str]:
    """File systems that the kernel knows now (a module may add one)."""
    text = read_file_limited("/proc/filesystems", 1 << 16).decode()
    return frozenset(line.split()[-1] for line in text.splitlines() if line)


def disk_space(path: str) -> DiskSpace:
    numbers = os.statvfs(path)
    return DiskSpace(
        total_bytes=numbers.f_blocks * numbers.f_frsize,
        free_bytes=numbers.f_bfree * numbers.f_frsize,
        total_files=numbers.f_files,
        free_files=numbers.f_ffree,
    )


def boot_id() -> str:
    """Differs after every boot of this host."""
    return read_file_limited(f"{_SYSCTLS}/kernel/random/boot_id", 256).decode().strip()


def clock_ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")


def _sysctl_path(name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"invalid sysctl name {name!r}")
    return f"{_SYSCTLS}/{name}"


def has_sysctl(name: str) -> bool:
    """`name` with slashes, `net/ipv4/ip_forward`: an interface's name may hold a dot."""
    return os.path.exists(_sysctl_path(name))


def get_sysctl(name: str) -> str:
    """Raises: OSError, ENOENT when this kernel has none of that name."""
    return read_file_limited(_sysctl_path(name), 1 << 16).decode(errors="replace").strip()


def set_sysctl(name: str, value: str) -> None:
    """Writes only what is not so already. Raises: OSError."""
    if get_sysctl(name) == value:
        return
    fd = os.open(_sysctl_path(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def ip_forward() -> bool:
    return get_sysctl(_IP_FORWARD) == "1"


def set_ip_forward(on: bool) -> None:
    set_sysctl(_IP_FORWARD, "1" if on else "0")
