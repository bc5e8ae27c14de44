"""Directories of the tree that is being written, reached by descriptor and never by trust.

A name of an archive is cleaned, its parent directory is found beneath the root one component at a
time where it must be, and links on the way are resolved as a process whose root this is would do;
a link that climbs above the root, or leads nowhere, ends the unpacking. Every result carries its
*canonical* name, the one without links.
"""

import contextlib
import errno
import os
import stat

from naru.kernel.files import open_beneath
from naru.storage.archive.headers import ArchiveError, show

_MAX_OPEN = 400
_MAX_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_NODE = os.O_PATH | os.O_NOFOLLOW
IMPLIED_MODE = 0o755

Place = tuple[int, bytes, bool]


def clean(name: bytes) -> bytes:
    """`name` without `.`, `..` and double slashes; empty for the root itself.

    Raises: ArchiveError for an absolute name and for one that leaves the root.
    """
    if name.startswith(b"/"):
        raise ArchiveError(
            f"refused: {show(name)} is an absolute path; make the archive with relative names"
        )
    kept: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not kept:
                raise ArchiveError(f"refused: {show(name)} is outside of the archive's root")
            kept.pop()
        elif part not in (b"", b"."):
            kept.append(part)
    return b"/".join(kept)


def join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent and name else parent or name


class Tree:
    """The tree below `root_fd`; names of the archive are relative to its directory `base`."""

    def __init__(self, root_fd: int, base: bytes = b"") -> None:
        self.root_fd = root_fd
        self.base = base
        self._places: dict[bytes, Place] = {}

    def place(self, directory: bytes) -> Place:
        """The directory that an archive calls `directory`: descriptor, canonical name, whether a
        link was followed. It is made when missing. The descriptor stays ours.

        Raises: ArchiveError, OSError.
        """
        found = self._places.get(directory)
        if found is None:
            if len(self._places) >= _MAX_OPEN:
                self.forget()
            found = self._places[directory] = self._find(join(self.base, clean(directory)))
        return found

    def place_canonical(self, canonical: bytes) -> int:
        """The directory of a canonical name; the descriptor stays ours. Raises: OSError."""
        key = b"/" + canonical  # no name of an archive in the cache begins so
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = (self.open(canonical, _DIRECTORY), canonical, False)
        return found[0]

    def forget(self) -> None:
        """Close every directory: to be called whenever a directory or link went away."""
        for fd, _, _ in self._places.values():
            os.close(fd)
        self._places.clear()

    def open(self, canonical: bytes, flags: int) -> int:
        """Open a canonical name, following nothing. Raises: OSError."""
        return open_beneath(self.root_fd, canonical or b".", flags)

    def _find(self, path: bytes) -> Place:
        try:
            return self.open(path, _DIRECTORY), path, False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise
        canonical, linked = self._resolve(path)
        return self.open(canonical, _DIRECTORY), canonical, linked

    def _resolve(self, path: bytes) -> tuple[bytes, bool]:
        waiting = path.split(b"/")[::-1]
        at: list[bytes] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not at:
                    raise ArchiveError(
                        f"refused: a link on the way to {show(path)} leaves the root"
                    )
                at.pop()
                continue
            here = b"/".join((*at, part))
            try:
                fd = self.open(here, _NODE)
            except FileNotFoundError:
                if links:
                    raise ArchiveError(
                        f"refused: {show(path)} leads through a link to nothing"
                    ) from None
                self._make(b"/".join(at), part)
                at.append(part)
                continue
            try:
                mode = os.fstat(fd).st_mode
                if stat.S_ISDIR(mode):
                    at.append(part)
                elif stat.S_ISLNK(mode):
                    links += 1
                    if links > _MAX_LINKS:
                        raise ArchiveError(f"refused: too many links on the way to {show(path)}")
                    target = os.readlink(b"", dir_fd=fd)
                    if target.startswith(b"/"):
                        at.clear()
                    waiting += target.split(b"/")[::-1]
                else:
                    raise ArchiveError(f"refused: a parent of {show(path)} is not a directory")
            finally:
                os.close(fd)
        return b"/".join(at), links > 0

    def _make(self, parent: bytes, name: bytes) -> None:
        fd = self.open(parent, _DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, IMPLIED_MODE, dir_fd=fd)
        finally:
            os.close(fd)
