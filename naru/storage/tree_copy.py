"""Copying a directory tree with all that belongs to its files: owner, mode, times, attributes.

Both sides are reached by directory descriptors only; no link is followed, hard links stay linked,
holes stay holes. Device nodes, FIFOs and sockets' places are made anew.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from naru.kernel.files import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SKIPPED_XATTRS = ("trusted.overlay.", "security.selinux")
_MAX_DEPTH = 400
_COPY_BYTES = 8 << 20


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Make directory `target_fd` hold what `source_fd` holds, and be as it is.

    Raises: OSError; what was copied before stays.
    """
    _Copy(source_fd, target_fd).run()


class _Copy:
    def __init__(self, source_fd: int, target_fd: int) -> None:
        self._source, self._target = source_fd, target_fd
        self._linked: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        self._directory(self._source, self._target, b"", 0)

    def _directory(self, source: int, target: int, path: bytes, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise OSError(errno.ELOOP, "directories nested too deeply", os.fsdecode(path[:200]))
        with os.scandir(source) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        for name in names:
            self._entry(source, target, name, path + b"/" + name if path else name, depth)
        self._attributes(source, target, os.fstat(source))

    def _entry(self, source: int, target: int, name: bytes, path: bytes, depth: int) -> None:
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=target)
            with (
                _opened(source, name, _DIRECTORY) as below,
                _opened(target, name, _DIRECTORY) as made,
            ):
                self._directory(below, made, path, depth + 1)
            return
        if info.st_nlink > 1 and self._link(info, target, name, path):
            return
        if kind == stat.S_IFREG:
            self._file(source, target, name, info)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            self._owner_and_times(target, name, info)
        elif kind != stat.S_IFSOCK:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
            os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)
            self._owner_and_times(target, name, info)

    def _link(self, info: os.stat_result, target: int, name: bytes, path: bytes) -> bool:
        key = (info.st_dev, info.st_ino)
        first = self._linked.setdefault(key, path)
        if first == path:
            return False
        folder, _, base = first.rpartition(b"/")
        with _opened(self._target, folder or b".", _DIRECTORY) as where:
            os.link(base, name, src_dir_fd=where, dst_dir_fd=target, follow_symlinks=False)
        return True

    def _file(self, source: int, target: int, name: bytes, info: os.stat_result) -> None:
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            writing = os.open(name, create, 0o600, dir_fd=target)
            try:
                _copy_content(reading, writing, info.st_size)
                self._attributes(reading, writing, info)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    @staticmethod
    def _attributes(source: int, target: int, info: os.stat_result) -> None:
        os.chown(target, info.st_uid, info.st_gid)
        os.chmod(target, stat.S_IMODE(info.st_mode))
        for attribute in _xattrs(source):
            if not attribute.startswith(_SKIPPED_XATTRS):
                _set_xattr(target, attribute, os.getxattr(source, attribute))
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))

    @staticmethod
    def _owner_and_times(target: int, name: bytes, info: os.stat_result) -> None:
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        times = (info.st_atime_ns, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


@contextlib.contextmanager
def _opened(dir_fd: int, name: bytes, flags: int) -> Iterator[int]:
    fd = open_beneath(dir_fd, name, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _xattrs(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return []
        raise


def _set_xattr(fd: int, attribute: str, value: bytes) -> None:
    """A file system that knows no such attribute (tmpfs, NFS) is no reason to fail."""
    try:
        os.setxattr(fd, attribute, value)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def _copy_content(reading: int, writing: int, size: int) -> None:
    """All data, leaving holes as they are."""
    position = 0
    while position < size:
        try:
            start = os.lseek(reading, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(reading, start, os.SEEK_HOLE)
        _copy_range(reading, writing, start, end)
        position = end
    os.ftruncate(writing, size)


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        count = min(_COPY_BYTES, end - start)
        try:
            done = os.copy_file_range(reading, writing, count, start, start)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            done = os.pwrite(writing, os.pread(reading, count, start), start)
        if done == 0:
            return
        start += done
