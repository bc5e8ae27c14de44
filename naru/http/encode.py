"""Response heads as bytes, with everything that does not change encoded beforehand."""

import time
from email.utils import formatdate

from naru.http.message import REASONS, Hijack, Response, Stream

_NO_BODY = frozenset((204, 304))


class HeadEncoder:
    """`base` are header lines that every response carries (`b"Server: x\\r\\n"`)."""

    def __init__(self, base: bytes) -> None:
        self._base = base
        self._starts: dict[int, bytes] = {}
        self._date = b""
        self._date_s = 0

    def _start(self, status: int) -> bytes:
        start = self._starts.get(status)
        if start is None:
            reason = REASONS.get(status, "Unknown")
            start = f"HTTP/1.1 {status} {reason}\r\n".encode("ascii") + self._base
            self._starts[status] = start
        return start

    def _now(self) -> bytes:
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s = now_s
            self._date = f"Date: {formatdate(now_s, usegmt=True)}\r\n".encode("ascii")
        return self._date

    def whole(self, answer: Response, *, head_only: bool, close: bool) -> bytes:
        """Head and body of a response in one piece."""
        status, body = answer.status, answer.body
        end = b"Connection: close\r\n\r\n" if close else b"\r\n"
        if status in _NO_BODY:
            return b"%b%b%b%b" % (self._start(status), answer.headers, self._now(), end)
        return b"%b%b%bContent-Length: %d\r\n%b%b" % (
            self._start(status),
            answer.headers,
            self._now(),
            len(body),
            end,
            b"" if head_only else body,
        )

    def stream(self, answer: Stream, *, chunked: bool, close: bool) -> bytes:
        coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        end = b"Connection: close\r\n\r\n" if close else b"\r\n"
        return b"%b%b%b%b%b" % (
            self._start(answer.status), answer.headers, self._now(), coding, end,
        )  # fmt: skip

    def hijack(self, answer: Hijack) -> bytes:
        """No base headers and no date: the connection stops being HTTP here."""
        reason = REASONS.get(answer.status, "Unknown")
        return f"HTTP/1.1 {answer.status} {reason}\r\n".encode("ascii") + answer.headers + b"\r\n"
