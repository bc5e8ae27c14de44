"""Files reached through directory descriptors, and files that are replaced whole.

Whoever opens a path that a container, an image or an API body had a say in opens it here.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable

from naru.kernel import syscalls

_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_SYMLINKS
_SAME_MOUNT = _BENEATH | syscalls.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 64
_ATTEMPTS = 64


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Opens `path` as a process whose root is `root_fd` would: links stay inside it.

    Returns a descriptor that no child inherits. Raises: OSError; ELOOP for a magic link.
    Spec: openat2(2), RESOLVE_IN_ROOT.
    """
    return syscalls.openat2(root_fd, path, flags, mode, _IN_ROOT)


def open_beneath(dir_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Opens `path` below `dir_fd` following no link at all; EXDEV when it would leave."""
    return syscalls.openat2(dir_fd, path, flags, mode, _BENEATH)


def write_atomic(path: str, data: bytes, mode: int = 0o600, durable: bool = False) -> None:
    """Makes `path` hold `data`: a reader sees the old file or the new one, never a part.

    `mode` is exact whatever the umask. `durable`: on disk before this returns.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory or ".")


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes every byte, however short the kernel's writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: str) -> None:
    """Makes the names in directory `path` durable."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def syncfs(path: str) -> None:
    """Writes out everything of the file system that holds `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)


def read_file_limited(fd_or_path: int | str, limit_bytes: int) -> bytes:
    """The whole of a regular file of at most `limit_bytes`. A descriptor is read from its place.

    Raises: OSError, EFBIG when the file is longer, EINVAL when it is no regular file.
    """
    if isinstance(fd_or_path, int):
        return _read_limited(fd_or_path, f"descriptor {fd_or_path}", limit_bytes)
    fd = os.open(fd_or_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return _read_limited(fd, fd_or_path, limit_bytes)
    finally:
        os.close(fd)


def _read_limited(fd: int, name: str, limit_bytes: int) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    parts: list[bytes] = []
    left = limit_bytes + 1
    while left > 0 and (part := os.read(fd, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise OSError(errno.EFBIG, f"longer than {limit_bytes} bytes", name)
    return b"".join(parts)


def remove_tree(path: str) -> None:
    """Removes `path` and everything below it; a missing one is fine.

    Works through directory descriptors, so a link that is swapped in is removed, not followed. A
    mount is never entered. Raises: OSError, EBUSY when something is mounted below.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        parent_fd = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_entry(parent_fd, name, path, _empty_all)
    finally:
        os.close(parent_fd)


def _remove_entry(dir_fd: int, name: str, path: str, empty: Callable[[int, str], None]) -> None:
    """Removes what `name` is at this moment; what it is may change under our hands."""
    for _ in range(_ATTEMPTS):
        try:
            os.rmdir(name, dir_fd=dir_fd)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            reason = error
        try:
            if reason.errno == errno.ENOTDIR:
                os.unlink(name, dir_fd=dir_fd)
                return
            if reason.errno != errno.ENOTEMPTY:
                break
            child = syscalls.openat2(dir_fd, name, _DIRECTORY, 0, _SAME_MOUNT)
        except FileNotFoundError:
            return
        except OSError as error:
            reason = error
            if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENOTDIR):
                break
            continue
        try:
            empty(child, path)
        finally:
            os.close(child)
    if reason.errno in (errno.EXDEV, errno.EBUSY):
        raise OSError(errno.EBUSY, "something is mounted there", path) from reason
    raise OSError(reason.errno, reason.strerror, path) from reason


def _empty_all(top: int, path: str) -> None:
    """Empties the directory `top`. What lies deeper than _MAX_DEPTH is first moved up to `top`, so
    that a hostile tree exhausts neither the descriptors nor the stack."""
    moved = True

    def empty(fd: int, path: str, depth: int) -> None:
        nonlocal moved
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            below = f"{path}/{name}"
            if not is_directory and _unlinked(fd, name):
                continue
            if depth < _MAX_DEPTH:
                _remove_entry(fd, name, below, lambda child, path: empty(child, path, depth + 1))
                continue
            moved = True
            with contextlib.suppress(FileNotFoundError):
                fresh = f".naru-removed-{secrets.token_hex(8)}"
                os.rename(name, fresh, src_dir_fd=fd, dst_dir_fd=top)

    while moved:
        moved = False
        empty(top, path, 0)


def _unlinked(dir_fd: int, name: str) -> bool:
    """False when `name` has become a directory."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    return True
