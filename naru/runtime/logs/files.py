"""A log's files: `path` is written to, `path.1` is the one before it, `path.2` older still.

Rotation renames, and conmon then makes a new `path`; while it does, `path` may be missing and
`path.1` still grows. Open files are told apart by inode, so renames under a reader do no harm.
"""

import contextlib
import os

_BLOCK_BYTES = 65536
_TAG_AT = 43


def numbered(path: str) -> list[int]:
    """Numbers of the rotated files that exist, newest (1) first."""
    folder, name = os.path.split(path)
    prefix = name + "."
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.listdir(folder or "."):
            suffix = entry.removeprefix(prefix)
            if suffix != entry and suffix.isdigit():
                found.append(int(suffix))
    return sorted(found)


def existing(path: str) -> list[str]:
    """The files that exist, oldest first."""
    names = [f"{path}.{number}" for number in reversed(numbered(path))]
    return [*names, path] if os.path.exists(path) else names


def open_all(path: str) -> list[int]:
    """Descriptors of all files, oldest first; the caller closes them."""
    fds: list[int] = []
    for name in existing(path):
        with contextlib.suppress(FileNotFoundError):
            fds.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    return fds


def open_after(path: str, fd: int) -> int | None:
    """The file that came after the open one; None while that is the newest.

    When the open file was removed meanwhile (its reader was slow), that is the oldest one left.
    """
    current = os.fstat(fd).st_ino
    names = existing(path)
    following = 0
    for position, name in enumerate(names):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name, follow_symlinks=False).st_ino == current:
                following = position + 1
    if following >= len(names):
        return None
    try:
        return os.open(names[following], os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def size_bytes(path: str) -> int:
    """Disk space that the log's files take up, in bytes of content."""
    total = 0
    for name in existing(path):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(name, follow_symlinks=False).st_size
    return total


def remove(path: str) -> None:
    """All files of the log. Idempotent."""
    for name in [*existing(path), f"{path}.tmp"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def tail_position(fds: list[int], lines: int) -> tuple[int, int]:
    """Where the last `lines` lines begin: (index in `fds`, offset). Reads backwards.

    Pieces of one line count once, at their end; a last line that has not ended counts too.
    """
    count = _Tail(lines)
    for index in range(len(fds) - 1, -1, -1):
        offset = _scan(fds[index], count)
        if offset is not None:
            return index, offset
    return 0, 0


class _Tail:
    def __init__(self, lines: int) -> None:
        self.left = lines
        self.first = True

    def passes(self, record: bytes) -> bool:
        """Takes a record from the end; True when it belongs to a line before the last ones."""
        whole = record[_TAG_AT : _TAG_AT + 1] == b"F"
        if self.first:
            self.first = False
            if not whole and record:
                self.left -= 1
        if whole:
            self.left -= 1
        return self.left < 0


def _scan(fd: int, count: _Tail) -> int | None:
    """The offset at which the wanted lines begin in this file, None when all of it is wanted."""
    position = os.fstat(fd).st_size
    rest = b""
    whole_end: int | None = None
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        block = os.pread(fd, size, position) + rest
        if whole_end is None:  # what stands after the last newline is still being written
            block = block[: block.rfind(b"\n") + 1]
            whole_end = position + len(block)
            if not block:
                whole_end = None
                continue
        first = block.find(b"\n") + 1 if position > 0 else 0
        if position > 0 and (first == 0 or first == len(block)):
            rest = block
            continue
        records = block[first:].removesuffix(b"\n").split(b"\n")
        end = position + len(block)
        for record in reversed(records):
            if count.passes(record):
                return end
            end -= len(record) + 1
        rest = block[:first]
    return None
