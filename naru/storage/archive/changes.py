"""What a container changed, path by path: its upper directory against its image's layers.

A file counts as changed when its mode, owner, device, size or time differs; a directory when its
mode or owner does, or when something below it changed. Nothing is followed, everything is reached
by descriptor.

Spec: Engine API, ContainerChanges (`docker diff`).
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

MODIFIED, ADDED, DELETED = 0, 1, 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE_XATTR = "trusted.overlay.opaque"
_MAX_DEPTH = 250


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is absolute inside the container; kind as the constants above."""

    path: str
    kind: int


class Stack:
    """One directory as several overlayfs layers show it, the topmost first."""

    def __init__(self, folders: Sequence[int]) -> None:
        """Takes the descriptors over: `close` closes them."""
        self._folders = folders

    @classmethod
    def open(cls, paths: Sequence[str]) -> "Stack":
        return cls([os.open(path, _FOLDER) for path in paths])

    def find(self, name: bytes) -> os.stat_result | None:
        """What is visible as `name`, None when nothing is."""
        for folder in self._folders:
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            return None if is_whiteout(found) else found
        return None

    def enter(self, name: bytes) -> "Stack":
        """The directory `name`, empty when no directory is visible there."""
        found: list[int] = []
        for folder in self._folders:
            try:
                fd = os.open(name, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError:
                break  # something else hides what the layers below have
            found.append(fd)
            if is_opaque(fd):
                break
        return Stack(found)

    def names(self) -> set[bytes]:
        """Every visible name."""
        hidden: set[bytes] = set()
        shown: set[bytes] = set()
        for folder in self._folders:
            for name in map(os.fsencode, os.listdir(folder)):
                if name in shown or name in hidden:
                    continue
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                (hidden if is_whiteout(found) else shown).add(name)
        return shown

    @property
    def top(self) -> int | None:
        """The descriptor of the topmost directory."""
        return self._folders[0] if self._folders else None

    def close(self) -> None:
        for folder in self._folders:
            os.close(folder)
        self._folders = ()


def compare(upper: str, lowers: Sequence[str]) -> list[Change]:
    """The changes in the order of paths, a directory before what is in it. Raises: OSError."""
    changes: list[Change] = []
    below = Stack.open(lowers)
    fd = os.open(upper, _FOLDER)
    try:
        _compare(fd, below, b"", changes, covered=False)
    finally:
        os.close(fd)
        below.close()
    return changes


def _compare(fd: int, below: Stack, path: bytes, changes: list[Change], *, covered: bool) -> None:
    """`covered`: the directory, or one above it, hides what is below instead of adding to it."""
    names = {os.fsencode(name) for name in os.listdir(fd)}
    covered = covered or is_opaque(fd)
    gone = below.names() - names if covered else set()
    for name in sorted(names | gone):
        called = path + b"/" + name
        before = below.find(name)
        if name in gone:
            changes.append(Change(os.fsdecode(called), DELETED))
            continue
        try:
            now = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if is_whiteout(now):
            if before is not None:
                changes.append(Change(os.fsdecode(called), DELETED))
            continue
        at = len(changes)
        if stat.S_ISDIR(now.st_mode):
            _descend(fd, below, name, called, changes, covered)
        if before is None:
            changes.insert(at, Change(os.fsdecode(called), ADDED))
        elif len(changes) > at or _differs(before, now):
            changes.insert(at, Change(os.fsdecode(called), MODIFIED))


def _descend(
    parent: int, below: Stack, name: bytes, path: bytes, changes: list[Change], covered: bool
) -> None:
    if path.count(b"/") > _MAX_DEPTH:
        return
    try:
        fd = os.open(name, _FOLDER, dir_fd=parent)
    except OSError:
        return  # replaced meanwhile
    entered = below.enter(name)
    try:
        _compare(fd, entered, path, changes, covered=covered)
    finally:
        os.close(fd)
        entered.close()


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _differs(before: os.stat_result, now: os.stat_result) -> bool:
    if (before.st_mode, before.st_uid, before.st_gid, before.st_rdev) != (
        now.st_mode,
        now.st_uid,
        now.st_gid,
        now.st_rdev,
    ):
        return True
    return not stat.S_ISDIR(now.st_mode) and (
        before.st_size != now.st_size or before.st_mtime_ns != now.st_mtime_ns
    )


def usage(path: str) -> int:
    """Bytes of the files below `path`, a hard-linked one counted once. Raises: OSError."""
    fd = os.open(path, _FOLDER)
    try:
        return _usage(fd, 0, set())
    finally:
        os.close(fd)


def _usage(fd: int, depth: int, seen: set[tuple[int, int]]) -> int:
    total = 0
    for name in os.listdir(fd):
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                key = (found.st_dev, found.st_ino)
                total += 0 if key in seen else found.st_size
                if found.st_nlink > 1:
                    seen.add(key)
            elif depth < _MAX_DEPTH:
                with contextlib.suppress(OSError):  # replaced meanwhile
                    child = os.open(name, _FOLDER, dir_fd=fd)
                    try:
                        total += _usage(child, depth + 1, seen)
                    finally:
                        os.close(child)
    return total
