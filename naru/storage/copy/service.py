"""Copying files into and out of containers, as the engine asks for it.

Each copy is done by a helper process (`worker`) that sees the container's files and nothing else.
Starting one takes some 60 ms, so a spare waits for the next copy; it ends by itself when none
comes.

Spec: Engine API 1.51, ContainerArchive, ContainerArchiveInfo, PutContainerArchive.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from naru.base.errors import Internal, InvalidParameter, NaruError, NotFound
from naru.base.undo import run_to_end
from naru.kernel.spawn import Child, Spawner
from naru.kernel.userns import Mapped
from naru.kernel.view import ViewClones, ViewMount
from naru.storage.archive.workers import make_pipe, read_pipe
from naru.storage.copy import jobs
from naru.storage.copy.jobs import Answer, Job
from naru.storage.copy.stat import PathStat
from naru.storage.pipes import through_pipe

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
_CONTROL_FD = 3
_PIPE_BYTES = 1 << 20
# A part of a volume that is gone, or that is a link by now.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)


@dataclass(frozen=True, slots=True)
class ContainerFiles:
    """A container's files: its mounted root, and its binds and volumes by host path.

    `name` is what errors call the container. `mapped`: as whom root and mounts are shown.
    """

    name: str
    rootfs: str
    mounts: Sequence[ViewMount] = ()
    read_only: bool = False
    mapped: Mapped | None = None


class _Helper:
    """One helper process and the conversation with it."""

    def __init__(self, child: Child, control: socket.socket) -> None:
        self.child = child
        self.control = control
        self._waiting = b""

    async def answer(self) -> Answer:
        """The helper's next answer. Raises: Internal when it died."""
        try:
            head = await self._exactly(jobs.HEAD_BYTES)
            body = await self._exactly(jobs.frame_length(head))
            return jobs.decode_answer(body)
        except (EOFError, ValueError, KeyError, TypeError) as error:
            raise Internal("the copy helper died; try again") from error

    async def _exactly(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._waiting) < size:
            try:
                data = await loop.sock_recv(self.control, 1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._waiting += data
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    async def end(self) -> None:
        self.child.kill()
        self.control.close()
        await run_to_end(self.child.wait())


class ContainerCopy:
    """Copies in and out of containers; one per engine, used on its loop."""

    def __init__(self, spawner: Spawner, *, spare: bool = True) -> None:
        self._spawner = spawner
        self._keep_spare = spare
        self._spare: _Helper | None = None

    async def stat_path(self, files: ContainerFiles, path: str) -> PathStat:
        """What is at `path`. Raises: NotFound, InvalidParameter."""
        job = _job(jobs.STAT, files, path)
        with _clones(files) as clones:
            async with self._started(job, _descriptors(files, clones)) as helper:
                return _stat_of(await helper.answer(), files, path)

    async def get_archive(
        self, files: ContainerFiles, path: str
    ) -> tuple[PathStat, AsyncIterator[bytes]]:
        """What is at `path`, and its archive, which must be read to its end or closed.

        A directory is archived under its own name, `dir/.` as its content, a link as itself.
        Raises: NotFound, InvalidParameter; the iterator: Internal.
        """
        job = _job(jobs.GET, files, path)
        stack = contextlib.AsyncExitStack()
        try:
            reading, writing = make_pipe()
            stack.callback(os.close, reading)
            try:
                with contextlib.suppress(OSError):
                    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                with _clones(files) as clones:
                    helper = await stack.enter_async_context(
                        self._started(job, [writing, *_descriptors(files, clones)])
                    )
            finally:
                os.close(writing)
            stat = _stat_of(await helper.answer(), files, path)
        except BaseException:
            await stack.aclose()
            raise
        return stat, _pieces(stack, helper, reading, files, path)

    async def put_archive(
        self,
        files: ContainerFiles,
        path: str,
        stream: AsyncIterator[bytes],
        *,
        owner: tuple[int, int] | None = None,
        no_overwrite_dir_non_dir: bool = False,
    ) -> None:
        """Unpack `stream` (plain or compressed) into the directory `path`.

        `owner`: whose everything becomes, instead of what the archive says.
        Raises: NotFound, InvalidParameter (no directory, read-only, a bad archive), Internal.
        """
        job = _job(jobs.PUT, files, path, owner, no_overwrite_dir_non_dir)

        async def unpack(source: int) -> None:
            with _clones(files) as clones:
                async with self._started(job, [source, *_descriptors(files, clones)]) as helper:
                    _stat_of(await helper.answer(), files, path)
                    _end_of(await helper.answer(), files, path)

        await through_pipe(stream, unpack)

    def close(self) -> None:
        """End the spare."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.child.kill()
            spare.control.close()
            with contextlib.suppress(TimeoutError):
                spare.child.wait_blocking(5.0)

    @contextlib.asynccontextmanager
    async def _started(self, job: Job, descriptors: list[int]) -> AsyncIterator[_Helper]:
        helper = self._take()
        try:
            helper.control.setblocking(True)
            socket.send_fds(helper.control, [jobs.encode_job(job)], descriptors)
            helper.control.setblocking(False)
            yield helper
        finally:
            await helper.end()
            if self._keep_spare and self._spare is None:
                self._spare = self._start()

    def _take(self) -> _Helper:
        spare, self._spare = self._spare, None
        if spare is not None:
            if spare.child.poll() is None:
                return spare
            spare.control.close()
        return self._start()

    def _start(self) -> _Helper:
        ours, theirs = socket.socketpair()
        try:
            argv = (sys.executable, "-s", "-P", "-B", "-m", "naru.storage.copy.worker")
            environment = {"PYTHONPATH": _PACKAGE_ROOT, "LC_ALL": "C.UTF-8"}
            child = self._spawner.spawn(
                argv, env=environment, fds={2: 2, _CONTROL_FD: theirs.fileno()}
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Helper(child, ours)


async def _pieces(
    stack: contextlib.AsyncExitStack,
    helper: _Helper,
    reading: int,
    files: ContainerFiles,
    path: str,
) -> AsyncIterator[bytes]:
    try:
        while data := await read_pipe(reading):
            yield data
        _end_of(await helper.answer(), files, path)
    finally:
        await stack.aclose()


def _job(
    kind: str,
    files: ContainerFiles,
    path: str,
    owner: tuple[int, int] | None = None,
    keep_kinds: bool = False,
) -> Job:
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidParameter("bad parameter: path contains a NUL character")
    mounts = tuple((mount.destination, mount.writable) for mount in _sorted(files))
    mapped = None if files.mapped is None else files.mapped.id_map.root
    return Job(kind, path, mounts, files.read_only, owner, keep_kinds, mapped)


def _sorted(files: ContainerFiles) -> list[ViewMount]:
    """The mounts, an outer one before what lies in it."""
    return sorted(files.mounts, key=lambda mount: mount.destination.rstrip("/").count("/"))


def _clones(files: ContainerFiles) -> ViewClones:
    """Raises: Internal, naming what cannot be mounted."""
    if len(files.mounts) > jobs.MAX_DESCRIPTORS - 3:
        raise Internal(f"container {files.name} has too many mounts to copy from or to it")
    try:
        return ViewClones(files.rootfs, _sorted(files), files.mapped)
    except OSError as error:
        kind = InvalidParameter if error.errno in _NOT_THERE else Internal
        raise kind(
            f"cannot look into the files of container {files.name}: {error.filename}: "
            f"{error.strerror}"
        ) from error


def _descriptors(files: ContainerFiles, clones: ViewClones) -> list[int]:
    return [*(() if files.mapped is None else (files.mapped.fd,)), *clones.descriptors]


def _stat_of(answer: Answer, files: ContainerFiles, path: str) -> PathStat:
    if answer.stat is None:
        raise _error(answer, files, path)
    return answer.stat


def _end_of(answer: Answer, files: ContainerFiles, path: str) -> None:
    if not answer.done:
        raise _error(answer, files, path)


def _error(answer: Answer, files: ContainerFiles, path: str) -> NaruError:
    kind, text, number = answer.failed or ("system", "no answer", 0)
    if kind == "missing":
        return NotFound(f"Could not find the file {path} in container {files.name}")
    if number in (errno.ENAMETOOLONG, errno.ELOOP):
        return InvalidParameter(f"cannot copy {path[:255]}: {os.strerror(number).lower()}")
    if kind == "invalid":
        return InvalidParameter(text)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Internal(f"cannot copy to {path}: no space left on device")
    return Internal(f"cannot copy {path} of container {files.name}: {text}")
