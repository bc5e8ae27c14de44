"""Writing to a workload's stdin without ever blocking, and finding its pipe.

Bytes for a container without terminal do not pass through conmon's socket: conmon 2.1.6 turns in a
loop, a whole processor busy, once it holds bytes for a workload that closed its stdin. We open the
write end that conmon holds, through /proc, and write there; conmon is only asked to close it (EOF).
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable

from naru.kernel.process import ProcessId, start_time


class StdinWriter:
    """Writes through a non-blocking `send`; `fd` tells when it may go on. Owns neither."""

    def __init__(self, fd: int, send: Callable[[memoryview], int]) -> None:
        self.fd = fd
        self._send = send
        self._lock = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    async def write(self, data: bytes) -> None:
        """Waits while the workload does not read; drops what it will never read."""
        async with self._lock:
            rest = memoryview(data)
            while rest and not self._closed:
                try:
                    rest = rest[self._send(rest) :]
                except (BlockingIOError, InterruptedError):
                    await self._writable()
                except OSError:
                    return

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        loop.add_writer(self.fd, self._wake)
        try:
            await self._waiting
        finally:
            if not self._closed:
                loop.remove_writer(self.fd)
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Ends writing; to be called before the descriptor is closed. Idempotent."""
        if not self._closed:
            asyncio.get_running_loop().remove_writer(self.fd)
            self._closed = True
            self._wake()


def pipe_inode(pid: int) -> int | None:
    """The inode of the pipe that is stdin of the created, not yet started, init `pid`."""
    try:
        found = os.stat(f"/proc/{pid}/fd/0")
    except OSError:
        return None
    return found.st_ino if stat.S_ISFIFO(found.st_mode) else None


def open_pipe(monitor: ProcessId, inode: int) -> int | None:
    """A write end of our own of the pipe `inode` that `monitor` holds; None when it does not."""
    folder = f"/proc/{monitor.pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for name in names:
        path = f"{folder}/{name}"
        try:
            if os.readlink(path) != f"pipe:[{inode}]":
                continue
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(fd).st_ino == inode and start_time(monitor.pid) == monitor.start:
            return fd
        os.close(fd)
    return None


def give_pipes(pid: int, owner: tuple[int, int]) -> None:
    """Makes `owner` (the host's ids) own the process's stdio, as far as it is pipes.

    Its own user could not open them again (`/dev/stderr`). Raises: OSError.
    """
    for number in range(3):
        path = f"/proc/{pid}/fd/{number}"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if stat.S_ISFIFO(os.stat(path).st_mode):
                os.chown(path, *owner)
