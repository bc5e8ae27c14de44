"""A stream's way from a descriptor to its reader: read, inflate and hash while others work.

    descriptor ─▶ [feeder thread: read, inflate] ─▶ chunks() ─▶ the caller
                                  └──────▶ [hash thread]

A plain regular file is mapped instead of read. The threads spend their time in system calls and C
code that release the interpreter's lock.
"""

import contextlib
import hashlib
import mmap
import os
import queue
import stat
import threading
from collections.abc import Iterator
from types import TracebackType

from naru.storage.archive import compression
from naru.storage.archive.compression import Limits
from naru.storage.archive.headers import ArchiveError

_DEPTH = 8

Chunk = bytes | memoryview


class Hasher:
    """sha256 in a thread of its own; `update` only queues."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._chunks: queue.Queue[Chunk | None] = queue.Queue(_DEPTH)
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def update(self, chunk: Chunk) -> None:
        self._chunks.put(chunk)

    def digest(self) -> str:
        """`sha256:…` of everything; ends the thread."""
        self._chunks.put(None)
        self._thread.join()
        return "sha256:" + self._hash.hexdigest()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._hash.update(chunk)


class Source:
    """The plain bytes behind a descriptor, and their digest once all were read.

    A regular file is read from its offset, `size` bytes or to its end.
    """

    def __init__(
        self, fd: int, size: int | None = None, limits: Limits | None = None, digest: bool = True
    ) -> None:
        self._fd = fd
        self._limits = limits or Limits()
        self._left = size
        self._head = b""
        self._map: mmap.mmap | None = None
        self._start = self._end = 0
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._map_file(size)
        self._head = self._read(6)
        while 0 < len(self._head) < 6 and (more := self._read(6 - len(self._head))):
            self._head += more
        self.form = compression.detect(self._head)
        self._hasher = Hasher() if digest else None
        self._queue: queue.Queue[Chunk | BaseException | None] = queue.Queue(_DEPTH)
        self._stopped = False
        self.plain_bytes = 0

    def _map_file(self, size: int | None) -> None:
        position = os.lseek(self._fd, 0, os.SEEK_CUR)
        length = os.fstat(self._fd).st_size
        end = length if size is None else min(length, position + size)
        if end > position:
            self._map = mmap.mmap(self._fd, end, mmap.MAP_SHARED, mmap.PROT_READ)
            self._map.madvise(mmap.MADV_SEQUENTIAL)
        else:
            self._left = 0
        self._start, self._end = position, end

    def _read(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        if self._map is not None:
            data = self._map[self._start : min(self._start + size, self._end)]
            self._start += len(data)
            return data
        if self._left is not None:
            size = min(size, self._left)
        data = os.read(self._fd, size) if size else b""
        if self._left is not None:
            self._left -= len(data)
        return data

    def chunks(self) -> Iterator[Chunk]:
        """Every plain byte, once. Raises: ArchiveError, OSError."""
        if self._map is not None and self.form == compression.PLAIN:
            yield from self._mapped(self._map)
            return
        threading.Thread(target=self._feed, name="feed", daemon=True).start()
        while (chunk := self._queue.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            self.plain_bytes += len(chunk)
            yield chunk

    def _mapped(self, mapping: mmap.mmap) -> Iterator[Chunk]:
        whole = memoryview(mapping)[self._start - len(self._head) : self._end]
        self.plain_bytes = len(whole)
        if self._hasher is not None:
            self._hasher.update(whole)
        yield whole

    def _feed(self) -> None:
        try:
            for chunk in compression.decompress(self.form, self._read, self._limits):
                if self._hasher is not None:
                    self._hasher.update(chunk)
                self._put(chunk)
                if self._stopped:
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Chunk | BaseException | None) -> None:
        while not self._stopped:
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=1.0)
                return

    def digest(self) -> str:
        """The digest of the plain bytes; all of them must have been taken from `chunks`."""
        if self._hasher is None:
            raise ArchiveError("the stream was read without a digest")
        return self._hasher.digest()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
