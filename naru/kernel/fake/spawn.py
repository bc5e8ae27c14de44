"""A Spawner that starts nothing: a test says how each program ends.

Process numbers are fake; a child's pidfd is a real eventfd, so that it can be waited for.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from naru.kernel.process import wait_readable


@dataclass(slots=True)
class FakeChild:
    """`end` makes it end; everything else is as `naru.kernel.spawn.Child`."""

    pid: int
    argv: tuple[str, ...]
    env: dict[str, str]
    fds: dict[int, int]
    pidfd: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC))
    status: int | None = None
    signals: list[int] = field(default_factory=list)
    _ended: int | None = None

    def end(self, status: int) -> None:
        if self._ended is None:
            self._ended = status
            os.eventfd_write(self.pidfd, 1)

    async def wait(self) -> int:
        while self.status is None:
            await wait_readable(self.pidfd)
            self.poll()
        return self.status

    def wait_blocking(self, timeout_s: float | None = None) -> int:
        status = self.poll()
        if status is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s")
        return status

    def poll(self) -> int | None:
        if self.status is None and self._ended is not None:
            self.status = self._ended
            os.close(self.pidfd)
            self.pidfd = -1
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end(-signal.SIGKILL)


class FakeSpawner:
    """`endings`: program → its status at once; one that is not named runs until a test ends it.
    `missing`: programs that are not there."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.endings: dict[str, int] = {}
        self.missing: set[str] = set()

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        fds: Mapping[int, int] | None = None,
        setsid: bool = True,
        cwd: str = "/",
    ) -> FakeChild:
        if argv[0] in self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        child = FakeChild(5000 + len(self.children), tuple(argv), dict(env), dict(fds or {}))
        self.children.append(child)
        if argv[0] in self.endings:
            child.end(self.endings[argv[0]])
        return child

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float = 30.0
    ) -> tuple[int, bytes]:
        return await self.spawn(argv, env=env).wait(), b""

    def close(self) -> None:
        """Closes what children still hold."""
        for child in self.children:
            if child.pidfd >= 0:
                with contextlib.suppress(OSError):
                    os.close(child.pidfd)
                child.pidfd = -1
