"""Bytes from a client's socket into a pipe, moved by the kernel: nothing here looks at them."""

import asyncio
import os
import select

PIECE_BYTES = 1 << 20


async def move(source: int, pipe: int, most: int) -> int:
    """Move between one and `most` bytes, as soon as there are any and there is room for them.

    0 at the end of the source. Neither descriptor blocks, nor belongs to a transport.
    Raises: BrokenPipeError, ConnectionError.
    """
    while True:
        try:
            return os.splice(source, pipe, min(most, PIECE_BYTES), flags=os.SPLICE_F_MOVE)
        except BlockingIOError:  # it does not say of which of the two
            if _has_room(pipe):
                await _ready(source, writing=False)
            else:
                await _ready(pipe, writing=True)


def _has_room(pipe: int) -> bool:
    asked = select.poll()
    asked.register(pipe, select.POLLOUT)
    return bool(asked.poll(0))


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    add, remove = (
        (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    )
    add(fd, tell)
    try:
        await ready
    finally:
        remove(fd)
