"""Archive workers as the engine sees them: start one, hand it a job, hear what came of it.

A worker serves one job, because it shuts itself into that job's directory for good. Starting one
takes some 35 ms, so with each job a spare is started that waits for the next, for a while.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from naru.base.errors import Internal
from naru.base.undo import run_to_end
from naru.kernel.confine import detached_root
from naru.kernel.process import wait_readable
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload
from naru.storage.archive import jobs
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.jobs import Done, Failed, Job

log = logging.getLogger("naru.storage.archive")

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
_PASSED_ON = ("NARU_FAILPOINTS",)  # the log of points is out of a worker's view
_CONTROL_FD = 3
_PIPE_BYTES = 1 << 20
_SPARE_S = 20.0


@dataclass(slots=True)
class _Worker:
    child: Child
    control: socket.socket


class Running:
    """A job under way."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    async def result(self) -> Done:
        """Wait for the end. Raises: ArchiveError, OSError (ENOSPC …), Internal when it died."""
        data = await self._read()
        status = await self._worker.child.wait()
        try:
            answer = await offload(jobs.decode_answer_frame, data)
        except Exception as error:
            raise Internal(f"the archive worker died with status {status}") from error
        if isinstance(answer, Done):
            return answer
        raise _error(answer)

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                data = await loop.sock_recv(self._worker.control, 1 << 20)
            except ConnectionResetError:
                data = b""
            size += len(data)
            if not data or size > jobs.MAX_FRAME_BYTES:
                return b"".join(parts)
            parts.append(data)


def _error(failed: Failed) -> Exception:
    if failed.kind == "archive":
        return ArchiveError(failed.message)
    if failed.number in (errno.ENOSPC, errno.EDQUOT):
        return OSError(failed.number, "no space left on the disk for the archive's files")
    return OSError(failed.number or errno.EIO, failed.message)


class ArchiveWorkers:
    """Starts archive workers; one per engine, used on its loop."""

    def __init__(self, spawner: Spawner, *, spare: bool = True) -> None:
        self._spawner = spawner
        self._keep_spare = spare
        self._spare: _Worker | None = None
        self._spare_timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def run(self, job: Job, descriptors: Sequence[int]) -> AsyncIterator[Running]:
        """Start `job`; leaving the block kills a worker that still runs.

        The descriptors stay the caller's, who may close them once inside the block.
        """
        worker = self._take()
        try:
            _send(worker.control, job, descriptors)
            if self._keep_spare and self._spare is None:
                self._prepare_spare()
            yield Running(worker)
        finally:
            worker.child.kill()
            worker.control.close()
            await run_to_end(worker.child.wait())

    async def call(self, job: Job, descriptors: Sequence[int]) -> Done:
        """Run `job` to its end. Raises: see `Running.result`."""
        async with self.run(job, descriptors) as running:
            return await running.result()

    async def stream(
        self, job: Job, root_fd: int, expected: str | None, others: Sequence[int] = ()
    ) -> AsyncIterator[bytes]:
        """The archive that `job` writes, in pieces of up to a MiB. `others`: see `Job.mapped`.

        Raises: Internal at the end when its digest is not the `expected` one; see `result` too.
        """
        reading, writing = make_pipe()
        try:
            try:
                context = self.run(job, (root_fd, writing, *others))
                running = await context.__aenter__()
            finally:
                os.close(writing)
            try:
                while data := await read_pipe(reading):
                    yield data
                done = await running.result()
            finally:
                await context.__aexit__(None, None, None)
        finally:
            os.close(reading)
        if expected is not None and done.digest != expected:
            raise Internal(f"layer {expected} is damaged on disk: load its image again")

    def close(self) -> None:
        """End the spare; to be called on the loop."""
        self._end_spare()

    def _take(self) -> _Worker:
        return self._release_spare() or self._start()

    def _prepare_spare(self) -> None:
        loop = asyncio.get_running_loop()
        self._spare = spare = self._start()
        loop.add_reader(spare.child.pidfd, self._end_spare)
        self._spare_timer = loop.call_later(_SPARE_S, self._end_spare)

    def _release_spare(self) -> _Worker | None:
        """The spare, which is nobody's then; None when there is none, or it is just ending."""
        spare, self._spare = self._spare, None
        if spare is None:
            return None
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        asyncio.get_running_loop().remove_reader(spare.child.pidfd)
        if spare.child.poll() is not None:
            spare.control.close()
            return None
        return spare

    def _end_spare(self) -> None:
        spare = self._release_spare()
        if spare is not None:
            _end(spare)

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            environment = {
                "PYTHONPATH": _PACKAGE_ROOT,
                "LC_ALL": "C.UTF-8",
                **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            }
            argv = (sys.executable, "-s", "-P", "-m", "naru.storage.archive.worker")
            child = self._spawner.spawn(
                argv, env=environment, fds={2: 2, _CONTROL_FD: theirs.fileno()}
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Worker(child, ours)


def _send(control: socket.socket, job: Job, descriptors: Sequence[int]) -> None:
    root, *others = descriptors
    detached = detached_root(root, read_only=job.kind not in (jobs.UNPACK, jobs.RESTORE))
    try:
        socket.send_fds(control, [jobs.encode_job(job)], [detached, *others])
    finally:
        os.close(detached)
    control.setblocking(False)


def _end(worker: _Worker) -> None:
    worker.child.kill()
    worker.control.close()
    with contextlib.suppress(TimeoutError):
        worker.child.wait_blocking(5.0)


def make_pipe() -> tuple[int, int]:
    """A large pipe whose reading end does not block."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    with contextlib.suppress(OSError):  # a user over the pipe quota gets the usual size
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


async def read_pipe(fd: int) -> bytes:
    """The next bytes; empty at the end."""
    while True:
        try:
            return os.read(fd, 1 << 20)
        except BlockingIOError:
            await wait_readable(fd)
