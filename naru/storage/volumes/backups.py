"""Volumes backed up by the clock: one task for each schedule, one file for each run.

    record `writing` → write .FILE.partial → sync → rename → record `files` → remove the surplus

An old backup goes after the new one is durable and recorded, never before. What a killed engine was
writing is finished at the next start when it had its name already, and removed otherwise. A run
that was missed while no engine was there happens once, at the start.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable

import msgspec
from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import Conflict, InvalidParameter, NaruError, NotFound
from naru.base.failpoints import declare
from naru.base.tasks import TaskRegistry
from naru.base.undo import run_to_end
from naru.kernel.files import sync_directory, write_all
from naru.kernel.threads import offload, offload_bulk
from naru.storage.archive import compression
from naru.storage.disk import explained
from naru.storage.metadata import Database
from naru.storage.volumes import schedule as plan
from naru.storage.volumes.schedule import KIND, Backup, Schedule
from naru.storage.volumes.service import Volumes
from naru.storage.volumes.transfer import Transfers, Wanted

log = logging.getLogger("naru.volumes")

Emit = Callable[[str, str, str, dict[str, str]], None]

_LOOK_S = 30.0
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

BEGUN = declare("backups.begun")
WRITTEN = declare("backups.written")
NAMED = declare("backups.named")
RECORDED = declare("backups.recorded")


class Backups:
    """`folder` is where backups go whose schedule names no other place."""

    def __init__(
        self,
        folder: str,
        db: Database,
        volumes: Volumes,
        transfers: Transfers,
        tasks: TaskRegistry,
        emit: Emit,
    ) -> None:
        self._folder, self._db = folder, db
        self._volumes, self._transfers = volumes, transfers
        self._tasks, self._emit = tasks, emit
        self._schedules: dict[str, Schedule] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._begun_s: dict[str, float] = {}

    async def open(self) -> None:
        """Take up the schedules; what a killed engine was writing is finished or removed."""
        for name, body in self._db.all(KIND):
            try:
                schedule = msgspec.json.decode(body, type=Schedule)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                log.error("backup schedule of %s is damaged and left out: %s", name, error)
                continue
            self._schedules[name] = schedule
            if schedule.writing:
                await self._clear_up(schedule)
            self._spawn(name)

    def list(self) -> "list[Schedule]":
        return [schedule for _, schedule in sorted(self._schedules.items())]

    def has(self, volume: str) -> bool:
        return volume in self._schedules

    def folder_of(self, schedule: Schedule) -> str:
        return schedule.to or os.path.join(self._folder, schedule.volume)

    async def put(
        self, volume: str, *, every: str, at: str, keep: int, to: str, pause: bool
    ) -> Schedule:
        """Make or change a volume's schedule. Raises: NotFound, InvalidParameter."""
        self._volumes.get(volume)
        every_ns, at = plan.check(volume, every, at, keep, to)
        to = os.path.normpath(to) if to else ""
        if to and not await offload(os.path.isdir, to):
            raise InvalidParameter(
                f"schedule of volume {volume}: there is no directory {to}: make it, or mount it"
            )
        async with self._lock(volume):
            known = self._schedules.get(volume)
            fresh = Schedule(
                volume=volume,
                created_ns=now_ns(),
                every_ns=every_ns,
                at=at,
                keep=keep,
                to=to,
                pause=pause,
            )
            if known is not None and known.to == to:
                fresh = replace(fresh, files=known.files, last=known.last)
            await self._store(fresh)
        self._spawn(volume)
        return fresh

    async def remove(self, volume: str) -> None:
        """The backups stay. Raises: NotFound."""
        if volume not in self._schedules:
            raise NotFound(f"volume {volume} has no schedule")
        task = self._running.pop(volume, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        async with self._lock(volume):
            self._schedules.pop(volume, None)
            self._begun_s.pop(volume, None)
            await self._db.delete(KIND, volume)

    async def run_now(self, volume: str) -> Backup:
        """Make a backup now, whatever the schedule says. Raises: NotFound, Conflict."""
        if volume not in self._schedules:
            raise NotFound(f"volume {volume} has no schedule")
        if self._lock(volume).locked():
            raise Conflict(f"volume {volume} is being backed up")
        return await self._back_up(volume)

    # -- the clock

    def _lock(self, volume: str) -> asyncio.Lock:
        return self._locks.setdefault(volume, asyncio.Lock())

    def _spawn(self, volume: str) -> None:
        before = self._running.pop(volume, None)
        if before is not None:
            before.cancel()
        self._running[volume] = self._tasks.spawn(f"backups of {volume}", self._watch(volume))

    async def _watch(self, volume: str) -> None:
        """Looks again and again: the host's clock may be set at any time."""
        while (schedule := self._schedules.get(volume)) is not None:
            wait_s = plan.wait_s(schedule, now_ns(), self._idle_s(volume))
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, _LOOK_S))
            else:
                await self._back_up(volume)

    def _idle_s(self, volume: str) -> float:
        begun_s = self._begun_s.get(volume)
        return -1.0 if begun_s is None else asyncio.get_running_loop().time() - begun_s

    # -- one run

    async def _back_up(self, volume: str) -> Backup:
        """Run once; what goes wrong is in the record. Raises: what cancels it."""
        async with self._lock(volume):
            schedule = self._schedules[volume]
            self._begun_s[volume] = asyncio.get_running_loop().time()
            started_ns = now_ns()
            name = plan.file_name(volume, started_ns)
            schedule = replace(schedule, begun_ns=started_ns, writing=name)
            size, reason = 0, ""
            try:
                await self._store(schedule)
                BEGUN()
                size = await self._write(schedule, name)
            except (NaruError, OSError) as error:
                reason = error.message if isinstance(error, NaruError) else str(error)
                log.error("backup of volume %s failed: %s", volume, reason)
            except BaseException:
                await run_to_end(self._clear_up(schedule))
                raise
            done = Backup(
                started_ns=started_ns,
                ended_ns=now_ns(),
                error=reason,
                file="" if reason else name,
                size_bytes=size,
            )
            files = schedule.files if reason else _with(schedule.files, name)
            await self._finish(replace(schedule, writing="", files=files, last=done))
        self._emit("volume", "backup", volume, {"error": reason} if reason else {"file": name})
        return done

    async def _write(self, schedule: Schedule, name: str) -> int:
        """The file, durable under its name; its size. Nothing is left when this raises."""
        folder = self.folder_of(schedule)
        partial, final = os.path.join(folder, f".{name}.partial"), os.path.join(folder, name)
        with explained(f"back up volume {schedule.volume} to {folder}"):
            if not schedule.to:
                await offload(os.makedirs, folder, 0o700, exist_ok=True)
            wanted = Wanted(form=compression.ZSTD, pause=schedule.pause)
            pieces = self._transfers.export(schedule.volume, wanted)
            try:
                fd = await offload(os.open, partial, _NEW, 0o600)
                try:
                    size = await _pour(pieces, fd)
                    WRITTEN()
                    await offload_bulk(os.fsync, fd)
                finally:
                    os.close(fd)
                if await offload(os.path.lexists, final):
                    raise FileExistsError(f"{final} exists")
                await offload(os.rename, partial, final)
                partial = final
                await offload_bulk(sync_directory, folder)
                NAMED()
            except BaseException:
                await run_to_end(offload(_unlink, partial))
                raise
        return size

    async def _finish(self, schedule: Schedule) -> None:
        """Record the run, then remove what is too many: in this order."""
        try:
            await self._store(schedule)
        except NaruError as error:
            log.error("the schedule of volume %s could not be stored: %s", schedule.volume, error)
            self._schedules[schedule.volume] = schedule
            return
        gone = plan.surplus(schedule.files, schedule.keep)
        if not gone or (schedule.last is not None and schedule.last.error):
            return
        folder = self.folder_of(schedule)
        try:
            RECORDED()
            for name in gone:
                await offload(_unlink, os.path.join(folder, name))
            kept = tuple(name for name in schedule.files if name not in gone)
            await self._store(replace(schedule, files=kept))
        except (OSError, NaruError) as error:
            log.warning("old backups of volume %s stay: %s", schedule.volume, error)

    async def _clear_up(self, schedule: Schedule) -> None:
        """A run was cut off: its file counts when it has its name, and goes otherwise."""
        folder, name = self.folder_of(schedule), schedule.writing
        with contextlib.suppress(OSError):
            await offload(_unlink, os.path.join(folder, f".{name}.partial"))
        if await offload(os.path.isfile, os.path.join(folder, name)):
            cleared = replace(schedule, writing="", files=_with(schedule.files, name))
        else:  # it was no run: the next look finds it due
            before_ns = schedule.last.started_ns if schedule.last is not None else 0
            cleared = replace(schedule, writing="", begun_ns=before_ns)
        self._begun_s.pop(schedule.volume, None)
        with contextlib.suppress(NaruError):
            await self._store(cleared)

    async def _store(self, schedule: Schedule) -> None:
        await self._db.put(KIND, schedule.volume, msgspec.json.encode(schedule))
        self._schedules[schedule.volume] = schedule


def _with(files: tuple[str, ...], name: str) -> tuple[str, ...]:
    return files if name in files else (*files, name)


async def _pour(pieces: AsyncGenerator[bytes, None], fd: int) -> int:
    size = 0
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            await offload_bulk(write_all, fd, piece)
            size += len(piece)
    return size


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
