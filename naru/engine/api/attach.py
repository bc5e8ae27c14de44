"""Connections that become a container's stdio: attach and exec, hijacked, and attach/ws.

Two directions run beside each other: what the client sends goes to the workload, its half-close
becomes EOF; what the workload writes goes to the client, framed or (with a terminal) raw. The end
of the output ends the session; the client's loss ends it too, and never the workload.

Spec: Engine API 1.51, ContainerAttach, "Hijacking" and "Stream format".
"""

import asyncio
import contextlib

from naru.base.errors import InvalidParameter
from naru.containers.hijack import ClientStream
from naru.http.message import Duplex, Hijack, Request
from naru.http.stdcopy import MULTIPLEXED, RAW, frame
from naru.http.streams import ClientGone
from naru.http.websocket import WebSocket, accept_headers


def hijack(
    request: Request, version: int, stream: ClientStream, *, framed: bool | None = None
) -> Hijack:
    """The answer that turns the connection into `stream`: 101 when asked to upgrade, else 200.

    `framed`: what the client asked for (exec); None means by the container's terminal (attach).
    """
    framed = not stream.tty if framed is None else framed
    kind = RAW
    if request.upgrade and version >= 42 and framed:
        kind = MULTIPLEXED
    headers = b"Content-Type: %b\r\n" % kind
    status = 200
    if request.upgrade:
        status = 101
        headers += b"Connection: Upgrade\r\nUpgrade: tcp\r\n"

    async def session(duplex: Duplex) -> None:
        await pump(duplex, stream, framed=framed)

    return Hijack(session, status, headers)


async def pump(duplex: Duplex, stream: ClientStream, *, framed: bool) -> None:
    """Carry both directions until the output ends or the client is gone."""
    try:
        async with asyncio.TaskGroup() as group:
            inward = group.create_task(_inward(duplex, stream))
            await _outward(duplex, stream, framed)
            inward.cancel()
    except* ClientGone:
        pass
    finally:
        await stream.close()


async def _inward(duplex: Duplex, stream: ClientStream) -> None:
    while data := await duplex.read():
        await stream.write(data)
    await stream.close_stdin()


async def _outward(duplex: Duplex, stream: ClientStream, framed: bool) -> None:
    async for number, data in stream.frames():
        await duplex.write(frame(number, data) if framed else data)


async def websocket(request: Request, stream: ClientStream) -> Hijack:
    """attach/ws: output as binary messages without framing, input from text and binary ones.

    Raises: InvalidParameter when the request is no WebSocket handshake.
    """
    headers = accept_headers(request)
    if headers is None:
        await stream.close()
        raise InvalidParameter("attach/ws: wanted a WebSocket handshake (RFC 6455)")

    async def session(duplex: Duplex) -> None:
        socket = WebSocket(duplex)
        await pump(socket, stream, framed=False)
        with contextlib.suppress(ClientGone):
            await socket.close()

    return Hijack(session, 101, headers)
