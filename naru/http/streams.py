"""The two directions of a connection as a handler sees them, each with back-pressure.

`Input` holds what arrived and was not read yet; over its high mark it asks the transport to stop
reading. `Output` writes to the transport and waits while the client reads too slowly: only the
task that writes to that client waits, nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

HIGH_BYTES = 512 * 1024
LOW_BYTES = 128 * 1024


class ClientGone(ConnectionError):
    """The client closed its connection before the exchange was over."""


class _Flow(Protocol):
    def pause_input(self) -> None: ...
    def resume_input(self) -> None: ...
    async def pour_body(self, pipe: int) -> bool: ...


class Input:
    """Bytes from the client, in order. One reader at a time."""

    __slots__ = ("_chunks", "_ended", "_error", "_flow", "_paused", "_size", "_waiter", "on_read")

    def __init__(self, flow: _Flow, on_read: Callable[[], None] | None = None) -> None:
        """`on_read` is called once, when somebody first asks for bytes."""
        self._flow = flow
        self.on_read = on_read
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_BYTES and not self._paused:
            self._paused = True
            self._flow.pause_input()
        self._wake()

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Every later read that finds no data raises `error`."""
        if not self._ended:
            self._error = error
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def at_eof(self) -> bool:
        return self._ended and not self._chunks

    async def read(self) -> bytes:
        """The next bytes, as many as came together; empty at the end.

        Raises: ClientGone when the connection ended before the body did.
        """
        if self.on_read is not None:
            self.on_read()
            self.on_read = None
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._chunks.popleft()
        self._size -= len(data)
        if self._paused and self._size < LOW_BYTES:
            self._paused = False
            self._flow.resume_input()
        return data

    async def pour(self, pipe: int) -> bool:
        """Let the kernel move the rest to a pipe that does not block; whether it did.

        It does not when there are bytes to `read` first, nor for every kind of body.
        Raises: ClientGone, BrokenPipeError.
        """
        if self._chunks or self._ended:
            return False
        return await self._flow.pour_body(pipe)

    def take_rest(self) -> bytes:
        """What arrived and was not read; the buffer is empty after."""
        rest = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return rest


class Output:
    """Bytes to the client; `drain` waits while the transport's buffer is over its high mark."""

    __slots__ = ("_gone", "_paused", "_transport", "_waiters")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._paused = False
        self._gone = False
        self._waiters: list[asyncio.Future[None]] = []

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake()

    def lost(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    @property
    def congested(self) -> bool:
        return self._paused

    def push(self, data: bytes | memoryview) -> None:
        """Hand over without waiting; nothing happens when the client is gone."""
        if not self._gone:
            self._transport.write(data)

    async def write(self, data: bytes) -> None:
        """Raises: ClientGone."""
        if self._gone:
            raise ClientGone("the client closed the connection")
        self._transport.write(data)
        if self._paused:
            await self.drain()

    async def drain(self) -> None:
        while self._paused and not self._gone:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._gone:
            raise ClientGone("the client closed the connection")
