"""Copying a directory tree with all that belongs to its files: owner, mode, times, attributes.

Both sides are reached by directory descriptors only, and containers may change both meanwhile: no
link is followed, what was looked at is what is opened, and no FIFO or device ever is. Hard links
stay linked, holes stay holes. Device nodes and FIFOs are made anew, sockets are left out.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from naru.kernel.files import open_beneath

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARE_BLOCKS = 0x40049409  # FICLONE, ioctl_ficlone(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEVER = ("security.selinux",)
_MAX_DEPTH = 400
_COPY_BYTES = 8 << 20


@dataclass(slots=True)
class Copied:
    """How many files share their blocks with the original, how many were written, and what of the
    tree has no copy."""

    shared: int = 0
    written: int = 0
    sockets: int = 0


def copy_tree(source_fd: int, target_fd: int, *, whole: bool = False) -> Copied:
    """Make directory `target_fd` hold what `source_fd` holds, and be as it is.

    Blocks are shared where the file system can. `whole`: what overlayfs keeps in attributes comes
    along, too. Raises: OSError; what was copied before stays.
    """
    return _Copy(source_fd, target_fd, _NEVER if whole else (*_NEVER, "trusted.overlay.")).run()


class _Copy:
    def __init__(self, source_fd: int, target_fd: int, skipped: tuple[str, ...]) -> None:
        self._skipped = skipped
        self._source, self._target = source_fd, target_fd
        self._linked: dict[tuple[int, int], bytes] = {}
        self._copied = Copied()
        self._shares = True

    def run(self) -> Copied:
        self._directory(self._source, self._target, b"", 0)
        return self._copied

    def _directory(self, source: int, target: int, path: bytes, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise OSError(errno.ELOOP, "directories nested too deeply", os.fsdecode(path[:200]))
        with os.scandir(source) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it vanished meanwhile
                self._entry(source, target, name, path + b"/" + name if path else name, depth)
        self._attributes(source, target, os.fstat(source))

    def _entry(self, source: int, target: int, name: bytes, path: bytes, depth: int) -> None:
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFDIR:
            with _opened(source, name, _DIRECTORY) as below:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=target)
                with _opened(target, name, _DIRECTORY) as made:
                    self._directory(below, made, path, depth + 1)
            return
        if info.st_nlink > 1 and self._link(info, target, name, path):
            return
        if kind == stat.S_IFREG:
            self._file(source, target, name, info)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif kind == stat.S_IFSOCK:
            self._copied.sockets += 1
        else:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
        if kind in (stat.S_IFREG, stat.S_IFSOCK):
            return
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            self._mode(target, name, info)
        self._node_xattrs(source, target, name)
        times = (info.st_atime_ns, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    @staticmethod
    def _mode(target: int, name: bytes, info: os.stat_result) -> None:
        """Of the node itself: `chmod` by name would follow a link that took its place."""
        node = os.open(name, _NODE, dir_fd=target)
        try:
            if stat.S_IFMT(os.fstat(node).st_mode) == stat.S_IFMT(info.st_mode):
                os.chmod(f"/proc/self/fd/{node}", stat.S_IMODE(info.st_mode))
        finally:
            os.close(node)

    @staticmethod
    def _node_xattrs(source: int, target: int, name: bytes) -> None:
        """Of a link, FIFO or device, which are reached without being opened."""
        node = os.open(name, _NODE, dir_fd=source)
        try:
            found = {item: os.getxattr(f"/proc/self/fd/{node}", item) for item in _xattrs(node)}
        finally:
            os.close(node)
        if not found:
            return
        node = os.open(name, _NODE, dir_fd=target)
        try:
            for attribute, value in found.items():
                _set_xattr(node, attribute, value)
        finally:
            os.close(node)

    def _link(self, info: os.stat_result, target: int, name: bytes, path: bytes) -> bool:
        key = (info.st_dev, info.st_ino)
        first = self._linked.setdefault(key, path)
        if first == path:
            return False
        folder, _, base = first.rpartition(b"/")
        try:
            with _opened(self._target, folder or b".", _DIRECTORY) as where:
                os.link(base, name, src_dir_fd=where, dst_dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:  # the first name vanished before it was copied
            self._linked[key] = path
            return False
        return True

    def _file(self, source: int, target: int, name: bytes, info: os.stat_result) -> None:
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        reading = _open_regular(source, name)
        if reading is None:
            return  # something else by now
        try:
            info = os.fstat(reading)
            writing = os.open(name, create, 0o600, dir_fd=target)
            try:
                self._content(reading, writing, info.st_size)
                self._attributes(reading, writing, info)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _content(self, reading: int, writing: int, size: int) -> None:
        if self._shares and size:
            try:
                fcntl.ioctl(writing, _SHARE_BLOCKS, reading)
            except OSError:
                self._shares = False  # another file system, or one that cannot
            else:
                self._copied.shared += 1
                return
        _copy_content(reading, writing, size)
        self._copied.written += 1

    def _attributes(self, source: int, target: int, info: os.stat_result) -> None:
        os.chown(target, info.st_uid, info.st_gid)
        os.chmod(target, stat.S_IMODE(info.st_mode))
        for attribute in _xattrs(source):
            if not attribute.startswith(self._skipped):
                _set_xattr(target, attribute, os.getxattr(source, attribute))
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


@contextlib.contextmanager
def _opened(dir_fd: int, name: bytes, flags: int) -> Iterator[int]:
    fd = open_beneath(dir_fd, name, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_regular(folder: int, name: bytes) -> int | None:
    """The regular file `name`, None when it is anything else: what is opened was looked at."""
    node = os.open(name, _NODE, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(node).st_mode):
            return None
        return os.open(f"/proc/self/fd/{node}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(node)


def _xattrs(fd: int) -> list[str]:
    """Of what `fd` is, which may have been opened as a place only."""
    try:
        return os.listxattr(f"/proc/self/fd/{fd}")
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return []
        raise


def _set_xattr(fd: int, attribute: str, value: bytes) -> None:
    """A file system that knows no such attribute (tmpfs, NFS) is no reason to fail."""
    try:
        os.setxattr(f"/proc/self/fd/{fd}", attribute, value)
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
