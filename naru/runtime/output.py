"""Output on its way to one client: in memory, then in an unlinked file, then cut off.

The producer never waits. A client that stops reading costs `MEMORY_BYTES` of memory and up to
`SPILL_BYTES` of disk; past that its stream ends with a message, and nobody else notices.
"""

import asyncio
import contextlib
import os
import struct
import tempfile
from collections import deque

STDOUT, STDERR = 1, 2
Frame = tuple[int, bytes]

MEMORY_BYTES = 1 << 20
SPILL_BYTES = 64 << 20
_JOIN_BYTES = 64 << 10
_HEADER = struct.Struct("<BI")
_CUT_OFF = (
    "\nnaru: the output ends here: this client did not read while {size} MiB were waiting for it;"
    " the container goes on, see its logs\n"
)


class OutputBuffer:
    """Frames for one reader. `push` and `end` are for the producer, `read` for the one reader."""

    def __init__(
        self, spill_dir: str, memory_bytes: int = MEMORY_BYTES, spill_bytes: int = SPILL_BYTES
    ) -> None:
        self._spill_dir = spill_dir
        self._memory_bytes, self._spill_bytes = memory_bytes, spill_bytes
        self._frames: deque[Frame] = deque()
        self._held_bytes = 0
        self._spill: int | None = None
        self._read_at = self._written_to = 0
        self._ended = self._cut = False
        self._wake: asyncio.Future[None] | None = None

    def push(self, stream: int, data: bytes) -> None:
        """Takes a frame for the reader; after `end`, `discard` or a cut it is dropped."""
        if self._ended or not data:
            return
        if self._spill is None and self._held_bytes + len(data) <= self._memory_bytes:
            self._hold(stream, data)
        elif not self._spill_frame(stream, data):
            self._cut = True
            self.end()
        self._notify()

    def _hold(self, stream: int, data: bytes) -> None:
        self._frames.append((stream, data))
        self._held_bytes += len(data)

    def _spill_frame(self, stream: int, data: bytes) -> bool:
        if self._written_to + len(data) > self._spill_bytes:
            return False
        try:
            if self._spill is None:
                self._spill, path = tempfile.mkstemp(prefix="naru-spill-", dir=self._spill_dir)
                os.unlink(path)
            frame = _HEADER.pack(stream, len(data)) + data
            written = os.pwrite(self._spill, frame, self._written_to)
        except OSError:
            return False
        if written != len(frame):
            return False
        self._written_to += written
        return True

    def end(self) -> None:
        """No further frame will come; the reader still gets what is held."""
        self._ended = True
        self._notify()

    def discard(self) -> None:
        """The reader is gone: drop everything, now and later."""
        self._frames.clear()
        self._held_bytes = 0
        self._close_spill()
        self._cut = False
        self.end()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def read(self) -> Frame | None:
        """The next frame (neighbours of one stream are joined), None at the end."""
        while True:
            if self._frames:
                return self._joined()
            if self._spill is not None:
                self._refill(self._spill)
                continue
            if self._cut:
                self._cut = False
                return STDERR, _CUT_OFF.format(size=self._spill_bytes >> 20).encode()
            if self._ended:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    def _joined(self) -> Frame:
        stream, data = self._frames.popleft()
        size, parts = len(data), [data]
        while self._frames and self._frames[0][0] == stream and size < _JOIN_BYTES:
            parts.append(self._frames.popleft()[1])
            size += len(parts[-1])
        self._held_bytes -= size
        return stream, parts[0] if len(parts) == 1 else b"".join(parts)

    def _refill(self, spill: int) -> None:
        """Brings spilled frames back to memory, `_JOIN_BYTES` or more at a time."""
        taken = 0
        while self._read_at < self._written_to and taken < _JOIN_BYTES:
            header = os.pread(spill, _HEADER.size, self._read_at)
            stream, size = _HEADER.unpack(header)
            self._hold(stream, os.pread(spill, size, self._read_at + _HEADER.size))
            self._read_at += _HEADER.size + size
            taken += size
        if self._read_at >= self._written_to:
            self._close_spill()

    def _close_spill(self) -> None:
        if self._spill is not None:
            with contextlib.suppress(OSError):
                os.close(self._spill)
        self._spill = None
        self._read_at = self._written_to = 0
