"""Bodies that come in pieces: archives in, archives and progress out.

The first piece is fetched before the head is sent, so that what is wrong from the start is still
a plain error with its status.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import msgspec

from naru.base.errors import NaruError
from naru.engine.api.errors import JSON
from naru.http.message import Response, Stream, Writer
from naru.http.streams import Input

TAR = b"Content-Type: application/x-tar\r\n"


class Body:
    """The request's body as it arrives, which may also be poured into a pipe.

    Raises: ClientGone when it is cut short.
    """

    def __init__(self, source: Input) -> None:
        self._source = source

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        data = await self._source.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def pour(self, pipe: int) -> bool:
        """See `Input.pour`."""
        return await self._source.pour(pipe)


async def body_chunks(source: Input) -> AsyncGenerator[bytes, None]:
    """The request's body as it arrives. Raises: ClientGone when it is cut short."""
    while data := await source.read():
        yield data


async def closed(source: AsyncIterator[Any]) -> None:
    """End a generator that is not read to its end, so that what it holds is let go now."""
    if isinstance(source, AsyncGenerator):
        await source.aclose()


async def forward(source: AsyncIterator[bytes], out: Writer) -> None:
    """Write everything that `source` gives; it is ended whatever happens."""
    try:
        async for piece in source:
            await out.write(piece)
    finally:
        await closed(source)


async def _first(source: AsyncIterator[Any]) -> list[Any]:
    """The first item, none when there is none."""
    try:
        return [await anext(source)]
    except StopAsyncIteration:
        return []


async def bytes_stream(
    source: AsyncIterator[bytes], headers: bytes = TAR, status: int = 200
) -> Stream:
    """An answer that hands `source` through."""
    first = await _first(source)

    async def produce(out: Writer) -> None:
        for piece in first:
            await out.write(piece)
        await forward(source, out)

    return Stream(produce, status, headers)


async def progress_stream(source: AsyncIterator[Mapping[str, Any]]) -> Stream:
    """Docker's progress messages, one JSON object a line; a late error is the last of them."""
    first = await _first(source)

    async def produce(out: Writer) -> None:
        try:
            for message in first:
                await out.write(msgspec.json.encode(message) + b"\r\n")
            async for message in source:
                await out.write(msgspec.json.encode(message) + b"\r\n")
        except NaruError as error:
            await out.write(_failure(error))
        finally:
            await closed(source)

    return Stream(produce, headers=JSON)


def _failure(error: NaruError) -> bytes:
    body = {"errorDetail": {"message": error.message}, "error": error.message}
    return msgspec.json.encode(body) + b"\r\n"


def failed_progress(error: NaruError) -> Response:
    """A progress stream whose only message is the error."""
    return Response(200, _failure(error), JSON)
