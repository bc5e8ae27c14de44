"""inotify: which watched folders something was written to, renamed into or made in."""

import ctypes
import os
import struct

from naru.kernel import syscalls

MODIFY = 0x02
MOVED_TO = 0x80
CREATE = 0x100
OVERFLOW = 0x4000
IGNORED = 0x8000

_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 65536


class FolderWatch:
    """One inotify instance. Not thread safe."""

    def __init__(self) -> None:
        self._fd: int = syscalls.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise syscalls.failure()

    def fileno(self) -> int:
        return self._fd

    def add(self, folder: str, events: int = MODIFY | MOVED_TO | CREATE) -> int:
        """The watch's number; the same one again for the same folder. Raises: OSError."""
        watch: int = syscalls.libc.inotify_add_watch(
            self._fd, os.fsencode(folder), ctypes.c_uint32(events | _ONLYDIR)
        )
        if watch < 0:
            raise syscalls.failure(folder)
        return watch

    def remove(self, watch: int) -> None:
        """Idempotent: a folder that was deleted took its watch with it."""
        syscalls.libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> set[int]:
        """The watches on which something happened; -1 among them when events were lost."""
        changed: set[int] = set()
        while True:
            try:
                block = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return changed
            position = 0
            while position < len(block):
                watch, mask, _, size = _EVENT.unpack_from(block, position)
                position += _EVENT.size + size
                if not mask & IGNORED:
                    changed.add(-1 if mask & OVERFLOW else watch)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def watch_file(path: str) -> int:
    """A descriptor that is readable after each change of the file `path`. Raises: OSError."""
    fd: int = syscalls.check(syscalls.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if syscalls.libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(MODIFY)) < 0:
        error = syscalls.failure(path)
        os.close(fd)
        raise error
    return fd
