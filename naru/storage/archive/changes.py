"""What a container changed, path by path: its upper directory against its image's layers.

Spec: Engine API, ContainerChanges (`docker diff`): a changed path's parents are named as modified.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from naru.kernel.files import open_beneath

MODIFIED, ADDED, DELETED = 0, 1, 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE = os.O_PATH | os.O_NOFOLLOW
_OPAQUE_XATTR = "trusted.overlay.opaque"
_MAX_DEPTH = 900


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is absolute inside the container; kind as the constants above."""

    path: str
    kind: int


class Comparison:
    """Compares one upper directory with its lower ones, the topmost first; used once."""

    def __init__(self, lowers: Sequence[str]) -> None:
        self._lowers = [os.open(lower, os.O_PATH | os.O_DIRECTORY) for lower in lowers]
        self._changes: list[Change] = []
        self._named: set[bytes] = set()

    def run(self, upper: str) -> list[Change]:
        """The changes in the order of paths. Raises: OSError."""
        fd = os.open(upper, _FOLDER)
        try:
            self._directory(fd, b"", 0)
        finally:
            os.close(fd)
            for lower in self._lowers:
                os.close(lower)
        return self._changes

    def _directory(self, fd: int, prefix: bytes, depth: int) -> None:
        if depth > _MAX_DEPTH:
            return
        for name in sorted(os.fsencode(name) for name in os.listdir(fd)):
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            path = prefix + b"/" + name
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                self._add(path, DELETED)
            elif not stat.S_ISDIR(found.st_mode):
                self._add(path, MODIFIED if self._below(path) is not None else ADDED)
            else:
                self._folder(fd, name, path, found, depth)

    def _folder(
        self, parent: int, name: bytes, path: bytes, found: os.stat_result, depth: int
    ) -> None:
        try:
            fd = os.open(name, _FOLDER, dir_fd=parent)
        except OSError:
            return  # replaced meanwhile
        try:
            below = self._below(path)
            if below is None:
                self._add(path, ADDED)
            elif _is_opaque(fd):
                self._add(path, DELETED)
            elif not _same(below, found):
                self._add(path, MODIFIED)
            self._directory(fd, path, depth + 1)
        finally:
            os.close(fd)

    def _add(self, path: bytes, kind: int) -> None:
        parent = path.rpartition(b"/")[0]
        if kind != MODIFIED and parent and parent not in self._named:
            self._named.add(parent)
            self._changes.append(Change(os.fsdecode(parent), MODIFIED))
        self._named.add(path)
        self._changes.append(Change(os.fsdecode(path), kind))

    def _below(self, path: bytes) -> os.stat_result | None:
        """What the layers have at `path`, None when nothing, or it was deleted."""
        for lower in self._lowers:
            try:
                fd = open_beneath(lower, path[1:], _NODE)
            except OSError:
                continue
            try:
                found = os.fstat(fd)
            finally:
                os.close(fd)
            gone = stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
            return None if gone else found
        return None


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _same(below: os.stat_result, found: os.stat_result) -> bool:
    """Whether a directory is in the upper layer only for the sake of what is in it."""
    return stat.S_ISDIR(below.st_mode) and (
        below.st_mode,
        below.st_uid,
        below.st_gid,
        below.st_mtime_ns,
    ) == (found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns)


def usage(path: str) -> int:
    """Bytes of the files below `path`, a hard-linked one counted once. Raises: OSError."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, _, names, fd in os.fwalk(path, follow_symlinks=False):
        for name in names:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if found.st_nlink > 1:
                key = (found.st_dev, found.st_ino)
                if key in seen:
                    continue
                seen.add(key)
            if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                total += found.st_size
    return total
