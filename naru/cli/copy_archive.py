"""`cp`'s archives: packing what lies here, and unpacking what a container sent.

An archive from a container is not trusted: every name is walked from the destination with
directory descriptors that follow no link, so nothing lands outside of it.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

from naru.cli.command import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 512
CHUNK_BYTES = 1 << 20
_FOLLOW_NOT = os.O_NOFOLLOW | os.O_CLOEXEC


def pack(path: str, name: str, follow: bool) -> Iterator[bytes]:
    """The file or tree at `path` as a tar stream whose root entry is `name` (`.` for contents)."""
    maker = tarfile.TarFile(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT)
    path = os.path.realpath(path) if follow else path
    yield from _pack_one(maker, path, name)
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, folders, files in os.walk(path):
            folders.sort()
            inner = os.path.relpath(folder, path)
            for entry in sorted(folders + files):
                rest = entry if inner == "." else os.path.join(inner, entry)
                yield from _pack_one(maker, os.path.join(folder, entry), f"{name}/{rest}")
            folders[:] = [one for one in folders if not os.path.islink(f"{folder}/{one}")]
    yield b"\0" * (2 * BLOCK)


def _pack_one(maker: tarfile.TarFile, path: str, name: str) -> Iterator[bytes]:
    if stat.S_ISSOCK(os.lstat(path).st_mode):
        return
    info = maker.gettarinfo(path, arcname=name)
    if not info.isreg():
        yield info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
        return
    with open(path, "rb") as file:
        yield info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
        left = info.size
        while left:
            data = file.read(min(CHUNK_BYTES, left))
            if not data:
                raise CommandError(f"{path} became shorter while it was copied")
            left -= len(data)
            yield data
    yield b"\0" * (-info.size % BLOCK)


class ChunkFile(io.RawIOBase):
    """Chunks as a file to read from, once and forward."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            more = next(self._chunks, b"")
            if not more:
                break
            self._rest += more
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def unpack(chunks: Iterable[bytes], target: str, rename: str | None, keep_owner: bool) -> None:
    """Unpack a tar stream into the directory `target`.

    `rename`: what the root entry is called here (empty: its contents go straight into `target`),
    None to keep its name. Raises: CommandError for an entry that would leave `target`.
    """
    folder_times: list[tuple[str, float]] = []
    with tarfile.open(fileobj=ChunkFile(chunks), mode="r|", errorlevel=2) as archive:
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for member in archive:
                parts = _renamed(member.name, rename)
                if parts:
                    _place(archive, member, root, parts, rename, keep_owner)
                    if member.isdir():
                        folder_times.append(("/".join(parts), member.mtime))
            for path, when in reversed(folder_times):
                with suppress(OSError):
                    os.utime(path, (when, when), dir_fd=root, follow_symlinks=False)
        finally:
            os.close(root)


def _renamed(name: str, rename: str | None) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CommandError(f"the archive names {name!r}, which leaves the destination")
    if rename is None or not parts:
        return parts
    return [rename, *parts[1:]] if rename else parts[1:]


def _parent(root: int, parts: list[str]) -> int:
    """A descriptor of the entry's folder below `root`; missing folders are made."""
    here = os.dup(root)
    for part in parts[:-1]:
        with suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=here)
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _FOLLOW_NOT, dir_fd=here)
        except OSError as error:
            raise CommandError(f"cannot unpack below {'/'.join(parts)}: {error}") from error
        finally:
            os.close(here)
        here = inner
    return here


def _place(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: int,
    parts: list[str],
    rename: str | None,
    keep_owner: bool,
) -> None:
    parent, name = _parent(root, parts), parts[-1]
    try:
        if member.isdir():
            _make_folder(parent, name)
        else:
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise CommandError(f'cannot overwrite directory "{name}" with non-directory')
                os.unlink(name, dir_fd=parent)
            _make_file(archive, member, root, parent, name, rename)
        _dress(member, parent, name, keep_owner)
    finally:
        os.close(parent)


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise CommandError(f'cannot overwrite non-directory "{name}" with directory') from None


def _make_file(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    root: int,
    parent: int,
    name: str,
    rename: str | None,
) -> None:
    if member.issym():
        os.symlink(member.linkname, name, dir_fd=parent)
    elif member.islnk():
        source = _renamed(member.linkname, rename)
        folder = _parent(root, source)
        try:
            os.link(source[-1], name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(folder)
    elif member.isfifo():
        os.mkfifo(name, 0o600, dir_fd=parent)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        device = os.makedev(member.devmajor, member.devminor)
        os.mknod(name, kind | 0o600, device, dir_fd=parent)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOT
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
            content = archive.extractfile(member)
            while content is not None and (data := content.read(CHUNK_BYTES)):
                file.write(data)


def _dress(member: tarfile.TarInfo, parent: int, name: str, keep_owner: bool) -> None:
    if keep_owner:
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    if not member.issym() and not member.islnk():
        os.chmod(name, member.mode & 0o7777, dir_fd=parent)
        os.utime(name, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
