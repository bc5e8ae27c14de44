"""Reading a log for one client: from the oldest wanted record on, and on as it grows."""

import asyncio
import os
from collections.abc import AsyncIterator

from naru.kernel.threads import offload
from naru.runtime.logs import files
from naru.runtime.logs.lines import LineEncoder, LogQuery

_BLOCK_BYTES = 1 << 20


class Follower:
    """What wakes a following reader: the log changed, or its container ended."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def changed(self) -> None:
        self._changed.set()

    def end(self) -> None:
        """Nothing more will be written; the reader gives the rest and ends."""
        self._ended = True
        self._changed.set()

    async def wait(self) -> None:
        await self._changed.wait()
        self._changed.clear()


async def read_log(
    path: str, query: LogQuery, follower: Follower | None = None
) -> AsyncIterator[bytes]:
    """Encoded blocks of the log at `path`; with a `follower`, until its container has ended.

    Files are opened before the first block is given, so a rotation meanwhile loses nothing.
    Close the iterator when the client is gone.
    """
    fds = files.open_all(path)
    encoder = LineEncoder(query)
    try:
        # Without a follower what is written while we read is left out, or it might never end.
        newest_end = os.fstat(fds[-1]).st_size if fds and follower is None else None
        await _seek(fds, query)
        while fds and not encoder.done:
            block = await _next(fds[0], encoder, newest_end if len(fds) == 1 else None)
            if block:
                yield block
            elif block is None:
                if len(fds) == 1 and follower is not None:
                    break
                os.close(fds.pop(0))
                encoder.next_file()
        if follower is not None:
            async for block in _follow(path, fds, encoder, follower):
                yield block
        last = encoder.finish()
        if last:
            yield last
    finally:
        for fd in fds:
            os.close(fd)


async def _seek(fds: list[int], query: LogQuery) -> None:
    """Drops and positions `fds` so that reading begins at the query's tail."""
    if query.tail is None or not fds:
        return
    index, offset = await offload(files.tail_position, fds, query.tail)
    for _ in range(index):
        os.close(fds.pop(0))
    os.lseek(fds[0], offset, os.SEEK_SET)


def _read_block(fd: int, encoder: LineEncoder, end: int | None) -> bytes | None:
    size = _BLOCK_BYTES
    if end is not None:
        size = min(size, end - os.lseek(fd, 0, os.SEEK_CUR))
    data = os.read(fd, size) if size > 0 else b""
    return encoder.feed(data) if data else None


async def _next(fd: int, encoder: LineEncoder, end: int | None = None) -> bytes | None:
    """The next block up to offset `end`, encoded (it may be empty); None at the end."""
    return await offload(_read_block, fd, encoder, end)


async def _follow(
    path: str, fds: list[int], encoder: LineEncoder, follower: Follower
) -> AsyncIterator[bytes]:
    """From the end of the newest file on. `fds` holds that file, or nothing yet."""
    while not encoder.done:
        ended = follower.ended
        successor = _successor(path, fds)
        # In this order: what conmon wrote to the old file before it made the successor is there.
        while fds and (block := await _next(fds[0], encoder)) is not None:
            if block:
                yield block
            if encoder.done:
                break
        if successor is not None:
            if fds:
                os.close(fds.pop())
                encoder.next_file()
            fds.append(successor)
        elif ended:
            return
        else:
            await follower.wait()


def _successor(path: str, fds: list[int]) -> int | None:
    if fds:
        return files.open_after(path, fds[0])
    opened = files.open_all(path)
    for fd in opened[1:]:
        os.close(fd)
    return opened[0] if opened else None
