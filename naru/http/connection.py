"""One client connection: an asyncio protocol that reads requests and writes answers in order.

    HEAD ──head whole──▶ BODY ──body whole──▶ BUSY ──answer sent──▶ HEAD, or closed
      │                                         ▲
      └──────────────no body────────────────────┘   any ─Hijack─▶ RAW ─session ends─▶ closed

In BUSY what arrives is the next (pipelined) request, or, when the answer is a hijack, the first
raw bytes: it is kept as it is until that is known. A handler that reads no body, or not all of
it, costs the connection (DISCARD reads a little more, so that the answer arrives).
"""

import asyncio
import contextlib
import logging
import select
import socket
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from naru.base.tasks import TaskRegistry
from naru.http.chunked import ChunkedDecoder, LengthDecoder
from naru.http.encode import HeadEncoder
from naru.http.head import parse_head
from naru.http.message import Answer, BadMessage, Hijack, Peer, Request, Response, Stream
from naru.http.pour import move
from naru.http.streams import ClientGone, Input, Output

log = logging.getLogger("naru.http")

_KEEP_ALIVE = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)
_UNCOPIED_BYTES = 1 << 16
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    head_bytes: int = 128 * 1024
    head_deadline_s: float = 10.0
    discard_deadline_s: float = 2.0
    pipelined_bytes: int = 256 * 1024
    connections: int = 16384
    connections_per_peer: int = 4096
    write_high_bytes: int = 512 * 1024


class Owner(Protocol):
    """What a connection needs of its server. `handle` never raises."""

    limits: Limits
    encoder: HeadEncoder
    tasks: TaskRegistry

    def handle(self, request: Request) -> Response | Coroutine[Any, Any, Answer]: ...
    def left(self, connection: "Connection") -> None: ...
    def arm(self, connection: "Connection", timeout_s: float) -> None: ...
    def disarm(self, connection: "Connection") -> None: ...


class Phase(Enum):
    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    RAW = auto()
    DISCARD = auto()
    CLOSED = auto()


class _ChunkedWriter:
    __slots__ = ("_output",)

    def __init__(self, output: Output) -> None:
        self._output = output

    async def write(self, data: bytes) -> None:
        if len(data) >= _UNCOPIED_BYTES:
            self._output.push(b"%x\r\n" % len(data))
            self._output.push(memoryview(data))
            await self._output.write(b"\r\n")
        elif data:
            await self._output.write(b"%x\r\n%b\r\n" % (len(data), data))


class _RawDuplex:
    __slots__ = ("_connection", "_input", "_output")

    def __init__(self, connection: "Connection", raw: Input, output: Output) -> None:
        self._connection, self._input, self._output = connection, raw, output

    async def read(self) -> bytes:
        return await self._input.read()

    async def write(self, data: bytes) -> None:
        await self._output.write(data)

    def write_eof(self) -> None:
        self._connection.half_close()


class Connection(asyncio.Protocol):
    def __init__(self, owner: Owner, peer: Peer) -> None:
        self.peer = peer
        self._owner = owner
        self._phase = Phase.HEAD
        self._buffer = b""
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        self._input: Input | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancel_on_loss = False
        self._eof = False
        self._armed = False
        self._closing = False
        self._made = False
        self._throttled = False
        self._hangup: select.epoll | None = None
        self._pouring: socket.socket | None = None

    # -- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._owner.limits.write_high_bytes)
        self._output = Output(transport)
        self._arm(self._owner.limits.head_deadline_s)
        self._made = True
        if self._closing:  # the server ended while the client was let in
            transport.abort()

    def pause_writing(self) -> None:
        self._output.pause()

    def resume_writing(self) -> None:
        self._output.resume()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is Phase.HEAD or phase is Phase.BUSY:
            self._buffer = self._buffer + data if self._buffer else data
            if phase is Phase.HEAD:
                self._advance()
            elif len(self._buffer) > self._owner.limits.pipelined_bytes and not self._throttled:
                self._throttled = True
                self.pause_input()
        elif phase is Phase.RAW:
            assert self._input is not None
            self._input.feed(data)
        elif phase is Phase.BODY:
            self._feed_body(data)
        elif phase is Phase.DISCARD:
            self._discard(data)

    def eof_received(self) -> bool:
        self._eof = True
        if self._phase is Phase.RAW:
            assert self._input is not None
            self._input.feed_eof()
            self._watch_hangup()
            return True
        if self._phase is Phase.BODY and self._input is not None:
            self._input.fail(ClientGone("the client closed the connection amid the body"))
        if self._task is None:
            return False
        if self._cancel_on_loss:
            self._task.cancel()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = Phase.CLOSED
        self._output.lost()
        if self._pouring is not None:  # wakes who waits for it, and tells the client
            with contextlib.suppress(OSError):
                self._pouring.shutdown(socket.SHUT_RDWR)
        if self._input is not None:
            self._input.fail(ClientGone("the client closed the connection"))
        if self._task is not None and self._cancel_on_loss:
            self._task.cancel()
        if self._hangup is not None:
            asyncio.get_running_loop().remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None
        self._disarm()
        self._owner.left(self)

    # -- flow and deadlines -----------------------------------------------------------------

    def pause_input(self) -> None:
        if not self._eof and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_input(self) -> None:
        if not self._eof and not self._transport.is_closing():
            self._transport.resume_reading()

    def _arm(self, timeout_s: float) -> None:
        self._armed = True
        self._owner.arm(self, timeout_s)

    def _disarm(self) -> None:
        if self._armed:
            self._armed = False
            self._owner.disarm(self)

    def expired(self) -> None:
        """The deadline of the head (or of reading what nobody wants) has passed."""
        self._armed = False
        if self._phase is Phase.HEAD and self._buffer:
            self._refuse(BadMessage(408, "the request's head did not arrive in time"))
        else:
            self._transport.abort()

    @property
    def idle(self) -> bool:
        return self._phase is Phase.HEAD

    @property
    def interruptible(self) -> bool:
        """Nothing is changed by what runs here: a stream or a hijacked session."""
        return self._cancel_on_loss

    def shut(self) -> None:
        """Close at the next boundary between requests; an idle connection at once."""
        self._closing = True
        if not self._made:
            return
        if self._task is None:
            self._transport.close()
        elif self._cancel_on_loss:
            self._task.cancel()

    def abort(self) -> None:
        self._closing = True
        if self._made:
            self._transport.abort()

    def half_close(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _watch_hangup(self) -> None:
        """After the client's half-close: notice when it closes the other half, too (UNIX)."""
        if self.peer.kind != "unix" or self._hangup is not None:
            return
        self._hangup = select.epoll()
        self._hangup.register(self._transport.get_extra_info("socket").fileno(), 0)
        asyncio.get_running_loop().add_reader(self._hangup.fileno(), self._transport.abort)

    # -- requests ---------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take whole requests out of the buffer until one is under way or bytes are missing."""
        while self._phase is Phase.HEAD and self._buffer:
            buffer = self._buffer.lstrip(b"\r\n") if self._buffer[0] in b"\r\n" else self._buffer
            end = buffer.find(b"\r\n\r\n")
            limit = self._owner.limits.head_bytes
            if end > limit or (end < 0 and len(buffer) > limit):
                self._refuse(BadMessage(431, f"the request's head is over {limit} bytes"))
                return
            if end < 0:
                self._buffer = buffer
                if not self._armed:
                    self._arm(self._owner.limits.head_deadline_s)
                return
            if self._armed:
                self._disarm()
            self._buffer = buffer[end + 4 :]
            try:
                self._begin(buffer[: end + 4])
            except BadMessage as error:
                self._refuse(error)
                return

    def _begin(self, data: bytes) -> None:
        head = parse_head(data)
        request = Request(head.method, head.path, head.query_text, head.headers, self.peer)
        request.keep_alive = head.keep_alive
        request.upgrade = head.upgrade
        request.body_length = head.length
        request.chunked_answers = not head.http_1_0
        if head.length == 0:
            self._phase = Phase.BUSY
        else:
            self._phase = Phase.BODY
            self._decoder = ChunkedDecoder() if head.length is None else LengthDecoder(head.length)
            expects = head.headers.get(b"expect", b"").lower() == b"100-continue"
            self._input = Input(self, self._say_continue if expects else None)
            request.body = self._input
            rest, self._buffer = self._buffer, b""
            if rest:
                self._feed_body(rest)
        answer = self._owner.handle(request)
        if isinstance(answer, Response):
            self._send(request, answer)
            self._finish(request)
            return
        self._task = self._owner.tasks.spawn(head.path, self._serve(request, answer))

    def _say_continue(self) -> None:
        if self._phase is Phase.BODY:
            self._output.push(CONTINUE)

    def _feed_body(self, data: bytes) -> None:
        assert self._decoder is not None and self._input is not None
        try:
            parts, rest = self._decoder.feed(data)
        except BadMessage as error:
            self._input.fail(error)
            self._phase, self._closing = Phase.DISCARD, True
            return
        if parts:
            self._input.feed(b"".join(parts) if parts[1:] else parts[0])
        if self._decoder.done:
            self._input.feed_eof()
            self._phase = Phase.BUSY
            self._buffer = rest

    async def pour_body(self, pipe: int) -> bool:
        """Move the body's rest to `pipe` within the kernel; False where that cannot be."""
        decoder = self._decoder
        if not isinstance(decoder, LengthDecoder) or self.peer.kind != "unix" or self._eof:
            return False
        self.pause_input()
        with self._transport.get_extra_info("socket").dup() as self._pouring:
            try:
                while self._phase is Phase.BODY and not decoder.done:
                    moved = await move(self._pouring.fileno(), pipe, decoder.left_bytes)
                    if not moved:
                        raise ClientGone("the client closed the connection amid the body")
                    decoder.pass_by(moved)
                    await asyncio.sleep(0)  # others have their turn
            finally:
                self._pouring = None
        if self._phase is not Phase.BODY or self._input is None:
            raise ClientGone("the client closed the connection")
        self._phase = Phase.BUSY
        self._input.feed_eof()
        self.resume_input()
        return True

    def _refuse(self, error: BadMessage) -> None:
        """Answer broken HTTP; where the next request starts is unknown, so we close."""
        body = b'{"message":"%b"}\n' % error.message.replace('"', "'").encode()
        answer = Response(error.status, body, b"Content-Type: application/json\r\n")
        self._output.push(self._owner.encoder.whole(answer, head_only=False, close=True))
        self._buffer = b""
        self._discard_rest()

    # -- answers ----------------------------------------------------------------------------

    async def _serve(self, request: Request, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await work
            if isinstance(answer, Response):
                self._send(request, answer)
            elif isinstance(answer, Stream):
                await self._send_stream(request, answer)
            else:
                await self._run_raw(answer)
        except (ClientGone, BadMessage):
            self._transport.abort()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            log.exception("answer to %s %s was cut short", request.method, request.path)
            self._transport.abort()
        finally:
            self._task = None
            self._cancel_on_loss = False
        self._finish(request)
        self._advance()

    def _send(self, request: Request, answer: Response) -> None:
        close = not request.keep_alive or self._closing
        head_only = request.method == "HEAD"
        self._output.push(self._owner.encoder.whole(answer, head_only=head_only, close=close))

    async def _send_stream(self, request: Request, answer: Stream) -> None:
        self._cancel_on_loss = True
        if self._eof or self._phase is Phase.CLOSED:
            raise ClientGone("the client closed the connection")
        chunked = request.chunked_answers
        request.keep_alive = request.keep_alive and chunked
        close = not request.keep_alive or self._closing
        self._output.push(self._owner.encoder.stream(answer, chunked=chunked, close=close))
        await answer.produce(_ChunkedWriter(self._output) if chunked else self._output)
        if chunked:
            await self._output.write(b"0\r\n\r\n")

    async def _run_raw(self, answer: Hijack) -> None:
        if self._phase is not Phase.BUSY:
            raise ClientGone("the connection ended, or its request did not")
        self._cancel_on_loss = True
        self._phase = Phase.RAW
        raw = self._input = Input(self)
        early, self._buffer = self._buffer, b""
        if early:
            raw.feed(early)
        if self._eof:
            raw.feed_eof()
            self._watch_hangup()
        elif self._throttled:
            self._throttled = False
            self.resume_input()
        self._output.push(self._owner.encoder.hijack(answer))
        await answer.session(_RawDuplex(self, raw, self._output))

    def _finish(self, request: Request) -> None:
        """The answer is handed over: wait for the next request, or close."""
        phase = self._phase
        if phase is Phase.CLOSED:
            return
        if phase is not Phase.BUSY:
            self._discard_rest()
            return
        self._input = self._decoder = None
        if not request.keep_alive or self._closing or self._eof:
            self._transport.close()
            return
        self._phase = Phase.HEAD
        if self._throttled:
            self._throttled = False
            self.resume_input()

    def _discard_rest(self) -> None:
        if self._phase is Phase.RAW or self._eof:
            self._transport.close()
            return
        done = self._decoder is not None and self._decoder.done
        self._phase = Phase.DISCARD
        if done:
            self._transport.close()
            return
        self._disarm()
        self._arm(self._owner.limits.discard_deadline_s)
        self.half_close()
        self._input = None
        self.resume_input()

    def _discard(self, data: bytes) -> None:
        if self._decoder is None or self._task is not None:
            return
        try:
            self._decoder.feed(data)
        except BadMessage:
            self._transport.close()
            return
        if self._decoder.done:
            self._transport.close()


def tune(sock: socket.socket) -> None:
    """Socket options of an accepted connection.

    A client that vanished, or went away after its half-close, is noticed within two minutes.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def tls_subject(ssl_object: ssl.SSLObject | None) -> str:
    """The common name of the client's certificate, empty when there is none."""
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    subject: Any = (certificate or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")
