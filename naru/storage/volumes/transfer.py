"""Volumes as archives. Nothing half is ever left.

An archive is a tar with the volume's directory as `.`: names as bytes, owners, modes, times of
modification, all attributes, hard links, holes and devices; sockets are left out. It is made and
read by a confined process (`storage.archive.worker`), and sealed or opened by another one
(`storage.seal`). `freeze` keeps containers from writing; it is theirs to say how.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from naru.base.clock import now_ns
from naru.base.errors import Internal, InvalidParameter
from naru.base.ids import new_id
from naru.kernel.files import open_beneath
from naru.kernel.spawn import Spawner
from naru.kernel.threads import offload_bulk
from naru.storage.archive import compression, jobs
from naru.storage.archive.jobs import Done, Job
from naru.storage.archive.workers import ArchiveWorkers, Running, make_pipe, read_pipe
from naru.storage.disk import explained
from naru.storage.pipes import through_pipe
from naru.storage.seal.service import MAGIC, Sealing, sealing
from naru.storage.volumes import model
from naru.storage.volumes.copies import Freeze, unfrozen
from naru.storage.volumes.model import Volume
from naru.storage.volumes.placing import FILLED, Placing
from naru.storage.volumes.service import Volumes

log = logging.getLogger("naru.volumes")

Emit = Callable[[str, str, str, dict[str, str]], None]

FORMS = (compression.PLAIN, compression.ZSTD, compression.GZIP)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to export. `passphrase` empty: not sealed. `pause`: nobody writes meanwhile."""

    form: str = compression.PLAIN
    passphrase: bytes = b""
    pause: bool = False


class Transfers:
    """Export and import; one per engine, used on its loop."""

    def __init__(
        self,
        volumes: Volumes,
        workers: ArchiveWorkers,
        spawner: Spawner,
        emit: Emit,
        *,
        stall_s: float = _STALL_S,
    ) -> None:
        self._stall_s = stall_s
        self._volumes, self._workers, self._spawner = volumes, workers, spawner
        self._emit = emit
        self._placing = Placing(volumes, emit)
        self.freeze: Freeze = unfrozen

    # -- out

    async def export(self, name: str, wanted: Wanted) -> AsyncGenerator[bytes, None]:
        """The volume's archive, to be read to its end or closed.

        With `pause`, a reader that takes nothing for a minute ends the export: containers must not
        wait for it any longer. Raises: NotFound, InvalidParameter, Internal.
        """
        if wanted.form not in FORMS:
            raise InvalidParameter(
                f"unknown compression {wanted.form!r}: wanted one of {', '.join(FORMS)}"
            )
        holder = f"export-{new_id()}"
        path = await self._volumes.acquire(name, holder)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._volumes.release, name, holder)
            thaw = await stack.enter_async_context(AsyncExitStack())
            if wanted.pause:
                await thaw.enter_async_context(self.freeze(name))
            reading, running, seal = await self._packing(stack, path, wanted)
            watch = _Watch(thaw, self._stall_s) if wanted.pause else None
            if watch is not None:
                stack.callback(watch.stop)
            while data := await read_pipe(reading):
                if watch is not None:
                    watch.start()
                yield data
                if watch is not None:
                    watch.check()
            done = await running.result()
            if seal is not None:
                await seal.result()
        told = {"driver": self._volumes.get(name).driver, "entries": str(done.entries)}
        if done.sockets:
            told["sockets"] = str(done.sockets)
            log.warning("export of volume %s: %d sockets are left out", name, done.sockets)
        self._emit("volume", "export", name, told)

    async def _packing(
        self, stack: AsyncExitStack, path: str, wanted: Wanted
    ) -> tuple[int, Running, Sealing | None]:
        """The pipe that the archive comes from, and what writes it."""
        reading, writing = make_pipe()
        stack.callback(os.close, reading)
        seal = None
        try:
            if wanted.passphrase:
                plain, packed = os.pipe2(os.O_CLOEXEC)
                try:
                    context = sealing(
                        self._spawner, wanted.passphrase, plain, writing, opening=False
                    )
                    seal = await stack.enter_async_context(context)
                except BaseException:
                    os.close(packed)
                    raise
                finally:
                    os.close(plain)
                os.close(writing)
                writing = packed
            root = os.open(path, _FOLDER)
            try:
                job = Job(jobs.BACKUP, form=wanted.form)
                running = await stack.enter_async_context(self._workers.run(job, (root, writing)))
            finally:
                os.close(root)
        finally:
            os.close(writing)
        return reading, running, seal

    # -- in

    async def import_(
        self,
        name: str,
        stream: AsyncIterator[bytes],
        *,
        passphrase: bytes = b"",
        replace: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume of an archive, plain, compressed or sealed; or fill one that is empty.

        `replace`: what it held goes, when the new content is whole and durable.
        Raises: InvalidParameter, Conflict, Internal; then nothing has changed.
        """
        model.check_name(name)
        known = await self._placing.may_take(name, replace)
        options = (known.options if known is not None else None) or {}
        async with self._placing.prepared(options) as prepared:
            with explained(f"import volume {name}"):
                await self._fill(os.path.join(prepared, "_data"), stream, passphrase)
            FILLED()
            if known is not None:
                return await self._placing.exchange(name, prepared, replace)
            fresh = Volume(name=name, created_ns=now_ns(), labels=dict(labels) if labels else None)
            return await self._placing.place(fresh, prepared)

    async def _fill(self, target: str, stream: AsyncIterator[bytes], passphrase: bytes) -> None:
        head, rest = await _head_of(stream)
        sealed = head.startswith(MAGIC)
        if sealed and not passphrase:
            raise InvalidParameter("the archive is encrypted: give its passphrase")
        if passphrase and not sealed:
            raise InvalidParameter("the archive is not encrypted, but a passphrase was given")

        async def consume(source: int) -> Done:
            root = os.open(target, _FOLDER)
            try:
                if sealed:
                    return await self._open_and_unpack(root, source, passphrase)
                return await self._workers.call(Job(jobs.RESTORE), (root, source))
            finally:
                os.close(root)

        done = await through_pipe(rest, consume)
        await offload_bulk(_set_deferred, target, done)

    async def _open_and_unpack(self, root: int, source: int, passphrase: bytes) -> Done:
        plain, opened = os.pipe2(os.O_CLOEXEC)
        async with AsyncExitStack() as stack:
            try:
                context = sealing(self._spawner, passphrase, source, opened, opening=True)
                seal = await stack.enter_async_context(context)
                unpacking = self._workers.run(Job(jobs.RESTORE), (root, plain))
                running = await stack.enter_async_context(unpacking)
            finally:
                os.close(plain)
                os.close(opened)
            failed: Exception | None = None
            done = Done()
            try:
                done = await running.result()
            except (InvalidParameter, OSError, Internal) as error:
                failed = error
            if failed is None or isinstance(failed, InvalidParameter):
                await seal.result()  # its reason comes before what an archive cut short looks like
            if failed is not None:
                raise failed
            return done


class _Watch:
    """Lets containers go on when the reader of an export takes nothing for too long."""

    def __init__(self, thaw: AsyncExitStack, stall_s: float) -> None:
        self._thaw, self._stall_s = thaw, stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Future[tuple[None]] | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._stall_s, self._stalled)

    def check(self) -> None:
        """Raises: Internal when containers went on meanwhile."""
        self.stop()
        if self._work:
            raise Internal(
                f"the export's reader took nothing for {self._stall_s:g} s: the containers go on, "
                "and the archive is not finished"
            )

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _stalled(self) -> None:
        self._work = asyncio.gather(self._thaw.aclose())


async def _head_of(stream: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first bytes of `stream`, and all of it."""
    head = b""
    while len(head) < len(MAGIC):
        try:
            head += await anext(stream)
        except StopAsyncIteration:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield head
        async for piece in stream:
            yield piece

    return head, whole()


def _set_deferred(directory: str, done: Done) -> None:
    """Attributes of the class `trusted`, for which the worker lacks the privilege."""
    root = os.open(directory, _FOLDER)
    try:
        for path, attribute, value in done.deferred:
            if not attribute.startswith("trusted."):
                raise Internal(f"the archive worker asked for the attribute {attribute}")
            node = open_beneath(root, path or b".", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.setxattr(f"/proc/self/fd/{node}", attribute, value)
            finally:
                os.close(node)
    finally:
        os.close(root)
