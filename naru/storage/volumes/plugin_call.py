"""One call of Docker's plugin protocol: a POST of JSON over a socket, with everything bounded.

A plugin is not trusted to answer, to answer soon, or to stop answering. Spec: Docker plugin API v1.
"""

import asyncio
import json
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from naru.base.errors import Internal
from naru.http.chunked import ChunkedDecoder
from naru.http.message import BadMessage

T = TypeVar("T")

_TYPE = "application/vnd.docker.plugins.v1.2+json"
_HEAD_BYTES = 1 << 16
_BODY_BYTES = 1 << 20
_SHOWN = 500


class PluginError(Internal):
    """The plugin cannot be used, or says no. `said`: the text is the plugin's own."""

    def __init__(self, message: str, *, said: bool = False) -> None:
        super().__init__(message)
        self.said = said


class PluginVolume(Struct, kw_only=True, rename="pascal"):
    name: str = ""
    mountpoint: str = ""
    status: dict[str, Any] | None = None


class Capabilities(Struct, kw_only=True, rename="pascal"):
    scope: str = ""


class PluginAnswer(Struct, kw_only=True, rename="pascal"):
    """The fields of every answer of the protocol."""

    err: str | None = None
    implements: list[str] | None = None
    mountpoint: str | None = None
    volume: PluginVolume | None = None
    volumes: list[PluginVolume] | None = None
    capabilities: Capabilities | None = None


async def call(
    name: str, address: str, method: str, body: dict[str, Any], timeout_s: float
) -> PluginAnswer:
    """Call `method` of the plugin `name` at `unix:///path` or `tcp://host:port`.

    Raises: PluginError.
    """
    try:
        async with asyncio.timeout(timeout_s):
            status, data = await _exchange(address, method, json.dumps(body).encode())
    except TimeoutError as error:
        raise PluginError(f"plugin {name} did not answer {method} in {timeout_s:g} s") from error
    except (OSError, ValueError, BadMessage, asyncio.IncompleteReadError) as error:
        raise PluginError(f"plugin {name}: {method}: {_reason(error)}") from error
    try:
        answer = msgspec.json.decode(data or b"{}", type=PluginAnswer)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        shown = data[:_SHOWN].decode(errors="replace").strip()
        if status != 200:
            raise PluginError(f"plugin {name}: {method}: status {status}: {shown}") from error
        raise PluginError(f"plugin {name}: {method}: no answer of the protocol: {error}") from error
    if answer.err:
        raise PluginError(answer.err[:_SHOWN], said=True)
    if status != 200:
        raise PluginError(f"plugin {name}: {method}: status {status}")
    return answer


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, asyncio.IncompleteReadError):
        return "it hung up in the middle of its answer"
    return str(error)


async def _exchange(address: str, method: str, body: bytes) -> tuple[int, bytes]:
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(rest, limit=_HEAD_BYTES)
    else:
        host, _, port = rest.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=_HEAD_BYTES)
    try:
        head = (
            f"POST /{method} HTTP/1.1\r\nHost: plugin\r\n"
            f"Accept: {_TYPE}\r\nContent-Type: {_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("the head of its answer is too long") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ValueError("it does not speak HTTP")
    headers = {
        key.strip().lower(): value.strip() for key, _, value in (x.partition(":") for x in lines)
    }
    status, length = int(words[1]), headers.get("content-length", "")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return status, await _chunked(reader)
    if length.isdigit():
        if int(length) > _BODY_BYTES:
            raise ValueError("its answer is too long")
        return status, await reader.readexactly(int(length))
    return status, await _bounded(reader)


async def _bounded(reader: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while data := await reader.read(_HEAD_BYTES):
        parts.append(data)
        size += len(data)
        if size > _BODY_BYTES:
            raise ValueError("its answer is too long")
    return b"".join(parts)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    decoder, parts, size = ChunkedDecoder(), [], 0
    while not decoder.done:
        data = await reader.read(_HEAD_BYTES)
        if not data:
            raise ValueError("it hung up in the middle of its answer")
        found, _ = decoder.feed(data)
        parts += found
        size += sum(map(len, found))
        if size > _BODY_BYTES:
            raise ValueError("its answer is too long")
    return b"".join(parts)
