"""Framing of stdout and stderr on one stream: 8 bytes of header before each payload. Pure.

Spec: Engine API, "Stream format" of ContainerAttach: stream type, three zero bytes, the payload's
length as a big-endian 32-bit number.
"""

import struct
from collections.abc import Iterator

from naru.base.errors import InvalidParameter

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3
HEADER_BYTES = 8
MULTIPLEXED = b"application/vnd.docker.multiplexed-stream"
RAW = b"application/vnd.docker.raw-stream"

_HEADER = struct.Struct(">BxxxL")


def header(stream: int, length_bytes: int) -> bytes:
    return _HEADER.pack(stream, length_bytes)


def frame(stream: int, payload: bytes) -> bytes:
    """`payload` with its header, ready for the wire."""
    return _HEADER.pack(stream, len(payload)) + payload


class FrameReader:
    """Takes bytes as they arrive, gives back whole `(stream, payload)` frames.

    Raises: InvalidParameter when a header cannot be one, or announces more than `limit_bytes`.
    """

    def __init__(self, limit_bytes: int = 64 << 20) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            stream, length = _HEADER.unpack_from(self._buffer)
            if stream > SYSTEM_ERROR or self._buffer[1:4] != b"\0\0\0":
                raise InvalidParameter(f"unrecognized stream header: {bytes(self._buffer[:8])!r}")
            if length > self._limit_bytes:
                raise InvalidParameter(f"a frame of {length} bytes is over {self._limit_bytes}")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEADER_BYTES:end])
            del self._buffer[:end]
            yield stream, payload

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return len(self._buffer)
