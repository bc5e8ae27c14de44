"""One client at a container's or an exec session's stdio, with the keys that detach it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from naru.containers.detach import DetachScanner
from naru.containers.hijack import ClientStream


class Session(Protocol):
    """What the runtime gives for an attach or an exec session."""

    async def read(self) -> tuple[int, bytes] | None: ...

    async def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...


class SessionStream:
    """The API's side of a session: frames out, bytes in, detached by its keys.

    `first`: frames shown before the live ones (`logs=1`). `leave` is called once, when the client
    is gone or has detached (then with True).
    """

    def __init__(
        self,
        session: Session,
        *,
        tty: bool,
        keys: bytes,
        leave: Callable[[bool], None],
        first: AsyncIterator[tuple[int, bytes]] | None = None,
    ) -> None:
        self.tty = tty
        self._session = session
        self._scanner = DetachScanner(keys if tty else b"")
        self._leave = leave
        self._first = first
        self._left = False

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        if self._first is not None:
            async for frame in self._first:
                yield frame
        while (frame_or_end := await self._session.read()) is not None:
            yield frame_or_end

    async def write(self, data: bytes) -> None:
        passed, detached = self._scanner.feed(data)
        if passed:
            await self._session.write(passed)
        if detached:
            self._end(True)

    async def close_stdin(self) -> None:
        self._session.close_stdin()

    async def close(self) -> None:
        self._end(False)

    def _end(self, detached: bool) -> None:
        if not self._left:
            self._left = True
            self._leave(detached)


class TextStream:
    """A session that only says something: why an exec could not begin, or past logs."""

    def __init__(self, frames: AsyncIterator[tuple[int, bytes]], *, tty: bool) -> None:
        self.tty = tty
        self._frames = frames

    def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._frames

    async def write(self, data: bytes) -> None:
        """Nobody reads it."""

    async def close_stdin(self) -> None:
        """There is none."""

    async def close(self) -> None:
        """Nothing is held."""


async def one_frame(stream: int, data: bytes) -> AsyncIterator[tuple[int, bytes]]:
    yield stream, data


class StartingStream:
    """A session that begins when its frames are first asked for; input waits until then."""

    def __init__(self, begin: Callable[[], Awaitable[ClientStream]], tty: bool) -> None:
        self.tty = tty
        self._begin = begin
        self._begun = asyncio.Event()
        self._stream: ClientStream | None = None

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        try:
            self._stream = await self._begin()
        finally:
            self._begun.set()
        async for frame in self._stream.frames():
            yield frame

    async def write(self, data: bytes) -> None:
        await self._begun.wait()
        if self._stream is not None:
            await self._stream.write(data)

    async def close_stdin(self) -> None:
        await self._begun.wait()
        if self._stream is not None:
            await self._stream.close_stdin()

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.close()
