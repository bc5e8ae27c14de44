"""The head of a request: parsed by httptools (llhttp, strict), then checked here. Pure.

The caller cuts the head out of the stream (up to and with the empty line), so that not one byte
after it passes through the parser: what follows may be a body, the next request or raw bytes.
"""

from dataclasses import dataclass

import httptools

from naru.http.message import BadMessage

_SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"))


class _Collector:
    __slots__ = ("complete", "headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self.headers
        if name in headers:
            if name in _SINGLE:
                raise BadMessage(400, f"header {name.decode('latin-1')} comes twice")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        self.complete = True


@dataclass(slots=True)
class Head:
    """`length` is the body's length in bytes, None when it comes in chunks."""

    method: str
    path: str
    query_text: str
    headers: dict[bytes, bytes]
    length: int | None
    keep_alive: bool
    upgrade: bool
    http_1_0: bool


def parse_head(data: bytes) -> Head:
    """Raises: BadMessage."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    upgrade = False
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        upgrade = True
    except httptools.HttpParserError as error:
        cause = error.__context__
        if isinstance(cause, BadMessage):
            raise cause from error
        raise BadMessage(400, f"malformed request: {error}") from error
    if not collector.complete:
        raise BadMessage(400, "malformed request: the head does not end where it should")
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise BadMessage(400, "malformed request: the version is neither 1.0 nor 1.1")
    headers = collector.headers
    path, query = _target(collector.url)
    return Head(
        parser.get_method().decode("ascii"),
        path,
        query,
        headers,
        _body_length(headers),
        _keeps_alive(headers, version),
        upgrade or (b"upgrade" in headers and _asks_upgrade(headers)),
        version == "1.0",
    )


def _target(url: bytes) -> tuple[str, str]:
    raw_path, _, raw_query = url.partition(b"?")
    if not raw_path.startswith(b"/"):
        scheme, found, rest = raw_path.partition(b"://")
        if not found or scheme.lower() not in (b"http", b"https"):
            raise BadMessage(400, "malformed request: the target is not a path")
        raw_path = b"/" + rest.partition(b"/")[2]
    try:
        return raw_path.decode("ascii"), raw_query.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadMessage(400, "malformed request: the target is not encoded") from error


def _keeps_alive(headers: dict[bytes, bytes], version: str) -> bool:
    """llhttp forgets the answer with the end of a message, so it is read here."""
    words = headers.get(b"connection", b"").lower()
    return b"close" not in words if version == "1.1" else b"keep-alive" in words


def _asks_upgrade(headers: dict[bytes, bytes]) -> bool:
    return b"upgrade" in headers.get(b"connection", b"").lower()


def _body_length(headers: dict[bytes, bytes]) -> int | None:
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if b"content-length" in headers:
            raise BadMessage(400, "Content-Length and Transfer-Encoding exclude each other")
        if coding.strip().lower() != b"chunked":
            raise BadMessage(501, f"transfer coding {coding.decode('latin-1')} is not supported")
        return None
    text = headers.get(b"content-length")
    if text is None:
        return 0
    if not text.isdigit() or len(text) > 18:
        raise BadMessage(400, "invalid Content-Length")
    return int(text)
