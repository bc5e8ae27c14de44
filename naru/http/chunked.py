"""Request bodies: by length, or in chunks. Pure: bytes in, payload and the rest out.

Spec: RFC 9112 §6 and §7.1. Strict: what could be read in two ways is an error.
"""

import re

from naru.http.message import BadMessage

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\Z")
_LINE_LIMIT = 4096
_TRAILER_LIMIT = 16384


class LengthDecoder:
    """Exactly `length_bytes` of payload."""

    __slots__ = ("_left", "done")

    def __init__(self, length_bytes: int) -> None:
        self._left = length_bytes
        self.done = length_bytes == 0

    @property
    def left_bytes(self) -> int:
        return self._left

    def pass_by(self, size: int) -> None:
        """Count `size` bytes of payload that went another way."""
        self._left -= size
        self.done = self._left == 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Payload parts in `data`, and what follows the body."""
        if len(data) < self._left:
            self._left -= len(data)
            return [data], b""
        cut, self._left, self.done = self._left, 0, True
        return [data[:cut]] if cut else [], data[cut:]


class ChunkedDecoder:
    """The chunked coding; trailers are read over and dropped."""

    __slots__ = ("_buffer", "_expect_crlf", "_left", "_trailer_bytes", "_trailers", "done")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._expect_crlf = False
        self._trailers = False
        self._trailer_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Payload parts in `data`, and what follows the body. Raises: BadMessage."""
        parts: list[bytes] = []
        rest = self._buffer + data if self._buffer else data
        self._buffer = b""
        at, end = 0, len(rest)
        while at < end and not self.done:
            if self._left:
                part = rest[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                self._expect_crlf = not self._left
                parts.append(part)
                continue
            found = rest.find(b"\r\n", at)
            if found < 0:
                if end - at > _LINE_LIMIT:
                    raise BadMessage(400, "malformed chunked body: a line is too long")
                self._buffer = rest[at:]
                return parts, b""
            self._line(rest[at:found])
            at = found + 2
        return parts, rest[at:]

    def _line(self, line: bytes) -> None:
        if self._expect_crlf:
            if line:
                raise BadMessage(400, "malformed chunked body: a chunk is longer than its size")
            self._expect_crlf = False
        elif self._trailers:
            self._trailer_bytes += len(line) + 2
            if self._trailer_bytes > _TRAILER_LIMIT:
                raise BadMessage(400, "malformed chunked body: trailers are too long")
            self.done = not line
        else:
            match = _SIZE_LINE.match(line)
            if match is None:
                raise BadMessage(400, "malformed chunked body: wanted a chunk size")
            self._left = int(match[1], 16)
            self._trailers = not self._left
