"""A light blocking HTTP/1.1 client over a connected stream, for our own command line.

What it is: requests with a body of bytes or chunks, answers read whole, by chunk or by line, and
connections taken over ("hijacked") for raw streams. What it is not: redirects, cookies, proxies,
compression. It imports as little as it can, because a command's start-up time is spent here:
`_socket` is the C half of `socket`, whose Python half costs more than a whole request.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Protocol

    class Stream(Protocol):
        """What a UNIX, TCP or TLS socket offers alike."""

        def recv(self, size: int, /) -> bytes: ...
        def send(self, data: bytes, /) -> int: ...
        def sendall(self, data: bytes, /) -> None: ...
        def settimeout(self, value: float | None, /) -> None: ...
        def shutdown(self, how: int, /) -> None: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...


RECEIVE_BYTES = 65536
HEAD_LIMIT_BYTES = 1 << 20


class ProtocolError(OSError):
    """The peer does not speak HTTP/1.1 as it should, or hung up in the middle."""


def dial_unix(path: str) -> Stream:
    """Connect to the UNIX socket at `path`. Raises: OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _hidden_bytes(stream: Stream) -> bool:
    """Whether a TLS stream holds decrypted bytes that its descriptor does not show."""
    waiting: Callable[[], int] | None = getattr(stream, "pending", None)
    return waiting is not None and waiting() > 0


class Reader:
    """Buffered reading from a stream: by line, by count, or what has come.

    What was read stays in the buffer until all of it is used: many short lines cost no copies.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0

    def drain(self) -> bytes:
        """What was received already and nobody has asked for yet."""
        data, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return data

    def pending(self) -> bool:
        return self._at < len(self._buffer) or _hidden_bytes(self._stream)

    def some(self) -> bytes:
        """What is there, at least one byte; empty at the end of the stream."""
        return self.drain() or self._stream.recv(RECEIVE_BYTES)

    def until(self, mark: bytes) -> bytes:
        """The bytes up to and with `mark`. Raises: ProtocolError at the end of the stream."""
        while (end := self._buffer.find(mark, self._at)) < 0:
            self._buffer, self._at = self._buffer[self._at :], 0
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise ProtocolError("the answer's header is too long")
            more = self._stream.recv(RECEIVE_BYTES)
            if not more:
                raise ProtocolError("the connection ended before the answer was complete")
            self._buffer += more
        start, self._at = self._at, end + len(mark)
        return self._buffer[start : self._at]

    def at_most(self, count: int) -> bytes:
        """Between one and `count` bytes. Raises: ProtocolError at the end of the stream."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._stream.recv(RECEIVE_BYTES), 0
            if not self._buffer:
                raise ProtocolError("the connection ended before the answer was complete")
        start = self._at
        self._at = min(start + count, len(self._buffer))
        return self._buffer[start : self._at]


class Response:
    """An answer: its head, and its body as it comes. Header names are in lower case."""

    def __init__(self, stream: Stream, method: str, done: Callable[[Stream], None]) -> None:
        self._stream = stream
        self._reader = Reader(stream)
        self._done = done
        self.status, self.headers = self._read_head()
        while self.status in (100, 102, 103):
            self.status, self.headers = self._read_head()
        length = self.headers.get("content-length")
        self._empty = method == "HEAD" or self.status in (204, 304) or length == "0"
        self._left = int(length) if length and length.isdigit() else -1
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        if self._empty:
            self._finish()

    def _read_head(self) -> tuple[int, dict[str, str]]:
        lines = self._reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ProtocolError(f"not an HTTP answer: {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(rest[:3]), headers

    def _finish(self) -> None:
        if self._stream_kept() and not self._reader.drain():
            self._done(self._stream)
        else:
            self._stream.close()

    def _stream_kept(self) -> bool:
        ends_itself = self._empty or self._chunked or self._left >= 0
        return ends_itself and self.headers.get("connection", "").lower() != "close"

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece, as it arrives. Raises: ProtocolError when it is cut short."""
        if self._empty:
            return
        if self._chunked:
            yield from self._decode_chunks()
        elif self._left >= 0:
            left = self._left
            while left:
                data = self._reader.at_most(left)
                left -= len(data)
                yield data
        else:
            while data := self._reader.some():
                yield data
        self._empty = True
        self._finish()

    def _decode_chunks(self) -> Iterator[bytes]:
        reader = self._reader
        while True:
            size = reader.until(b"\r\n").partition(b";")[0].strip()
            try:
                left = int(size, 16)
            except ValueError as error:
                raise ProtocolError(f"broken chunk size {size[:20]!r}") from error
            if left == 0:
                while reader.until(b"\r\n") != b"\r\n":
                    pass
                return
            while left:
                data = reader.at_most(left)
                left -= len(data)
                yield data
            reader.until(b"\r\n")

    def fileno(self) -> int:
        return self._stream.fileno()

    def pending(self) -> bool:
        """Whether bytes of the body wait here that `poll` on the descriptor does not tell of."""
        return self._empty or self._reader.pending()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they are complete, without their ends; the last may lack one."""
        rest = b""
        for data in self.chunks():
            *complete, rest = (rest + data).split(b"\n")
            yield from complete
        if rest:
            yield rest

    def take_over(self) -> Hijacked:
        """The raw connection behind this answer, with what has come already."""
        return Hijacked(self._stream, self._reader.drain())

    def close(self) -> None:
        """Give up the rest of the body."""
        if not self._empty:
            self._empty = True
            self._stream.close()


class Hijacked:
    """A connection taken over from HTTP: bytes both ways, each way closed on its own."""

    def __init__(self, stream: Stream, received: bytes) -> None:
        self._stream = stream
        self._received = received

    def fileno(self) -> int:
        return self._stream.fileno()

    def pending(self) -> bool:
        """Whether bytes wait here that `poll` on the descriptor does not tell of."""
        return bool(self._received) or _hidden_bytes(self._stream)

    def recv(self) -> bytes:
        """What has come, empty at the end."""
        if self._received:
            data, self._received = self._received, b""
            return data
        return self._stream.recv(RECEIVE_BYTES)

    def try_send(self, data: bytes) -> int:
        """Send what fits without waiting; how many bytes that were, 0 when none fit now."""
        self._stream.settimeout(0)
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if type(error).__name__ in ("SSLWantWriteError", "SSLWantReadError"):
                return 0
            raise
        finally:
            self._stream.settimeout(None)

    def close_write(self) -> None:
        """Tell the peer that nothing more comes from us; its bytes still arrive."""
        try:
            self._stream.shutdown(_socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._stream.close()


def render_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The request line and headers. Raises: ValueError for a line break within."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a request header may not hold a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class HttpClient:
    """Requests over streams that `dial` makes; one idle stream is kept for the next request."""

    def __init__(self, dial: Callable[[], Stream], headers: Mapping[str, str]) -> None:
        self._dial = dial
        self._headers = headers
        self._idle: Stream | None = None

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Response:
        """Send one request and read the head of its answer. Raises: OSError, ProtocolError."""
        merged = {**self._headers, **(headers or {})}
        streamed = not isinstance(body, bytes) and body is not None
        if streamed:
            merged["Transfer-Encoding"] = "chunked"
        elif body is not None or method in ("POST", "PUT"):
            merged["Content-Length"] = str(len(body)) if isinstance(body, bytes) else "0"
        head = render_head(method, target, merged)
        stream, self._idle = self._idle, None
        if stream is not None:
            try:
                return self._exchange(stream, method, head, body)
            except OSError:
                stream.close()
                if streamed:
                    raise
        return self._exchange(self._dial(), method, head, body)

    def _exchange(
        self, stream: Stream, method: str, head: bytes, body: bytes | Iterable[bytes] | None
    ) -> Response:
        try:
            if body is None:
                stream.sendall(head)
            elif isinstance(body, bytes):
                stream.sendall(head + body)
            else:
                self._send_chunks(stream, head, body)
            return Response(stream, method, self._keep)
        except BaseException:
            stream.close()
            raise

    @staticmethod
    def _send_chunks(stream: Stream, head: bytes, body: Iterable[bytes]) -> None:
        """Send chunks until they end, or the peer has heard enough and answers early."""
        stream.sendall(head)
        try:
            for data in body:
                if data:
                    stream.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            stream.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def _keep(self, stream: Stream) -> None:
        if self._idle is not None:
            self._idle.close()
        self._idle = stream

    def close(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None
