"""Mounts: overlays of any number of layers, binds, tmpfs, and what is mounted where.

A mount point given here must be one of Naru's own paths, or a /proc/self/fd/N that was opened in
its root: the calls follow links. Needs Linux 5.12 (mount_setattr).
"""

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from naru.kernel import syscalls

_PAGE_LIMIT = 4000
_LONGEST_VALUE = 255
_PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "slave": syscalls.MS_SLAVE,
    "shared": syscalls.MS_SHARED,
    "unbindable": syscalls.MS_UNBINDABLE,
}
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo. `propagation`: `shared:N`, `master:N` … as the kernel writes them."""

    mount_id: int
    target: str
    root: str
    device: str
    options: str
    propagation: tuple[str, ...]
    fstype: str
    source: str
    super_options: str


def mount_overlay(
    target: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    *,
    options: Sequence[str] = (),
    read_only: bool = False,
) -> None:
    """Mounts an overlay on `target`; `lowers` has the topmost layer first, at least one.

    Without `upper` it is read-only by nature. Raises: OSError with the kernel's words.
    """
    if upper is None and len(lowers) == 1:
        bind(lowers[0], target, recursive=False, read_only=True, propagation="private")
        return
    rest = [*options]
    if upper is not None:
        rest += [f"upperdir={_escape(upper)}", f"workdir={_escape(work or '')}"]
    data = ",".join([f"lowerdir={':'.join(_escape(lower, ':') for lower in lowers)}", *rest])
    flags = syscalls.MS_RDONLY if read_only else 0
    if len(os.fsencode(data)) <= _PAGE_LIMIT:
        syscalls.mount("overlay", target, "overlay", flags, data)
        return
    longest = max(len(os.fsencode(path)) for path in (*lowers, upper or "", work or ""))
    try:
        if longest > _LONGEST_VALUE:
            raise OSError(errno.EINVAL, "path too long for fsconfig")
        _mount_overlay_stepwise(target, lowers, upper, work, options, read_only)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        _mount_overlay_by_fd(target, lowers, rest, flags)


def _escape(path: str, more: str = "") -> str:
    return "".join(f"\\{char}" if char in "\\," + more else char for char in path)


def _mount_overlay_stepwise(
    target: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    options: Sequence[str],
    read_only: bool,
) -> None:
    """One layer per call, so that no page bounds their number. Linux 6.8 takes `lowerdir+`."""
    fs_fd = syscalls.fsopen("overlay")
    try:
        for lower in lowers:
            syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_STRING, "lowerdir+", lower)
        for key, value in (("upperdir", upper), ("workdir", work)):
            if value is not None:
                syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_SET_STRING, key, value)
        for option in options:
            name, equals, text = option.partition("=")
            kind = syscalls.FSCONFIG_SET_STRING if equals else syscalls.FSCONFIG_SET_FLAG
            syscalls.fsconfig(fs_fd, kind, name, text if equals else None)
        syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_CMD_CREATE)
        mount_fd = syscalls.fsmount(fs_fd, syscalls.MOUNT_ATTR_RDONLY if read_only else 0)
    finally:
        os.close(fs_fd)
    try:
        syscalls.move_mount(mount_fd, target)
    finally:
        os.close(mount_fd)


def _mount_overlay_by_fd(
    target: str, lowers: Sequence[str], rest: Sequence[str], flags: int
) -> None:
    """Names layers by descriptor, 18 characters each: about 200 of them fit a page."""
    fds: list[int] = []
    try:
        for lower in lowers:
            fds.append(os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        names = ":".join(f"/proc/self/fd/{fd}" for fd in fds)
        data = ",".join([f"lowerdir={names}", *rest])
        if len(os.fsencode(data)) > _PAGE_LIMIT:
            raise OSError(errno.E2BIG, f"{len(lowers)} layers are too many for this kernel", target)
        syscalls.mount("overlay", target, "overlay", flags, data)
    finally:
        for fd in fds:
            os.close(fd)


def bind(
    source: str,
    target: str,
    *,
    recursive: bool = True,
    read_only: bool = False,
    propagation: str | None = None,
) -> None:
    """Binds `source` on `target`; `read_only` reaches the mounts below it, from the first instant.

    `propagation`: (r)private, (r)slave, (r)shared, (r)unbindable.
    """
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    fd = syscalls.open_tree(source, flags)
    try:
        if read_only:
            syscalls.mount_setattr(fd, set_attr=syscalls.MOUNT_ATTR_RDONLY, recursive=recursive)
        syscalls.move_mount(fd, target)
    finally:
        os.close(fd)
    if propagation is not None:
        set_propagation(target, propagation)


def set_propagation(target: str, propagation: str) -> None:
    """Raises: ValueError for a word that is none, OSError."""
    recursive = propagation[:1] == "r"
    kind = _PROPAGATION.get(propagation.removeprefix("r"))
    if kind is None:
        raise ValueError(f"unknown mount propagation {propagation!r}")
    syscalls.mount(None, target, None, kind | (syscalls.MS_REC if recursive else 0))


def mount_tmpfs(target: str, options: str = "") -> None:
    """Mounts a tmpfs; `options` as tmpfs(5) has them, and nosuid, nodev, noexec, ro."""
    words = {
        "nosuid": syscalls.MS_NOSUID,
        "nodev": syscalls.MS_NODEV,
        "noexec": syscalls.MS_NOEXEC,
        "ro": syscalls.MS_RDONLY,
    }
    flags, data = 0, []
    for option in filter(None, options.split(",")):
        if option in words:
            flags |= words[option]
        elif option not in ("rw", "suid", "dev", "exec"):
            data.append(option)
    syscalls.mount("tmpfs", target, "tmpfs", flags, ",".join(data))


def mount_filesystem(fstype: str, source: str, target: str, options: str = "") -> None:
    """Mounts any other file system (a volume's `type`, `device` and `o`)."""
    words = {
        "ro": syscalls.MS_RDONLY,
        "nosuid": syscalls.MS_NOSUID,
        "nodev": syscalls.MS_NODEV,
        "noexec": syscalls.MS_NOEXEC,
    }
    flags, data = 0, []
    for option in filter(None, options.split(",")):
        if option in words:
            flags |= words[option]
        elif option not in ("rw", "suid", "dev", "exec", "defaults"):
            data.append(option)
    syscalls.mount(source, target, fstype, flags, ",".join(data))


def unmount(target: str, *, lazy: bool = True) -> None:
    """Unmounts the topmost mount on `target`; a missing or unmounted one is fine."""
    try:
        syscalls.umount2(target, syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def make_shared(path: str) -> None:
    """Makes `path` a mount whose later submounts reach other mount namespaces; idempotent."""
    path = os.path.realpath(path)
    entry = mount_at(path)
    if entry is None:
        syscalls.mount(path, path, None, syscalls.MS_BIND)
        syscalls.mount(None, path, None, syscalls.MS_PRIVATE)
    elif any(word.startswith("shared:") for word in entry.propagation):
        return
    syscalls.mount(None, path, None, syscalls.MS_SHARED)


def mount_table() -> list[MountEntry]:
    """Everything mounted in the calling thread's namespace, in the order of mounting."""
    with open("/proc/thread-self/mountinfo", "rb") as lines:
        return [_parse(os.fsdecode(line)) for line in lines.read().split(b"\n") if line]


def _parse(line: str) -> MountEntry:
    fields = line.split(" ")
    dash = fields.index("-", 6)
    return MountEntry(
        mount_id=int(fields[0]),
        target=_unescape(fields[4]),
        root=_unescape(fields[3]),
        device=fields[2],
        options=fields[5],
        propagation=tuple(fields[6:dash]),
        fstype=fields[dash + 1],
        source=_unescape(fields[dash + 2]),
        super_options=fields[dash + 3] if len(fields) > dash + 3 else "",
    )


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    raw = _OCTAL.sub(lambda match: chr(int(match[1], 8)), os.fsencode(text).decode("latin-1"))
    return os.fsdecode(raw.encode("latin-1"))


def mount_at(path: str) -> MountEntry | None:
    """The topmost mount whose target is exactly `path` (absolute, without links)."""
    found = [entry for entry in mount_table() if entry.target == path]
    return found[-1] if found else None


def mounts_below(path: str) -> list[str]:
    """Targets of the mounts strictly below `path`, deepest first; one mounted twice comes twice."""
    prefix = path.rstrip("/") + "/"
    found = [entry.target for entry in mount_table() if entry.target.startswith(prefix)]
    return sorted(found, key=lambda target: target.count("/"), reverse=True)


def is_mount_point(path: str) -> bool:
    """Whether something is mounted on `path` itself; False when it is missing. No table is read."""
    return syscalls.is_mount_root(path)
