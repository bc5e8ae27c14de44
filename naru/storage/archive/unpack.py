"""Writing an archive's entries below a directory: contents, owners, modes, times, attributes.

Directories get their metadata at the very end, so that neither a set-group-ID bit, a default ACL
nor a read-only mode disturbs what is written into them. In a layer, `.wh.NAME` becomes overlayfs'
whiteout (character device 0/0) and `.wh..wh..opq` an opaque directory; the attribute that makes it
opaque is left to the caller, since the process that reads hostile archives lacks the privilege.
A layer's file that a later entry of the same archive replaces is kept in `spill`, so that the
archive can still be rebuilt.

Spec: OCI image specification, layer.md, "Applying Changesets".
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from naru.kernel.files import remove_tree
from naru.storage.archive import headers
from naru.storage.archive.headers import ArchiveError, Entry, show
from naru.storage.archive.reading import Reader
from naru.storage.archive.tree import Tree, clean, join

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_META = b".wh..wh."
_OPAQUE_XATTR = ("trusted.overlay.opaque", b"y")
_MAX_ENTRIES = 5_000_000
_CHECK_ENTRIES = 4096
_CHECK_BYTES = 256 << 20
_RESERVE_BYTES = 64 << 20
_MAX_DEFERRED = 50_000
_MAX_SPILLS = 100_000
_HOLE_BYTES = 1 << 20
_ZEROS = bytes(_HOLE_BYTES)
_PAGE = bytes(4096)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE_TYPES = {
    headers.CHARACTER: stat.S_IFCHR,
    headers.DEVICE: stat.S_IFBLK,
    headers.FIFO: stat.S_IFIFO,
}
_HOSTILE_ERRNO = (
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EMLINK,
    errno.EXDEV, errno.EFBIG, errno.E2BIG, errno.EOVERFLOW, errno.ENOENT, errno.EEXIST,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """How entries are written.

    layer: translate whiteouts, keep what is replaced. owner: give everything to these ids.
    keep_kinds: a directory never replaces another thing, nor the other way round. whole: the top
    directory becomes what the archive says of it, and no attribute is left out.
    """

    layer: bool = False
    whole: bool = False
    owner: tuple[int, int] | None = None
    keep_kinds: bool = False


@dataclass(slots=True)
class Unpacked:
    """What was written. `deferred`: attributes that need more privilege, by canonical name.

    `aliases` and `spills` are for `recipe`: payloads that do not lie where their name says.
    """

    entries: int = 0
    size_bytes: int = 0
    deferred: list[tuple[bytes, str, bytes]] = field(default_factory=list)
    aliases: dict[int, bytes] = field(default_factory=dict)
    spills: list[tuple[int, bytes]] = field(default_factory=list)


def is_marker(path: bytes) -> bool:
    """Whether a layer's entry says something about other files instead of being one."""
    if WHITEOUT not in path:
        return False
    *above, name = path.rstrip(b"/").split(b"/")
    return name.startswith(WHITEOUT) or any(part.startswith(_META) for part in above)


def has_layer_payload(entry: Entry) -> bool:
    """Whether a layer's entry becomes a file with content."""
    return entry.kind == headers.REGULAR and not is_marker(entry.name)


class Unpacker:
    """Writes the entries of one archive into `tree`; used once, in one thread, as root."""

    def __init__(self, tree: Tree, policy: Policy, spill_fd: int = -1) -> None:
        self._tree = tree
        self._policy = policy
        self._spill_fd = spill_fd
        self._directories: dict[bytes, Entry] = {}
        self._result = Unpacked()
        mask = os.umask(0o022)
        os.umask(mask)
        self._masked = mask != 0
        self._chown_root = not policy.layer

    def run(self, reader: Reader) -> Unpacked:
        """Write everything that `reader` yields. Raises: ArchiveError, OSError of the disk."""
        result = self._result
        check_entries, check_bytes = _CHECK_ENTRIES, _CHECK_BYTES
        name = b""
        try:
            while (entry := reader.next()) is not None:
                name = entry.name
                self._entry(entry, reader)
                result.entries += 1
                if result.entries >= check_entries or result.size_bytes >= check_bytes:
                    self._check_room()
                    check_entries = result.entries + _CHECK_ENTRIES
                    check_bytes = result.size_bytes + _CHECK_BYTES
            self._finish_directories()
        except OSError as error:
            if error.errno in _HOSTILE_ERRNO:
                raise ArchiveError(f"cannot unpack {show(name)}: {error.strerror}") from error
            raise
        finally:
            self._tree.forget()
        return result

    def _check_room(self) -> None:
        """Stop before the disk is full to the last byte or inode, which others need to end well.

        Raises: ArchiveError, OSError.
        """
        if self._result.entries > _MAX_ENTRIES:
            raise ArchiveError(f"refused: the archive has more than {_MAX_ENTRIES} entries")
        disk = os.fstatvfs(self._tree.root_fd)
        reserve = min(_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 50)
        if disk.f_bavail * disk.f_frsize < reserve or disk.f_favail < disk.f_files // 50:
            raise OSError(errno.ENOSPC, "no space left on device for the archive's files")

    def _entry(self, entry: Entry, reader: Reader) -> None:
        path = entry.name.rstrip(b"/") or entry.name
        parent, _, name = path.rpartition(b"/")
        if path.startswith(b"/") or name in (b"", b".", b".."):
            path = clean(path)
            if entry.kind != headers.DIRECTORY:
                raise ArchiveError(f"refused: {show(entry.name)} cannot be the name of a file")
            if not path and self._policy.whole:
                self._directories[b""] = entry
            if not path:
                return  # the root itself keeps what it has, as in Docker
            parent, _, name = path.rpartition(b"/")
        if self._policy.layer and WHITEOUT in path and self._whiteout(path, parent, name):
            return
        if self._policy.owner is not None:
            entry.uid, entry.gid = self._policy.owner
        directory, canonical, linked = self._tree.place(parent)
        here = join(canonical, name)
        if linked and self._policy.layer and entry.kind == headers.REGULAR:
            self._result.aliases[self._result.entries] = here
        match entry.kind:
            case headers.REGULAR:
                self._file(entry, reader, directory, name, here)
            case headers.DIRECTORY:
                self._directory(entry, directory, name, here)
            case headers.SYMLINK:
                self._symlink(entry, directory, name, here)
            case headers.LINK:
                self._link(entry, directory, name, here)
            case headers.CHARACTER | headers.DEVICE | headers.FIFO:
                self._node(entry, directory, name, here)
            case _:
                return  # a type that nobody defined a file for: skipped, as everybody does

    def _file(self, entry: Entry, reader: Reader, parent: int, name: bytes, here: bytes) -> None:
        try:
            fd = os.open(name, _WRITE, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            parent = self._clear_way(entry, parent, name, here)
            fd = os.open(name, _WRITE, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.pieces is not None:
                _write_sparse(fd, entry, reader)
            elif entry.stored:
                _write_payload(fd, entry, reader)
            if entry.uid or entry.gid or self._chown_root:
                os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & 0o7000 or self._masked:
                os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(fd, entry.xattrs, here)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self._result.size_bytes += entry.size

    def _directory(self, entry: Entry, parent: int, name: bytes, here: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            existing = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(existing.st_mode):
                was_whiteout = stat.S_ISCHR(existing.st_mode) and existing.st_rdev == 0
                parent = self._clear_way(entry, parent, name, here)
                os.mkdir(name, 0o700, dir_fd=parent)
                if was_whiteout and self._policy.layer:
                    self._defer(here, *_OPAQUE_XATTR)
        self._directories[here] = entry

    def _symlink(self, entry: Entry, parent: int, name: bytes, here: bytes) -> None:
        try:
            os.symlink(entry.link, name, dir_fd=parent)
        except FileExistsError:
            parent = self._clear_way(entry, parent, name, here)
            os.symlink(entry.link, name, dir_fd=parent)
        self._finish_node(entry, parent, name, here, chmod=False)
        self._result.size_bytes += len(entry.link)

    def _link(self, entry: Entry, parent: int, name: bytes, here: bytes) -> None:
        target = clean(entry.link)
        folder, _, target_name = target.rpartition(b"/")
        source, target_folder, _ = self._tree.place(folder)
        if join(target_folder, target_name) == here:
            return
        for _ in range(2):
            try:
                os.link(
                    target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
                )
                return
            except FileExistsError:
                parent = self._clear_way(entry, parent, name, here)
                source, _, _ = self._tree.place(folder)
            except (FileNotFoundError, PermissionError) as error:
                missing = isinstance(error, FileNotFoundError)
                reason = "which the archive has not brought" if missing else "which is a directory"
                raise ArchiveError(
                    f"refused: {show(entry.name)} is a hard link to {show(entry.link)}, {reason}"
                ) from None
        raise ArchiveError(f"cannot unpack {show(entry.name)}: its place is taken")

    def _node(self, entry: Entry, parent: int, name: bytes, here: bytes) -> None:
        mode = _NODE_TYPES[entry.kind] | (entry.mode & 0o777)
        major, minor = entry.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise ArchiveError(f"refused: {show(entry.name)} has device number {major}:{minor}")
        device = os.makedev(major, minor) if entry.kind != headers.FIFO else 0
        try:
            os.mknod(name, mode, device, dir_fd=parent)
        except FileExistsError:
            parent = self._clear_way(entry, parent, name, here)
            os.mknod(name, mode, device, dir_fd=parent)
        self._finish_node(entry, parent, name, here, chmod=True)

    def _finish_node(
        self, entry: Entry, parent: int, name: bytes, here: bytes, *, chmod: bool
    ) -> None:
        """Owner, mode, attributes and times of what cannot be opened."""
        if entry.uid or entry.gid or self._chown_root:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if chmod and (entry.mode & 0o7000 or self._masked):
            os.chmod(name, entry.mode, dir_fd=parent)
        if entry.xattrs:
            self._set_node_xattrs(parent, name, entry.xattrs, here)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _whiteout(self, path: bytes, parent: bytes, name: bytes) -> bool:
        """Handle a whiteout; False when `path` is an ordinary name after all."""
        above = parent.split(b"/")
        if any(part.startswith(_META) for part in above):
            return True  # aufs kept its own data there
        if any(part.startswith(WHITEOUT) for part in above):
            raise ArchiveError(f"refused: {show(path)} lies below a whiteout")
        if not name.startswith(WHITEOUT):
            return False
        directory, canonical, _ = self._tree.place(parent)
        if name == OPAQUE:
            self._defer(canonical, *_OPAQUE_XATTR)
            return True
        if name.startswith(_META):
            return True
        hidden = name.removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise ArchiveError(f"refused: {show(path)} is a whiteout of no file")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=directory)
        except FileExistsError:
            existing = os.stat(hidden, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(existing.st_mode):
                self._defer(join(canonical, hidden), *_OPAQUE_XATTR)
        return True

    def _clear_way(self, entry: Entry, parent: int, name: bytes, here: bytes) -> int:
        """Take away what has the entry's name; the parent's descriptor, which may be a new one."""
        existing = os.stat(name, dir_fd=parent, follow_symlinks=False)
        is_directory = stat.S_ISDIR(existing.st_mode)
        if self._policy.keep_kinds and is_directory != (entry.kind == headers.DIRECTORY):
            old, new = ("", "non-") if is_directory else ("non-", "")
            raise ArchiveError(
                f'cannot overwrite {old}directory "/{show(here)}"'
                f' with {new}directory "/{show(self._tree.base)}"'
            )
        if self._policy.layer and (is_directory or stat.S_ISREG(existing.st_mode)):
            self._spill(parent, name, here)
        elif is_directory:
            _remove(parent, name)
        else:
            os.unlink(name, dir_fd=parent)
        if not is_directory and not stat.S_ISLNK(existing.st_mode):
            return parent
        if is_directory:
            below = here + b"/"
            for gone in [d for d in self._directories if d == here or d.startswith(below)]:
                del self._directories[gone]
        self._tree.forget()
        return self._tree.place_canonical(here.rpartition(b"/")[0])

    def _spill(self, parent: int, name: bytes, here: bytes) -> None:
        ordinal = self._result.entries
        if len(self._result.spills) >= _MAX_SPILLS:
            raise ArchiveError(
                f"refused: the archive replaces more than {_MAX_SPILLS} of its files"
            )
        os.rename(name, b"%d" % ordinal, src_dir_fd=parent, dst_dir_fd=self._spill_fd)
        self._result.spills.append((ordinal, here))

    def _defer(self, here: bytes, attribute: str, value: bytes) -> None:
        if len(self._result.deferred) >= _MAX_DEFERRED:
            raise ArchiveError(f"refused: more than {_MAX_DEFERRED} opaque directories")
        self._result.deferred.append((here, attribute, value))

    def _set_xattrs(self, fd: int | bytes, xattrs: dict[bytes, bytes], here: bytes) -> None:
        """Set attributes; what this file system or kind of file cannot have is left out."""
        for raw, value in xattrs.items():
            attribute = os.fsdecode(raw)
            if attribute.startswith("trusted."):
                if self._policy.whole or not attribute.startswith("trusted.overlay."):
                    self._defer(here, attribute, value)
                continue
            try:
                if isinstance(fd, int):
                    os.setxattr(fd, attribute, value)
                else:
                    os.setxattr(fd, attribute, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise

    def _set_node_xattrs(
        self, parent: int, name: bytes, xattrs: dict[bytes, bytes], here: bytes
    ) -> None:
        with _inside(parent):
            self._set_xattrs(name, xattrs, here)

    def _finish_directories(self) -> None:
        for here, entry in self._directories.items():
            try:
                fd = self._tree.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # replaced from outside, or by a later entry
                raise
            try:
                os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
                if entry.xattrs:
                    self._set_xattrs(fd, entry.xattrs, here)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)


def _write_payload(fd: int, entry: Entry, reader: Reader) -> None:
    view = reader.whole()
    if view is not None and len(view) < _HOLE_BYTES:
        written = os.write(fd, view)
        while written < len(view):
            written += os.write(fd, view[written:])
        return
    end_is_hole = False
    for piece in reader.payload() if view is None else (view,):
        for at in range(0, len(piece), _HOLE_BYTES):
            end_is_hole = _write_or_skip(fd, piece[at : at + _HOLE_BYTES])
    if end_is_hole:
        os.ftruncate(fd, entry.size)


def _write_or_skip(fd: int, piece: memoryview) -> bool:
    """Write `piece`, or leave a hole (True) when it is a large run of zeros."""
    if len(piece) == _HOLE_BYTES and piece[:4096] == _PAGE and bytes(piece) == _ZEROS:
        os.lseek(fd, _HOLE_BYTES, os.SEEK_CUR)
        return True
    while piece:
        piece = piece[os.write(fd, piece) :]
    return False


def _write_sparse(fd: int, entry: Entry, reader: Reader) -> None:
    for offset, length in entry.pieces or ():
        os.lseek(fd, offset, os.SEEK_SET)
        for piece in reader.payload(length):
            rest = piece
            while rest:
                rest = rest[os.write(fd, rest) :]
    os.ftruncate(fd, entry.size)


@contextlib.contextmanager
def _inside(directory: int) -> Iterator[None]:
    """With `directory` as the working directory: for calls that take no directory descriptor."""
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(directory)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _remove(parent: int, name: bytes) -> None:
    with _inside(parent):
        remove_tree(os.fsdecode(name))
