"""Questions over TCP: several on one connection, answered as they come; nobody holds up another.

A connection is closed when for IDLE_S no whole question came and no answer was taken.
"""

import errno
import select
import socket
import time
from collections.abc import Callable

from naru.network.dns.loop import READ, WRITE, Loop, out_of_descriptors

CONNECTIONS_MAX = 64  # of one sandbox
IDLE_S = 10.0
PENDING_MAX = 32
_BACKLOG_BYTES = 1 << 17
_PAUSE_S = 0.2

Answer = Callable[[bytes, Callable[[bytes], None]], None]


class Stream:
    """One connection."""

    def __init__(self, listener: "Listener", made: socket.socket) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._socket = made
        self._in, self._out = bytearray(), bytearray()
        self._pending = 0
        self._events = READ
        self._moved_at = time.monotonic()
        self._ended = self._advancing = False
        self._fd = made.fileno()
        self._loop.watch(self._fd, self._ready)
        self._timer = self._loop.call_at(self._moved_at + IDLE_S, self._check)

    def _ready(self, events: int) -> None:
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self.close()
            return
        try:
            if events & READ:
                data = self._socket.recv(65536)
                self._ended = not data
                self._in += data
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._advance()

    def _advance(self) -> None:
        """Answer every whole question as long as not too many wait, and send what can be sent."""
        if self._advancing or self._fd < 0:
            return
        self._advancing = True
        try:
            while self._read() and self._flush():
                continue
            self._flush()
        except OSError:
            self.close()
        self._advancing = False
        if self._fd >= 0:
            self._watch()

    def _read(self) -> bool:
        """Take one question; False when there is none, or no room for its answer."""
        size = 2 + int.from_bytes(self._in[:2], "big")
        if len(self._in) < max(size, 3) or not self._has_room():
            return False
        data = bytes(self._in[2:size])
        if len(data) < 12 or data[2] & 0x80:
            raise OSError(errno.EPROTO, "no question")
        del self._in[:size]
        self._moved_at = time.monotonic()
        self._pending += 1
        self._listener.answer(data, lambda body: self._send(data[:2] + body))
        return self._fd >= 0

    def _has_room(self) -> bool:
        return self._pending < PENDING_MAX and len(self._out) < _BACKLOG_BYTES

    def _send(self, data: bytes) -> None:
        self._pending -= 1
        self._out += len(data).to_bytes(2, "big") + data
        self._advance()

    def _flush(self) -> bool:
        """Raises: OSError when the peer is gone."""
        if self._out:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return True
            self._moved_at = time.monotonic()
            del self._out[:sent]
        return True

    def _watch(self) -> None:
        if self._ended and not self._out and not self._pending:
            self.close()
            return
        events = (WRITE if self._out else 0) | (READ if self._has_room() and not self._ended else 0)
        if events != self._events:
            self._events = events
            self._loop.change(self._fd, events)

    def _check(self) -> None:
        due = self._moved_at + IDLE_S
        if self._pending:
            due = max(due, time.monotonic() + 1.0)
        if due <= time.monotonic():
            self.close()
        else:
            self._timer = self._loop.call_at(due, self._check)

    def close(self) -> None:
        if self._fd >= 0:
            self._timer.cancel()
            self._loop.unwatch(self._fd)
            self._fd = -1
            self._socket.close()
            self._listener.closed(self)


class Listener:
    """One sandbox's TCP side."""

    def __init__(self, loop: Loop, made: socket.socket, answer: Answer) -> None:
        self.loop = loop
        self.answer = answer
        self._socket = made
        self._streams: set[Stream] = set()
        loop.watch(made.fileno(), self._ready)

    def _ready(self, _: int) -> None:
        for _ in range(CONNECTIONS_MAX):
            try:
                made, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if out_of_descriptors(error):
                    self.loop.change(self._socket.fileno(), 0)
                    self.loop.call_at(time.monotonic() + _PAUSE_S, self._resume)
                return
            if len(self._streams) >= CONNECTIONS_MAX:
                made.close()
                continue
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._streams.add(Stream(self, made))

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self.loop.change(self._socket.fileno(), READ)

    def closed(self, stream: Stream) -> None:
        self._streams.discard(stream)

    def close(self) -> None:
        for stream in list(self._streams):
            stream.close()
        self.loop.unwatch(self._socket.fileno())
        self._socket.close()
