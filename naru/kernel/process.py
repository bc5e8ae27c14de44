"""Processes held by number *and* start time, and by pidfd: a reused number is never mistaken."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`start`: clock ticks after boot, field 22 of /proc/PID/stat."""

    pid: int
    start: int


def _stat_fields(pid: int) -> list[bytes] | None:
    """Fields 3… of /proc/PID/stat; None when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        text = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return text[text.rindex(b")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """When process `pid` started, None when there is none."""
    fields = _stat_fields(pid) if pid > 0 else None
    return None if fields is None else int(fields[19])


def identify(pid: int) -> ProcessId | None:
    """The process that has number `pid` now."""
    start = start_time(pid)
    return None if start is None else ProcessId(pid, start)


def is_alive(process: ProcessId) -> bool:
    """Whether exactly this process exists and has not ended (a zombie has)."""
    fields = _stat_fields(process.pid) if process.pid > 0 else None
    return fields is not None and int(fields[19]) == process.start and fields[0] not in b"ZX"


def set_oom_score_adj(pid: int, score: int) -> None:
    """How gladly the kernel ends `pid` for want of memory; what it forks from now on inherits it.

    Raises: PermissionError when that is below the least that this process may have.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % score)
        finally:
            os.close(fd)


async def wait_readable(fd: int) -> None:
    """Returns when `fd` is readable (a pidfd: when its process ended). Many may wait on one fd."""
    loop = asyncio.get_running_loop()
    own = os.dup(fd)
    done: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(own, ready)
    try:
        await done
    finally:
        loop.remove_reader(own)
        os.close(own)


class ProcessHandle:
    """An open pidfd of one verified process, also of one that is not our child."""

    def __init__(self, process: ProcessId, fd: int) -> None:
        self.process = process
        self._fd = fd

    @classmethod
    def open(cls, process: ProcessId) -> "ProcessHandle":
        """Raises: ProcessLookupError when the process is gone or its number is another's."""
        if process.pid <= 0:
            raise ProcessLookupError(f"no process {process.pid}")
        fd = os.pidfd_open(process.pid)
        if start_time(process.pid) != process.start:
            os.close(fd)
            raise ProcessLookupError(f"process {process.pid} is gone")
        return cls(process, fd)

    def fileno(self) -> int:
        return self._fd

    def send_signal(self, number: int) -> bool:
        """False when the process has ended and been reaped."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    async def wait(self) -> None:
        """Returns when the process has ended. May be awaited by several tasks."""
        await wait_readable(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "ProcessHandle":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
