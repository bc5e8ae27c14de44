"""The records of the engine: kind, id and body in one SQLite file.

Not a query engine: whoever owns a kind reads all of it at start and keeps it in memory. Every
write goes through one thread, which commits everything that is waiting as one transaction (group
commit), so eight clients that create containers pay for one flush between them. A durable write
is on the disk when its `await` returns; any other write survives a crash of the engine, and may
be lost with the machine's power.

A row whose checksum fails is left in the table `aside`; a file that SQLite cannot read is renamed
to `NAME.corrupt-TIME` and what can be read of it is carried over. Both are named in `set_aside`.
A ballast file is given up when the disk is full, so that records can still be removed and states
still be written; it is made again once there is room.
"""

import asyncio
import contextlib
import errno
import logging
import os
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from naru.base.errors import Internal
from naru.base.failpoints import declare
from naru.kernel.threads import offload

log = logging.getLogger("naru.storage.metadata")

BALLAST_BYTES = 4 << 20
BUSY_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 30.0

_BEGIN = declare("metadata.begin")
_WRITTEN = declare("metadata.written")
_COMMITTED = declare("metadata.committed")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  kind TEXT NOT NULL, id TEXT NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aside (
  kind TEXT NOT NULL, id TEXT NOT NULL, time_ns INTEGER NOT NULL, body BLOB);
"""
_PUT = "INSERT OR REPLACE INTO record (kind, id, checksum, body) VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM record WHERE kind = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Put:
    """Write the record, whether it exists or not."""

    kind: str
    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the record; a missing one is no error."""

    kind: str
    id: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class _Batch:
    operations: tuple[Operation, ...]
    durable: bool
    done: asyncio.Future[None]


class Database:
    """The records; made by `open`, ended by `close`."""

    def __init__(self, path: str, connection: sqlite3.Connection, set_aside: list[str]) -> None:
        self._path = path
        self._reader = connection
        self._lock = threading.Lock()
        self._set_aside = set_aside
        self._waiting: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._closed = False
        self._ballast_given_up = not os.path.exists(f"{path}.ballast")
        self._thread = threading.Thread(target=self._write_loop, name="metadata", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: str) -> "Database":
        """Open or make the database; what is corrupt is set aside and never stops this.

        Raises: Internal when the folder cannot be written or the file belongs to another engine.
        """
        set_aside: list[str] = []
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            connection = _open_sound(path, set_aside)
            with contextlib.suppress(OSError):
                _keep_ballast(path)
        except (sqlite3.Error, OSError) as error:
            raise Internal(f"cannot open the metadata in {path}: {error}") from error
        return cls(path, connection, set_aside)

    @property
    def set_aside(self) -> tuple[str, ...]:
        """What was found corrupt and put away, one sentence each."""
        return tuple(self._set_aside)

    def all(self, kind: str) -> list[tuple[str, bytes]]:
        """Every sound record of `kind` as (id, body), ordered by id."""
        with self._lock:
            try:
                rows = self._reader.execute(
                    "SELECT id, checksum, body FROM record WHERE kind = ? ORDER BY id", (kind,)
                ).fetchall()
            except sqlite3.DatabaseError:
                log.exception("reading all of %s failed; reading row by row", kind)
                rows = self._rows_one_by_one(kind)
        sound, broken = [], []
        for identifier, checksum, body in rows:
            if isinstance(body, bytes) and zlib.crc32(body) == checksum:
                sound.append((str(identifier), body))
            else:
                broken.append(str(identifier))
        for identifier in broken:
            self._put_aside(kind, identifier)
        return sound

    def get(self, kind: str, id: str) -> bytes | None:
        """The body of one record, None when it is missing or corrupt."""
        with self._lock:
            row = self._reader.execute(
                "SELECT checksum, body FROM record WHERE kind = ? AND id = ?", (kind, id)
            ).fetchone()
        if row is None or not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
            return None
        return row[1]

    async def put(self, kind: str, id: str, body: bytes, *, durable: bool = True) -> None:
        """Write a record. Raises: Internal when the disk is full or broken."""
        await self.batch((Put(kind, id, body),), durable=durable)

    async def delete(self, kind: str, id: str, *, durable: bool = True) -> None:
        """Remove a record, missing or not. Raises: Internal."""
        await self.batch((Delete(kind, id),), durable=durable)

    async def batch(self, operations: Sequence[Operation], *, durable: bool = True) -> None:
        """Do all of `operations` or, when this raises Internal, none."""
        if self._closed:
            raise Internal("the metadata is closed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Batch(tuple(operations), durable, done))
        # A write that was handed over is not taken back: a cancelled caller only stops waiting.
        await asyncio.shield(done)

    async def close(self) -> None:
        """Write what waits, then close the file; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        await offload(self._thread.join, CLOSE_TIMEOUT_S)
        with self._lock:
            self._reader.close()

    def _write_loop(self) -> None:
        writer = _connect(self._path)
        try:
            ended = False
            while not ended:
                first = self._waiting.get()
                batches = [] if first is None else [first]
                ended = first is None
                while not self._waiting.empty():
                    following = self._waiting.get()
                    if following is None:
                        ended = True
                    else:
                        batches.append(following)
                if batches:
                    self._commit_group(writer, batches)
        finally:
            writer.close()

    def _commit_group(self, writer: sqlite3.Connection, batches: list[_Batch]) -> None:
        error = self._try_commit(writer, batches)
        if error is None or len(batches) == 1:
            _resolve(batches, error)
            return
        for batch in batches:  # one bad batch may not take the others with it
            _resolve([batch], self._try_commit(writer, [batch]))

    def _try_commit(self, writer: sqlite3.Connection, batches: list[_Batch]) -> Exception | None:
        try:
            _transact(writer, batches)
        except Exception as error:
            if not _is_disk_full(error):
                return _explain(self._path, error)
            if not _drop_ballast(self._path):
                return _explain(self._path, error)
            log.error("%s: the disk is full; the ballast was given up", self._path)
        else:
            if self._ballast_given_up:
                self._restore_ballast()
            return None
        self._ballast_given_up = True
        try:
            _transact(writer, batches)
        except Exception as error:
            return _explain(self._path, error)
        return None

    def _restore_ballast(self) -> None:
        with contextlib.suppress(OSError):
            found = os.statvfs(self._path)
            if found.f_bavail * found.f_frsize > 4 * BALLAST_BYTES:
                _keep_ballast(self._path)
                self._ballast_given_up = False

    def _rows_one_by_one(self, kind: str) -> list[tuple[str, int, bytes]]:
        rows = []
        try:
            ids = self._reader.execute("SELECT id FROM record WHERE kind = ?", (kind,)).fetchall()
        except sqlite3.DatabaseError as error:
            self._set_aside.append(f"{self._path}: the records of kind {kind}: {error}")
            return []
        for (identifier,) in ids:
            try:
                row = self._reader.execute(
                    "SELECT id, checksum, body FROM record WHERE kind = ? AND id = ?",
                    (kind, identifier),
                ).fetchone()
            except sqlite3.DatabaseError as error:
                self._set_aside.append(f"{self._path}: record {kind}/{identifier}: {error}")
            else:
                rows.append(row)
        return rows

    def _put_aside(self, kind: str, identifier: str) -> None:
        sentence = f"{self._path}: record {kind}/{identifier} is corrupt and was set aside"
        log.error("%s", sentence)
        self._set_aside.append(sentence)
        try:
            with self._lock, self._reader:
                self._reader.execute(
                    "INSERT INTO aside SELECT kind, id, ?, body FROM record"
                    " WHERE kind = ? AND id = ?",
                    (time.time_ns(), kind, identifier),
                )
                self._reader.execute(_DELETE, (kind, identifier))
        except sqlite3.Error:
            log.exception("cannot set %s/%s aside", kind, identifier)


def _resolve(batches: list[_Batch], error: Exception | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for batch in batches:
        by_loop.setdefault(batch.done.get_loop(), []).append(batch.done)

    def tell(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    for loop, futures in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop ended while we wrote
            loop.call_soon_threadsafe(tell, futures)


def _transact(writer: sqlite3.Connection, batches: list[_Batch]) -> None:
    durable = any(batch.durable for batch in batches)
    writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    _BEGIN()
    writer.execute("BEGIN IMMEDIATE")
    try:
        for batch in batches:
            for operation in batch.operations:
                match operation:
                    case Put(kind, identifier, body):
                        writer.execute(_PUT, (kind, identifier, zlib.crc32(body), body))
                    case Delete(kind, identifier):
                        writer.execute(_DELETE, (kind, identifier))
        _WRITTEN()
        writer.execute("COMMIT")
    except BaseException:
        if writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
        raise
    _COMMITTED()


def _connect(path: str) -> sqlite3.Connection:
    """SQLite gives the log and the index beside a file the file's own mode: it must be there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_sound(path: str, set_aside: list[str]) -> sqlite3.Connection:
    """A connection to a file that passed SQLite's quick check; a bad one is put away first."""
    fresh = not os.path.exists(path)
    try:
        connection = _connect(path)
        try:
            connection.executescript(_SCHEMA)
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError:
            connection.close()
            raise
        if verdict[0] == "ok":
            for suffix in ("", "-wal", "-shm"):
                os.chmod(path + suffix, 0o600)
            if fresh:
                _sync_folder(path)
            return connection
        reason = str(verdict[0])
        connection.close()
    except sqlite3.OperationalError as error:
        if _is_disk_full(error) or "locked" in str(error) or "unable to open" in str(error):
            raise
        reason = str(error)
    except sqlite3.DatabaseError as error:
        reason = str(error)
    aside = f"{path}.corrupt-{time.time_ns()}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, aside + suffix)
    rows = _salvage(aside)
    sentence = f"{path} was corrupt ({reason}): kept as {aside}, {len(rows)} records carried over"
    log.error("%s", sentence)
    set_aside.append(sentence)
    connection = _connect(path)
    connection.executescript(_SCHEMA)
    with connection:
        connection.execute("BEGIN")
        connection.executemany(_PUT, rows)
    _sync_folder(path)
    return connection


def _salvage(path: str) -> list[tuple[str, str, int, bytes]]:
    """What can still be read of a corrupt file, checksums verified."""
    rows: list[tuple[str, str, int, bytes]] = []
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    except sqlite3.Error:
        return rows
    with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):
        cursor = connection.execute("SELECT kind, id, checksum, body FROM record")
        for kind, identifier, checksum, body in cursor:
            if isinstance(body, bytes) and zlib.crc32(body) == checksum:
                rows.append((kind, identifier, checksum, body))
    return rows


def _sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _explain(path: str, error: Exception) -> Internal:
    if _is_disk_full(error):
        told = Internal(f"no space left on the disk of {path}: free some space and try again")
    else:
        told = Internal(f"cannot write the metadata in {path}: {error}")
    told.__cause__ = error
    return told


def _keep_ballast(path: str) -> None:
    """Hold space that is given up when the disk is full."""
    name = path + ".ballast"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
    except OSError:
        os.unlink(name)
        raise
    finally:
        os.close(descriptor)


def _drop_ballast(path: str) -> bool:
    try:
        os.unlink(path + ".ballast")
    except OSError:
        return False
    return True
