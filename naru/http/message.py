"""Requests and responses as values; what a handler gets and what it gives back.

A handler returns a `Response` (whole body), a `Stream` (chunks as they come) or a `Hijack` (the
connection itself, both directions, raw).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

from naru.http.streams import Input

REASONS: Mapping[int, str] = {
    100: "Continue", 101: "UPGRADED", 200: "OK", 201: "Created", 204: "No Content",
    304: "Not Modified", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 408: "Request Timeout", 409: "Conflict", 413: "Payload Too Large",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class BadMessage(Exception):
    """The peer's HTTP is broken or over a limit; `status` is the answer, then we close."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. UNIX: `pid`, `uid`, `gid`; TCP: `address`, TLS: `subject` too."""

    kind: str
    address: str = ""
    pid: int = 0
    uid: int = -1
    gid: int = -1
    subject: str = ""

    @property
    def key(self) -> str:
        """What the caps on connections count by."""
        return f"uid {self.uid}" if self.kind == "unix" else self.address


class Request:
    """One request's head, and its body as it arrives (`body` is None when there is none).

    Header names are lower case; a repeated header's values are joined with `, `.
    """

    __slots__ = (
        "body", "body_length", "chunked_answers", "headers", "keep_alive", "method", "path", "peer",
        "query_text", "upgrade",
    )  # fmt: skip

    def __init__(
        self, method: str, path: str, query_text: str, headers: dict[bytes, bytes], peer: Peer
    ) -> None:
        self.method, self.path, self.query_text = method, path, query_text
        self.headers, self.peer = headers, peer
        self.body: Input | None = None
        self.body_length: int | None = 0
        self.keep_alive = True
        self.upgrade = False
        self.chunked_answers = True

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def query(self) -> dict[str, list[str]]:
        """Decoded query; a name may come more than once. Raises: BadMessage (too many fields)."""
        found: dict[str, list[str]] = {}
        if self.query_text:
            try:
                pairs = parse_qsl(
                    self.query_text,
                    keep_blank_values=True,
                    max_num_fields=1000,
                    errors="surrogateescape",
                )
            except ValueError as error:
                raise BadMessage(400, "the query has more than 1000 fields") from error
            for name, value in pairs:
                found.setdefault(name, []).append(value)
        return found


class Writer(Protocol):
    """Where a `Stream` puts its bytes; waits while the client is slow. Raises: ClientGone."""

    async def write(self, data: bytes) -> None: ...


class Duplex(Protocol):
    """A hijacked connection. `read` gives b"" at the client's half-close."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...


@dataclass(slots=True)
class Response:
    """`headers` are encoded lines (`b"Content-Type: text/plain\\r\\n"`)."""

    status: int = 200
    body: bytes = b""
    headers: bytes = b""


@dataclass(slots=True)
class Stream:
    """A body of unknown length; `produce` writes it. An exception in it cuts the connection."""

    produce: Callable[[Writer], Awaitable[None]]
    status: int = 200
    headers: bytes = b""


@dataclass(slots=True)
class Hijack:
    """The connection after the head `status` + `headers` is the session's, until it returns."""

    session: Callable[[Duplex], Awaitable[None]]
    status: int = 101
    headers: bytes = b""


Answer = Response | Stream | Hijack
