"""Reading, writing and walking the files of one cgroup hierarchy."""

import contextlib
import errno
import os
from collections.abc import Iterator

_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)


def read(path: str) -> str | None:
    """The file's text, None when it or its group is not there (any more)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")
    except OSError as error:
        if error.errno in (*_GONE, errno.EOPNOTSUPP):
            return None
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)


def write(path: str, value: str) -> None:
    """Raises: OSError naming the file, ENOENT when this kernel has none of that name."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)


def number(path: str) -> int | None:
    """A file of one number; None when it is missing or says `max`."""
    text = (read(path) or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def table(path: str) -> dict[str, int]:
    """A file of `key value` lines."""
    found = {}
    for line in (read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if value.strip().lstrip("-").isdigit():
            found[key] = int(value)
    return found


def groups(directory: str) -> Iterator[str]:
    """`directory` and every group below it, the deepest first."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return
        raise
    for path in below:
        yield from groups(path)
    yield directory


def processes(directory: str) -> set[int]:
    """Every process in `directory` and below; those of other pid namespaces (0) left out."""
    found: set[int] = set()
    for group in groups(directory):
        found.update(int(word) for word in (read(f"{group}/cgroup.procs") or "").split())
    return found - {0}


def remove(directory: str) -> bool:
    """Removes the group and those below. False when a process is (still) in one."""
    for group in groups(directory):
        try:
            os.rmdir(group)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno not in _GONE:
                raise
    return True


def ancestors(mount: str, path: str) -> list[str]:
    """The directories of `path` below `mount`, the topmost first, `path`'s own last."""
    found, current = [], mount
    for part in path.strip("/").split("/"):
        current = f"{current}/{part}"
        found.append(current)
    return found


def make(directory: str) -> bool:
    """False when it was there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o755)
        return True
    return False
