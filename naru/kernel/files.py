"""Files reached through directory descriptors, and files that are replaced whole.

Whoever opens a path that a container, an image or an API body had a say in opens it here.
"""

import errno
import os
import secrets
import stat

from naru.kernel import syscalls

_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_SYMLINKS
_SAME_MOUNT = _BENEATH | syscalls.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 64


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
        if not _is_directory(parent_fd, name):
            _unlink(parent_fd, name)
            return
        try:
            top = syscalls.openat2(parent_fd, name, _DIRECTORY, 0, _SAME_MOUNT)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _busy(error, path) from error
        try:
            _TreeRemoval(top, path).run()
        finally:
            os.close(top)
        _rmdir(parent_fd, name)
    finally:
        os.close(parent_fd)


class _TreeRemoval:
    """Empties the directory `top`. Trees deeper than _MAX_DEPTH are first moved up to `top`, so
    that a hostile one exhausts neither the descriptors nor the stack."""

    def __init__(self, top: int, path: str) -> None:
        self._top, self._path, self._moved = top, path, 0

    def run(self) -> None:
        for _ in range(1_000_000):
            before = self._moved
            self._empty(self._top, 0)
            if self._moved == before:
                return

    def _empty(self, fd: int, depth: int) -> None:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if not is_directory:
                _unlink(fd, name)
            elif depth >= _MAX_DEPTH:
                self._moved += 1
                fresh = f".naru-removed-{self._moved}-{secrets.token_hex(4)}"
                os.rename(name, fresh, src_dir_fd=fd, dst_dir_fd=self._top)
            else:
                self._remove_directory(fd, name, depth)

    def _remove_directory(self, fd: int, name: str, depth: int) -> None:
        try:
            os.rmdir(name, dir_fd=fd)
            return
        except FileNotFoundError:
            return
        except NotADirectoryError:
            _unlink(fd, name)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise _busy(error, f"{self._path}/…/{name}") from error
        try:
            child = syscalls.openat2(fd, name, _DIRECTORY, 0, _SAME_MOUNT)
        except OSError as error:
            raise _busy(error, f"{self._path}/…/{name}") from error
        try:
            self._empty(child, depth + 1)
        finally:
            os.close(child)
        _rmdir(fd, name)


def _busy(error: OSError, path: str) -> OSError:
    if error.errno in (errno.EXDEV, errno.EBUSY):
        return OSError(errno.EBUSY, "something is mounted there", path)
    return OSError(error.errno, error.strerror, path)


def _is_directory(dir_fd: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlink(dir_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def _rmdir(dir_fd: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
