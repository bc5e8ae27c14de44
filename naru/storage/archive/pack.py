"""Making an archive of a directory: every file once, in the order of names, nothing followed.

The tree may change while it is read (a running container's): a file that vanished is left out, one
that shrank is filled with zeros, one that grew is cut. In a layer, overlayfs' whiteouts and opaque
directories become `.wh.` entries. Sockets are left out, as everybody does.
"""

import errno
import os
import stat
from dataclasses import dataclass

from naru.storage.archive import headers, writing
from naru.storage.archive.headers import Entry, Piece
from naru.storage.archive.output import Output
from naru.storage.archive.unpack import OPAQUE, WHITEOUT

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20
_WORTH_HOLES_BYTES = 1 << 16
MAX_DEPTH = 2000
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_OPAQUE_XATTR = "trusted.overlay.opaque"
_IGNORED_XATTRS = ("security.selinux", "security.evm", "security.ima")


@dataclass(frozen=True, slots=True)
class PackPolicy:
    """What is packed and how.

    layer: translate whiteouts. whole: leave no attribute out. prefix: the name of the top in the
    archive, empty for its content alone.
    """

    layer: bool = False
    whole: bool = False
    prefix: bytes = b""


class Packer:
    """Writes one tree; used once."""

    def __init__(self, output: Output, policy: PackPolicy) -> None:
        self._output = output
        self._policy = policy
        self._first_names: dict[tuple[int, int], bytes] = {}
        self._ignored = (*_OVERLAY, *_IGNORED_XATTRS) if not policy.whole else _IGNORED_XATTRS
        self.entries = 0
        self.sockets = 0

    def run(self, root_fd: int) -> None:
        """Pack what is below `root_fd`, and the end mark. Raises: OSError."""
        prefix = self._policy.prefix
        top = prefix if prefix.endswith(b"/") or not prefix else prefix + b"/"
        if prefix:
            entry = self._entry(os.fstat(root_fd), top, headers.DIRECTORY)
            entry.xattrs = self._xattrs(root_fd)[0]
            self._put(entry)
        self._directory(root_fd, top, 0)
        self._output.write(writing.END)

    def run_one(self, parent_fd: int, name: bytes, called: bytes) -> None:
        """Pack the one thing `name`, under the name `called`, and the end mark."""
        self._member(parent_fd, name, called, 0)
        self._output.write(writing.END)

    def _put(self, entry: Entry) -> None:
        self.entries += 1
        self._output.write(writing.encode(entry))

    def _directory(self, fd: int, prefix: bytes, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OSError(errno.ELOOP, "directories are nested too deeply", prefix[:200])
        with os.scandir(fd) as found:
            names = sorted(
                (os.fsencode(item.name), item.is_file(follow_symlinks=False)) for item in found
            )
        for name, regular in names:
            if not (regular and self._regular(fd, name, prefix + name)):
                self._member(fd, name, prefix + name, depth)

    def _member(self, parent: int, name: bytes, called: bytes, depth: int) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            self._folder(parent, name, called, depth)
        elif kind == stat.S_IFREG:
            self._regular(parent, name, called)
        elif kind == stat.S_IFCHR and found.st_rdev == 0 and self._policy.layer:
            folder, slash, base = called.rpartition(b"/")
            self._put(self._entry(found, folder + slash + WHITEOUT + base, headers.REGULAR, mode=0))
        elif kind == stat.S_IFSOCK:
            self.sockets += 1
        else:
            self._node(parent, name, called, found, kind)

    def _folder(self, parent: int, name: bytes, called: bytes, depth: int) -> None:
        try:
            fd = os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return  # replaced meanwhile
            raise
        try:
            entry = self._entry(os.fstat(fd), called + b"/", headers.DIRECTORY)
            entry.xattrs, opaque = self._xattrs(fd)
            self._put(entry)
            if opaque and self._policy.layer:
                mark = Entry()
                mark.name, mark.mtime_ns = called + b"/" + OPAQUE, entry.mtime_ns
                self._put(mark)
            self._directory(fd, called + b"/", depth + 1)
        finally:
            os.close(fd)

    def _node(
        self, parent: int, name: bytes, called: bytes, found: os.stat_result, kind: int
    ) -> None:
        if found.st_nlink > 1 and self._linked(found, called):
            return
        if kind == stat.S_IFLNK:
            entry = self._entry(found, called, headers.SYMLINK)
            try:
                entry.link = os.readlink(name, dir_fd=parent)
            except OSError:
                return  # replaced meanwhile
        elif kind == stat.S_IFIFO:
            entry = self._entry(found, called, headers.FIFO)
        else:
            character = kind == stat.S_IFCHR
            entry = self._entry(found, called, headers.CHARACTER if character else headers.DEVICE)
            entry.device = (os.major(found.st_rdev), os.minor(found.st_rdev))
        entry.xattrs = self._node_xattrs(parent, name)
        self._put(entry)

    def _regular(self, parent: int, name: bytes, called: bytes) -> bool:
        """Pack a regular file; False when it is none (any more)."""
        try:
            fd = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return error.errno == errno.ENOENT
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return False
            if found.st_nlink > 1 and self._linked(found, called):
                return True
            size = found.st_size
            entry = self._entry(found, called, headers.REGULAR)
            if attributes := os.listxattr(fd):
                entry.xattrs = self._read_xattrs(fd, attributes)[0]
            entry.size = entry.stored = size
            if size > _WORTH_HOLES_BYTES and found.st_blocks * 512 + _WORTH_HOLES_BYTES < size:
                entry.pieces = _data_pieces(fd, size)
                entry.stored = sum(length for _, length in entry.pieces)
            self._put(entry)
            for offset, length in entry.pieces if entry.pieces is not None else ((0, size),):
                self._content(fd, offset, length)
            self._output.write(writing.padding(entry.stored))
        finally:
            os.close(fd)
        return True

    def _content(self, fd: int, offset: int, length: int) -> None:
        while length:
            data = os.pread(fd, min(length, _PIECE_BYTES), offset)
            if not data:
                data = bytes(min(length, _PIECE_BYTES))
            self._output.write(data)
            offset += len(data)
            length -= len(data)

    def _linked(self, found: os.stat_result, called: bytes) -> bool:
        """Write a hard link when the file is in the archive already."""
        key = (found.st_dev, found.st_ino)
        first = self._first_names.setdefault(key, called)
        if first == called:
            return False
        entry = self._entry(found, called, headers.LINK)
        entry.link = first
        self._put(entry)
        return True

    @staticmethod
    def _entry(found: os.stat_result, name: bytes, kind: bytes, mode: int | None = None) -> Entry:
        entry = Entry()
        entry.name, entry.kind = name, kind
        entry.mode = stat.S_IMODE(found.st_mode) if mode is None else mode
        entry.uid, entry.gid = found.st_uid, found.st_gid
        entry.mtime_ns = found.st_mtime_ns
        return entry

    def _xattrs(self, fd: int) -> tuple[dict[bytes, bytes] | None, bool]:
        attributes = os.listxattr(fd)
        return self._read_xattrs(fd, attributes) if attributes else (None, False)

    def _read_xattrs(
        self, fd: int, attributes: list[str]
    ) -> tuple[dict[bytes, bytes] | None, bool]:
        """The attributes to pack, and whether the directory is opaque."""
        found: dict[bytes, bytes] = {}
        opaque = False
        for attribute in attributes:
            if attribute.startswith(_OVERLAY) and self._policy.layer:
                if attribute == _OPAQUE_XATTR:
                    opaque = os.getxattr(fd, attribute) == b"y"
            elif not attribute.startswith(self._ignored):
                found[os.fsencode(attribute)] = os.getxattr(fd, attribute)
        return found or None, opaque

    def _node_xattrs(self, parent: int, name: bytes) -> dict[bytes, bytes] | None:
        os.fchdir(parent)  # there is no call for attributes that takes a directory descriptor
        try:
            attributes = os.listxattr(name, follow_symlinks=False)
            return {
                os.fsencode(attribute): os.getxattr(name, attribute, follow_symlinks=False)
                for attribute in attributes
                if not attribute.startswith(self._ignored)
            } or None
        except OSError:
            return None


def _data_pieces(fd: int, size: int) -> list[Piece]:
    """Where the file has data. Spec: lseek(2), SEEK_DATA."""
    pieces: list[Piece] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        if start >= size:
            break
        position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        pieces.append((start, position - start))
    if not pieces or pieces[-1][0] + pieces[-1][1] < size:
        pieces.append((size, 0))
    return pieces
