"""Standard streams against a hijacked connection: bytes both ways, frames taken apart, detach keys.

One loop over `poll` moves everything, so a client that writes much while it reads much never locks
up: input is taken only when the last piece is sent.
"""

from __future__ import annotations

import os
import select
from struct import Struct

from naru.cli.terminal import DetachFilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from naru.cli.terminal import SignalPipe
    from naru.http.client import Hijacked, Response

READ_BYTES = 32768
HEADER_BYTES = 8
HEADER = Struct(">BxxxL").unpack_from
STDERR_STREAM, ERROR_STREAM = 2, 3


def write_all(fd: int, data: bytes) -> None:
    """Write every byte to `fd`, waiting where it is non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


class Demultiplexer:
    """Takes stream frames apart: what comes from stdout and stderr goes to its own sink.

    Spec: Engine API, "attach": a header of stream number, three zeros and a big-endian length.
    """

    def __init__(self, out: Callable[[bytes], None], err: Callable[[bytes], None]) -> None:
        self._out, self._err = out, err
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Raises: ValueError for the engine's own error in the stream, or a broken header."""
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        parts: list[bytes] = []
        stream = 1
        while end - at >= HEADER_BYTES:
            kind, length = HEADER(data, at)
            stop = at + HEADER_BYTES + length
            if stop > end:
                break
            if kind != stream:
                self._flush(stream, parts)
                parts, stream = [], kind
            parts.append(data[at + HEADER_BYTES : stop])
            at = stop
        self._flush(stream, parts)
        self._buffer = data[at:]

    def _flush(self, stream: int, parts: list[bytes]) -> None:
        if not parts:
            return
        if stream == STDERR_STREAM:
            self._err(b"".join(parts))
        elif stream == ERROR_STREAM:
            text = b"".join(parts).decode("utf-8", "replace")
            raise ValueError(f"error from daemon in stream: {text}")
        elif stream in (0, 1):
            self._out(b"".join(parts))
        else:
            raise ValueError(f"Unrecognized input header: {stream}")

    def finish(self) -> None:
        """What a cut connection left of a frame is shown as far as it came."""
        if len(self._buffer) > HEADER_BYTES:
            stream, rest = self._buffer[0], self._buffer[HEADER_BYTES:]
            self._buffer = b""
            self._flush(stream, [rest])


class Pump:
    """Moves bytes between our descriptors and a hijacked connection until it ends or we detach.

    `stdin`: a descriptor, or None when nothing is sent. `on_signal` is called with every signal.
    """

    def __init__(
        self,
        peer: Hijacked,
        stdin: int | None,
        feed: Callable[[bytes], None],
        signals: SignalPipe,
        on_signal: Callable[[int], None],
        detach_keys: bytes = b"",
    ) -> None:
        self._peer, self._stdin, self._feed = peer, stdin, feed
        self._signals, self._on_signal = signals, on_signal
        self._detach = DetachFilter(detach_keys) if detach_keys else None
        self._unsent = b""
        self._input_ended = stdin is None
        self._write_closed = stdin is None
        self.detached = False

    def run(self) -> None:
        while not self.detached:
            if self._peer.pending():
                if not self._receive():
                    return
                continue
            ready = self._wait()
            if self._signals.fileno() in ready:
                for number in self._signals.read():
                    self._on_signal(number)
            if self._peer.fileno() in ready and not self._peer_ready(ready[self._peer.fileno()]):
                return
            if self._stdin is not None and self._stdin in ready:
                self._take_input()

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        interest = select.POLLIN | (select.POLLOUT if self._unsent else 0)
        poll.register(self._peer.fileno(), interest)
        poll.register(self._signals.fileno(), select.POLLIN)
        if self._stdin is not None and not self._input_ended and not self._unsent:
            poll.register(self._stdin, select.POLLIN)
        return dict(poll.poll())

    def _peer_ready(self, events: int) -> bool:
        if events & select.POLLOUT and self._unsent:
            self._send()
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return self._receive()
        return True

    def _receive(self) -> bool:
        try:
            data = self._peer.recv()
        except ConnectionResetError:
            return False
        if data:
            self._feed(data)
        return bool(data)

    def _take_input(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._input_ended = True
        elif self._detach is not None:
            data, self.detached = self._detach.feed(data)
        self._unsent += data
        self._send()

    def _send(self) -> None:
        if self._unsent:
            try:
                self._unsent = self._unsent[self._peer.try_send(self._unsent) :]
            except OSError:
                self._unsent, self._input_ended, self._write_closed = b"", True, True
        if self._input_ended and not self._unsent and not self._write_closed:
            self._write_closed = True
            self._peer.close_write()


def await_body(answer: Response, signals: SignalPipe, on_signal: Callable[[int], None]) -> None:
    """Wait until the answer's body has begun to come, passing signals on meanwhile."""
    while not answer.pending():
        poll = select.poll()
        poll.register(answer.fileno(), select.POLLIN)
        poll.register(signals.fileno(), select.POLLIN)
        ready = dict(poll.poll())
        if signals.fileno() in ready:
            for number in signals.read():
                on_signal(number)
        if answer.fileno() in ready:
            return
