"""The root file system made ready before the runtime mounts into it.

Runtimes have followed symbolic links here (`/dev`, `/proc`, `/etc/mtab`, WORKDIR: CVE-2024-21626,
CVE-2024-5154, CVE-2026-47766). So each mount point is resolved by us with the root file system as
root, made by us where it is missing, and refused where it would cover or reach the kernel's own
file systems. Nothing here opens a path through a link that the image controls.
"""

import contextlib
import errno
import os
import re
import stat
from collections import deque
from collections.abc import Sequence

from naru.base.errors import InvalidParameter, StartFailed
from naru.kernel.files import open_beneath
from naru.runtime.mounts import OciMount, depth

_KERNEL_DIRECTORIES = ("/dev", "/proc", "/sys")
_MTAB = "/etc/mtab"
_PLACEHOLDERS = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
# Files that lxcfs and friends put over the kernel's; everything else in /proc stays the kernel's.
_PROC_ALLOWED = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
_PROCESS_LINKS = re.compile(
    r"/proc/([^/]+)(/task/[^/]+)?/(fd|fdinfo|cwd|root|exe|map_files|ns)(/|\Z)"
)
_MAX_LINKS = 40
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def resolve(root_fd: int, path: str) -> str:
    """Where `path` ends up for a process whose root is `root_fd`; its tail need not exist.

    Raises: InvalidParameter for a loop of links.
    """
    pending = deque(path.split("/"))
    done: list[str] = []
    links = 0
    while pending:
        part = pending.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            if done:
                done.pop()
            continue
        done.append(part)
        try:
            target = os.readlink("/".join(done), dir_fd=root_fd)
        except OSError:
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidParameter(f"{path}: too many levels of symbolic links")
        done = [] if target.startswith("/") else done[:-1]
        pending.extendleft(reversed(target.split("/")))
    return "/" + "/".join(done)


def check_working_dir(path: str) -> None:
    """Raises: InvalidParameter when a working directory would be a door to a process's files."""
    if _PROCESS_LINKS.match(os.path.normpath(path)):
        raise InvalidParameter(
            f"the working directory '{path}' is invalid, it leads to a process's open files"
        )


def make_working_dir(root_fd: int, path: str, mounts: Sequence[OciMount] = ()) -> None:
    """Makes WORKDIR as Docker does: in the root file system, or in the bind mount it lies in.

    Raises: InvalidParameter when it is no directory or leads into a process's open files.
    """
    check_working_dir(path)
    resolved = resolve(root_fd, path)
    check_working_dir(resolved)
    if resolved == "/" or _inside(resolved, _KERNEL_DIRECTORIES):
        return
    outer = _outermost(resolved, mounts)
    try:
        if outer is None:
            os.close(_make_directories(root_fd, resolved))
        elif outer.type == "bind" and resolved != outer.destination:
            _make_inside(outer, resolved)
    except NotADirectoryError as error:
        raise InvalidParameter(f"Cannot mkdir: {path} is not a directory") from error
    except OSError as error:
        reason = (error.strerror or "failed").lower()
        raise InvalidParameter(f"cannot make the working directory '{path}': {reason}") from error


def _make_inside(outer: OciMount, resolved: str) -> None:
    """A directory in a bind mount's source; the container may own that, so links stay inside."""
    source_fd = os.open(outer.source, _DIRECTORY | os.O_CLOEXEC)
    try:
        inside = resolve(source_fd, resolved[len(outer.destination.rstrip("/")) :])
        with contextlib.suppress(OSError):  # a read-only volume: the runtime says what is missing
            os.close(_make_directories(source_fd, inside))
    finally:
        os.close(source_fd)


def _outermost(resolved: str, mounts: Sequence[OciMount]) -> OciMount | None:
    """The last of `mounts` (parents first) that `resolved` lies in."""
    for mount in reversed(mounts):
        if _inside(resolved, (mount.destination.rstrip("/"),)):
            return mount
    return None


def prepare(root_fd: int, mounts: Sequence[OciMount], working_dir: str = "") -> None:
    """Makes the mount points of the user's `mounts`, what Docker's init layer has, and WORKDIR.

    Raises: StartFailed when a mount point leads where no mount may be.
    """
    for path in _KERNEL_DIRECTORIES:
        _kernel_directory(root_fd, path)
    for path in _PLACEHOLDERS:
        _placeholder(root_fd, path)
    _placeholder(root_fd, _MTAB, "/proc/mounts")
    _make_file(root_fd, "/.dockerenv")
    outer: list[OciMount] = []
    for mount in sorted(mounts, key=depth):
        _mount_point(root_fd, mount, outer)
        outer.append(mount)
    if working_dir:
        make_working_dir(root_fd, working_dir, outer)


def check_destination(mount: OciMount) -> None:
    """Refuse a mount that hides the root or the kernel's /proc. Raises: StartFailed."""
    _refuse_over_kernel(mount, os.path.normpath(mount.destination))


def _inside(path: str, parents: Sequence[str]) -> bool:
    return any(path == parent or path.startswith(parent + "/") for parent in parents)


def _refuse_over_kernel(mount: OciMount, resolved: str) -> None:
    destination = mount.destination
    if resolved == "/":
        raise StartFailed(f"invalid mount {destination}: destination can't be '/'")
    if resolved == "/proc" and mount.type != "proc" and mount.source != "/proc":
        raise StartFailed(
            f'"{destination}" cannot be mounted because it is not of type proc'
            if destination == "/proc"
            else f'"{destination}" cannot be mounted because it leads to /proc'
        )
    if resolved.startswith("/proc/") and resolved not in _PROC_ALLOWED:
        raise StartFailed(f'"{destination}" cannot be mounted because it is inside /proc')


def _kernel_directory(root_fd: int, path: str) -> None:
    """/dev, /proc and /sys must be directories of the image, or are made."""
    name = path[1:]
    try:
        mode = os.stat(name, dir_fd=root_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=root_fd)
        return
    if not stat.S_ISDIR(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no directory"
        raise StartFailed(f"the image cannot be started: its {path} is {kind}")


def _placeholder(root_fd: int, path: str, link_to: str = "") -> None:
    """An empty file for a bind mount, or a link; a foreign link or special file is replaced."""
    parent = resolve(root_fd, os.path.dirname(path))
    if _inside(parent, _KERNEL_DIRECTORIES):
        raise StartFailed(f"the image cannot be started: its {path} leads to {parent}")
    directory_fd = _make_directories(root_fd, parent)
    name = os.path.basename(path)
    try:
        mode = _mode(name, directory_fd)
        if link_to:
            if mode is None:
                os.symlink(link_to, name, dir_fd=directory_fd)
            return
        if mode is not None and stat.S_ISDIR(mode):
            raise StartFailed(f"the image cannot be started: its {path} is a directory")
        if mode is not None and not stat.S_ISREG(mode):
            os.unlink(name, dir_fd=directory_fd)
            mode = None
        if mode is None:
            os.close(os.open(name, _NEW_FILE, 0o755, dir_fd=directory_fd))
    finally:
        os.close(directory_fd)


def _mode(name: str, directory_fd: int) -> int | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _mount_point(root_fd: int, mount: OciMount, earlier: Sequence[OciMount]) -> None:
    resolved = resolve(root_fd, mount.destination)
    _refuse_over_kernel(mount, resolved)
    outer = _outermost(resolved, earlier)
    if outer is not None:
        _refuse_links(outer, resolved)
        return
    if _inside(resolved, ("/dev",)) and not _inside(mount.destination, ("/dev",)):
        raise StartFailed(f'"{mount.destination}" cannot be mounted because it leads to /dev')
    is_file = mount.type == "bind" and not _is_directory(mount)
    try:
        if is_file:
            _make_file(root_fd, resolved)
        else:
            os.close(_make_directories(root_fd, resolved))
    except OSError as error:
        raise StartFailed(
            f'error mounting "{mount.source}" to rootfs at "{mount.destination}": '
            f"{(error.strerror or 'failed').lower()}: Are you trying to mount a directory onto a "
            "file (or vice-versa)? Check if the specified host path exists and is the expected type"
        ) from error


def _is_directory(mount: OciMount) -> bool:
    try:
        return stat.S_ISDIR(os.stat(mount.source).st_mode)
    except OSError as error:
        raise StartFailed(
            f'error mounting "{mount.source}" to rootfs at "{mount.destination}": '
            f"{(error.strerror or 'failed').lower()}"
        ) from error


def _refuse_links(below: OciMount, resolved: str) -> None:
    """A mount inside another mount: what lies there may belong to another container too.

    The runtime makes such a mount point; a link that leads out of the outer mount is refused.
    """
    if below.type != "bind":
        return
    path = below.source.rstrip("/")
    for part in resolved[len(below.destination.rstrip("/")) + 1 :].split("/"):
        path = f"{path}/{part}"
        try:
            target = os.readlink(path)
        except OSError:
            continue
        if target.startswith("/") or ".." in target.split("/"):
            raise StartFailed(
                f'"{resolved}" cannot be mounted: {part!r} is a symbolic link out of '
                f'"{below.destination}"'
            )


def _make_directories(root_fd: int, path: str) -> int:
    """A descriptor (O_PATH) of directory `path`, which holds no link; missing parts are made."""
    relative = path.strip("/")
    if not relative:
        return os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
    with contextlib.suppress(FileNotFoundError):
        return open_beneath(root_fd, relative, _DIRECTORY)
    current = os.dup(root_fd)
    try:
        for part in relative.split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=current)
            following = open_beneath(current, part, _DIRECTORY)
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def _make_file(root_fd: int, path: str) -> None:
    """An empty file unless something that is no directory is there already."""
    directory_fd = _make_directories(root_fd, os.path.dirname(path))
    try:
        name = os.path.basename(path)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, _NEW_FILE, 0o755, dir_fd=directory_fd))
            return
        mode = os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    finally:
        os.close(directory_fd)
