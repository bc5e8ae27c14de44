"""A stream of the event loop as a pipe that another process, or a thread, reads."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

_PIPE_BYTES = 1 << 20

T = TypeVar("T")


@runtime_checkable
class Pourable(Protocol):
    """A stream whose rest the kernel may move into a pipe; `pour` says whether it did."""

    async def pour(self, pipe: int) -> bool: ...


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """The error that came first: the others are of tasks that were ended because of it."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, ExceptionGroup) else error


async def through_pipe(stream: AsyncIterator[bytes], consume: Callable[[int], Awaitable[T]]) -> T:
    """What `consume` makes of a pipe that `stream` is written to as it comes.

    A consumer that has read enough ends the writing; its error outweighs the stream's.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    async def feed() -> None:
        try:
            async for chunk in stream:
                await write_pipe(writing, chunk)
                if isinstance(stream, Pourable):
                    await stream.pour(writing)
        except BrokenPipeError:
            return
        finally:
            os.close(writing)

    async def eat() -> T:
        try:
            return await consume(reading)
        finally:
            os.close(reading)

    try:
        async with asyncio.TaskGroup() as group:
            result = group.create_task(eat())
            group.create_task(feed())
    except ExceptionGroup as errors:
        raise first_error(errors) from None
    return result.result()


async def write_pipe(fd: int, data: bytes) -> None:
    """Write all of `data` to a pipe that does not block. Raises: BrokenPipeError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _writable(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(fd, tell)
    try:
        await ready
    finally:
        loop.remove_writer(fd)
