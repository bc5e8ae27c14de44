"""What `naru system doctor` looks at on this host: reads /proc and /sys, asks the binaries.

Each check returns findings; none needs a running engine. Paths are parameters, so that a test can
show a check a host of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GOOD, NOTE, RISK, MISSING = "ok", "note", "risk", "missing"
ASK_TIMEOUT_S = 5
LOW_DISK_BYTES = 2 << 30
LOW_DISK_SHARE = 0.05
OLDEST_KERNEL = (5, 10)
OLDEST_KERNEL_MAPPED = (5, 19)
DATA_ROOT = "/var/lib/naru"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: how it stands, about what, what was found, and what to do."""

    state: str
    subject: str
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Hole:
    """A published hole of a program: in releases from `since` on, fixed in each of `fixed` (one
    release for each branch, ascending). A distribution may have patched an older one."""

    name: str
    what: str
    fixed: tuple[tuple[int, ...], ...]
    since: tuple[int, ...] = (0,)

    def is_in(self, release: tuple[int, ...]) -> bool:
        if release < self.since:
            return False
        for fix in self.fixed:
            if release[:2] <= fix[:2]:
                return release < fix
        return False


HOLES = {
    "crun": (Hole("CVE-2026-30892", "exec -u 1 runs as root", ((1, 27),), (1, 19)),),
    "runc": (
        Hole("CVE-2024-21626", "a leaked descriptor opens the host's files", ((1, 1, 12),)),
        Hole("CVE-2025-31133", "masked paths can be redirected", ((1, 2, 8), (1, 3, 3))),
        Hole("CVE-2025-52565", "the console's mount can be redirected", ((1, 2, 8), (1, 3, 3))),
        Hole("CVE-2025-52881", "writes to /proc can be redirected", ((1, 2, 8), (1, 3, 3))),
        Hole("CVE-2026-41579", "a /dev symlink in an image is followed", ((1, 3, 6),)),
    ),
}
DEV_LINK_CRUN = (1, 8, 1)
ADVICE_PACKAGES = {
    "crun": "apt install crun",
    "conmon": "apt install conmon",
    "nft": "apt install nftables",
    "runc": "apt install runc",
}


def numbers(text: str) -> tuple[int, ...]:
    """The first dotted number in `text`: (1, 8, 1) of `crun version 1.8.1`."""
    for word in text.replace(",", " ").split():
        parts = word.lstrip("v").split("+")[0].split("-")[0].split("~")[0].split(".")
        if len(parts) > 1 and all(part.isdigit() for part in parts):
            return tuple(int(part) for part in parts)
    return ()


def read(path: str) -> str:
    """The file's text, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def ask(words: list[str]) -> str:
    """What a program prints, empty when it is missing or fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=ASK_TIMEOUT_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout or done.stderr


def check_user() -> Iterable[Finding]:
    if os.geteuid() == 0:
        yield Finding(GOOD, "user", "root")
    else:
        yield Finding(NOTE, "user", "not root", "narud itself must run as root")


def check_kernel(release: str) -> Iterable[Finding]:
    if numbers(release)[:2] < OLDEST_KERNEL:
        yield Finding(
            RISK, "kernel", release, "5.10 is the oldest that is tested: upgrade the kernel"
        )
    else:
        yield Finding(GOOD, "kernel", release)


def check_cgroup(mounts: str, controllers: str) -> Iterable[Finding]:
    """The mode of the control groups; `controllers`: those of the unified mount, if any."""
    kinds = [line.split()[2] for line in mounts.splitlines() if len(line.split()) > 2]
    first, second = kinds.count("cgroup"), kinds.count("cgroup2")
    if not first and not second:
        yield Finding(
            MISSING, "cgroup", "no control group is mounted",
            "mount cgroup2 at /sys/fs/cgroup; without it no container starts",
        )  # fmt: skip
    elif first and second:
        detail = f" (the unified one has {controllers.strip()})" if controllers.strip() else ""
        yield Finding(
            NOTE, "cgroup", f"hybrid: {first} v1 hierarchies and v2{detail}",
            "it works: the runtime is started without the unified mount in view; boot with "
            "systemd.unified_cgroup_hierarchy=1 for plain v2",
        )  # fmt: skip
    elif second:
        yield Finding(GOOD, "cgroup", "v2")
    else:
        yield Finding(NOTE, "cgroup", "v1", "v2 measures memory and I/O better; v1 goes away")


def check_user_namespaces(release: str, most: str) -> Iterable[Finding]:
    """`most`: of user.max_user_namespaces, empty without such a thing."""
    if not most.strip().isdigit() or int(most) == 0:
        advice = "for --userns private and userns-remap: sysctl user.max_user_namespaces=10000"
        yield Finding(NOTE, "user namespaces", "switched off", advice)
    elif numbers(release)[:2] < OLDEST_KERNEL_MAPPED:
        advice = "for --userns private and userns-remap upgrade the kernel: 5.19 has such overlays"
        yield Finding(NOTE, "user namespaces", f"no overlays in them on {release}", advice)
    else:
        yield Finding(GOOD, "user namespaces", f"up to {most.strip()}")


def check_overlay(filesystems: str, module_found: bool) -> Iterable[Finding]:
    if any(line.split()[-1:] == ["overlay"] for line in filesystems.splitlines()):
        yield Finding(GOOD, "overlayfs", "in the kernel")
    elif module_found:
        yield Finding(NOTE, "overlayfs", "a module, not loaded", "run: modprobe overlay")
    else:
        yield Finding(
            MISSING, "overlayfs", "not in this kernel", "use a kernel with CONFIG_OVERLAY_FS"
        )


def check_nftables(find: Callable[[str], str | None], library: bool) -> Iterable[Finding]:
    if not library:
        yield Finding(
            MISSING, "libnftables", "not found",
            "apt install libnftables1; published ports and NAT need it",
        )  # fmt: skip
        return
    if find("nft") is None:
        yield Finding(NOTE, "nftables", "library only", "apt install nftables to look at rules")
        return
    rules = ask(["nft", "list", "tables"])
    tables = [line for line in rules.splitlines() if " naru" in line]
    yield Finding(GOOD, "nftables", f"works, {len(tables)} table(s) of Naru")


def check_program(name: str, version: str, needed: bool) -> Iterable[Finding]:
    """One program by what it says of its version (empty: missing), with the holes known of it."""
    if not version.strip():
        state = MISSING if needed else NOTE
        yield Finding(state, name, "not found", ADVICE_PACKAGES.get(name, f"install {name}"))
        return
    release = numbers(version)
    text = ".".join(str(part) for part in release) or version.splitlines()[0]
    holes = [hole for hole in HOLES.get(name, ()) if release and hole.is_in(release)]
    if not holes:
        yield Finding(GOOD, name, text)
    for hole in holes:
        fixed = " and ".join(".".join(map(str, fix)) for fix in hole.fixed)
        yield Finding(
            RISK, name, f"{text}: {hole.name}, {hole.what}",
            f"fixed in {fixed}; your distribution may have patched it: see its security tracker",
        )  # fmt: skip
    if name == "crun" and release == DEV_LINK_CRUN:
        yield Finding(
            NOTE, name, f"{text}: CVE-2026-47766, a /dev symlink in an image is followed",
            "out of reach of Naru's containers, whose /dev is always mounted and checked first; "
            "take your distribution's update for other users of crun",
        )  # fmt: skip


def check_forwarding(v4: str, v6: str) -> Iterable[Finding]:
    if v4.strip() == "1":
        yield Finding(GOOD, "ip_forward", "on")
    else:
        yield Finding(
            NOTE, "ip_forward", "off",
            "narud switches it on when it starts; to keep it: sysctl -w net.ipv4.ip_forward=1 and "
            "a line in /etc/sysctl.d",
        )  # fmt: skip
    if not v6:
        yield Finding(NOTE, "ipv6", "not in this kernel", "containers get IPv4 only")


def check_disk(path: str, free: int, total: int, inodes_free: int) -> Iterable[Finding]:
    shown = f"{free / (1 << 30):.1f} GiB free at {path}"
    if free < LOW_DISK_BYTES or (total and free / total < LOW_DISK_SHARE):
        yield Finding(RISK, "disk", shown, "make room: naru system df, naru system prune")
    else:
        yield Finding(GOOD, "disk", shown)
    if inodes_free == 0:
        yield Finding(RISK, "inodes", f"none free at {path}", "remove small files or grow it")


def check_seccomp(status: str) -> Iterable[Finding]:
    if any(line.startswith("Seccomp:") for line in status.splitlines()):
        yield Finding(GOOD, "seccomp", "in the kernel")
    else:
        yield Finding(
            RISK, "seccomp", "not in this kernel", "containers run without a system call filter"
        )


def check_capabilities(status: str) -> Iterable[Finding]:
    """The bounding set: what narud itself lacks, no container can have."""
    bounding = next(
        (line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), "0"
    )
    if not int(bounding, 16) >> 24 & 1:
        yield Finding(
            NOTE, "capabilities", "CAP_SYS_RESOURCE is out of reach here",
            "limits cannot be raised above this shell's own (--ulimit)",
        )  # fmt: skip


def nearest_existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path


def all_findings(data_root: str = DATA_ROOT) -> list[Finding]:
    """Every check on this host."""
    folder = nearest_existing(data_root)
    space = os.statvfs(folder)
    release = os.uname().release
    status = read("/proc/self/status")
    module = os.path.exists(f"/lib/modules/{release}/kernel/fs/overlayfs")
    library = bool(ask(["ldconfig", "-p"]).find("libnftables.so.1") >= 0)
    crun = ask(["crun", "--version"])
    inits = [name for name in ("tini", "tini-static", "catatonit") if shutil.which(name)]
    found = [
        *check_user(),
        *check_kernel(release),
        *check_cgroup(read("/proc/mounts"), read("/sys/fs/cgroup/unified/cgroup.controllers")),
        *check_overlay(read("/proc/filesystems"), module),
        *check_user_namespaces(release, read("/proc/sys/user/max_user_namespaces")),
        *check_seccomp(status),
        *check_capabilities(status),
        *check_nftables(shutil.which, library),
        *check_program("crun", crun, needed=True),
        *([] if crun else check_program("runc", ask(["runc", "--version"]), needed=False)),
        *check_program("conmon", ask(["conmon", "--version"]), needed=True),
        *check_forwarding(
            read("/proc/sys/net/ipv4/ip_forward"), read("/proc/sys/net/ipv6/conf/all/forwarding")
        ),
        *check_disk(
            folder, space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, space.f_favail
        ),
    ]
    if inits:
        found.append(Finding(GOOD, "init", inits[0]))
    else:
        found.append(Finding(NOTE, "init", "none", "apt install tini, for run --init"))
    return found
