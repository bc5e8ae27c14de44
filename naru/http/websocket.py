"""The server's side of a WebSocket: handshake, frames, and a stream of bytes on top of them.

No extensions. A client's frames must be masked; control frames are answered; what breaks the
protocol ends the connection with its close code.

Spec: RFC 6455 §4.2 (handshake), §5 (framing), §7.4 (close codes).
"""

import base64
import hashlib
import struct
from collections.abc import Iterator

from naru.http.message import Duplex, Request
from naru.http.streams import ClientGone

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MESSAGE_LIMIT_BYTES = 1 << 20
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009


class Broken(Exception):
    """The peer broke the protocol; `code` tells how."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def accept_headers(request: Request) -> bytes | None:
    """The answer's headers to a handshake; None when it is none."""
    key = request.headers.get(b"sec-websocket-key", b"")
    valid = (
        request.method == "GET"
        and request.headers.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in request.headers.get(b"connection", b"").lower()
        and request.headers.get(b"sec-websocket-version") == b"13"
        and len(key) == 24
    )
    if not valid:
        return None
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n" % accept


def encode(opcode: int, payload: bytes) -> bytes:
    """One whole, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class FrameReader:
    """Takes bytes as they arrive, gives `(opcode, payload)`; fragments come one by one."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Raises: Broken."""
        self._buffer += data
        while (found := self._take()) is not None:
            yield found

    def _take(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, size, at = buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise Broken(PROTOCOL_ERROR, "reserved bits set, or a frame that is not masked")
        if opcode >= CLOSE and (size > 125 or not buffer[0] & 0x80):
            raise Broken(PROTOCOL_ERROR, "a control frame is too long or fragmented")
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < at + width:
                return None
            size = int.from_bytes(buffer[at : at + width], "big")
            at += width
        if size > MESSAGE_LIMIT_BYTES:
            raise Broken(TOO_BIG, "a frame is too long")
        if len(buffer) < at + 4 + size:
            return None
        mask = bytes(buffer[at : at + 4])
        payload = unmask(bytes(buffer[at + 4 : at + 4 + size]), mask)
        del buffer[: at + 4 + size]
        return opcode, payload


class WebSocket:
    """A `Duplex` of payload bytes over a hijacked connection."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._frames = FrameReader()
        self._pending: list[bytes] = []
        self._closed = False

    async def read(self) -> bytes:
        """Payload of the next data frames; b"" once the client has closed."""
        while not self._pending and not self._closed:
            data = await self._duplex.read()
            if not data:
                self._closed = True
                break
            try:
                for opcode, payload in self._frames.feed(data):
                    await self._received(opcode, payload)
            except Broken as error:
                await self.close(error.code)
                raise ClientGone(str(error)) from error
        data = b"".join(self._pending)
        self._pending.clear()
        return data

    async def _received(self, opcode: int, payload: bytes) -> None:
        if opcode in (CONTINUATION, TEXT, BINARY):
            if payload:
                self._pending.append(payload)
        elif opcode == PING:
            await self._duplex.write(encode(PONG, payload))
        elif opcode == CLOSE:
            await self.close(NORMAL)
            raise ClientGone("the client closed the WebSocket")
        elif opcode != PONG:
            raise Broken(PROTOCOL_ERROR, f"unknown opcode {opcode}")

    async def write(self, data: bytes) -> None:
        if data:
            await self._duplex.write(encode(BINARY, data))

    def write_eof(self) -> None:
        """A WebSocket has no half-close."""

    async def close(self, code: int = NORMAL) -> None:
        """Say goodbye once; the connection itself is the server's to close."""
        if not self._closed:
            self._closed = True
            await self._duplex.write(encode(CLOSE, struct.pack(">H", code)))
