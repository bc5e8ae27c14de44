"""TLS on an asyncio transport with both halves of a connection: what `ssl` does, and half-close.

asyncio's own TLS ends a connection as soon as the peer has sent its last byte. A client that pipes
a file into a container does just that, and waits for the rest of the output. Here the peer's
close_notify becomes `eof_received`, and writing goes on.

Spec: RFC 8446, section 6.1: close_notify ends one direction.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

_READ_BYTES = 256 * 1024


class TlsTransport(asyncio.Transport):
    """What the protocol above writes to; the bytes go through the layer's TLS object."""

    def __init__(self, layer: "TlsLayer", below: asyncio.Transport) -> None:
        super().__init__()
        self._layer, self._below = layer, below
        self._eof_written = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._layer.tls
        return self._below.get_extra_info(name, default)

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        if data and not self._eof_written and not self._below.is_closing():
            self._layer.tls.write(data)
            self._layer.flush()

    def write_eof(self) -> None:
        if not self._eof_written and not self._below.is_closing():
            self._eof_written = True
            with contextlib.suppress(ssl.SSLError):
                self._layer.tls.unwrap()
            self._layer.flush()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.write_eof()
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()


class TlsLayer(asyncio.Protocol):
    """The protocol on the plain transport; `above` sees plain bytes once the handshake is done.

    `made` is called with the TLS object before anything else reaches `above`.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        above: asyncio.Protocol,
        made: Callable[[ssl.SSLObject], None],
        handshake_timeout_s: float,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._above, self._made = above, made
        self._timeout_s = handshake_timeout_s
        self._deadline: asyncio.TimerHandle | None = None
        self._below: asyncio.Transport
        self._established = False
        self._peer_ended = False
        self.failed: Exception | None = None
        self.settled = asyncio.Event()

    def flush(self) -> None:
        """Send what the TLS object has written."""
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())

    # -- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._below = transport
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._timeout_s, self._too_slow)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._established:
                self._handshake()
            if self._established:
                self._read()
        except ssl.SSLWantReadError:
            self.flush()
        except ssl.SSLError as error:
            self.flush()  # the alert that tells the peer why
            self._fail(error)

    def eof_received(self) -> bool:
        """The peer closed its side below TLS: nothing can follow, a half-close is not meant."""
        if not self._established:
            self._fail(ConnectionResetError("the client left during the TLS handshake"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._established:
            self._above.connection_lost(exc)
        else:
            self._fail(exc or ConnectionResetError("the client left during the TLS handshake"))

    def pause_writing(self) -> None:
        if self._established:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._established:
            self._above.resume_writing()

    # -- TLS --------------------------------------------------------------------------------

    def _handshake(self) -> None:
        self.tls.do_handshake()
        self.flush()
        self._established = True
        self._disarm()
        self._made(self.tls)
        self._above.connection_made(TlsTransport(self, self._below))
        self.settled.set()

    def _read(self) -> None:
        while not self._peer_ended:
            try:
                data = self.tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            if data:
                self._above.data_received(data)
                continue
            self._peer_ended = True
            if not self._above.eof_received():
                self._below.close()
        self.flush()

    def _too_slow(self) -> None:
        self._fail(TimeoutError("the TLS handshake did not end in time"))

    def _fail(self, error: Exception) -> None:
        self._disarm()
        if self.failed is None:
            self.failed = error
        self.settled.set()
        if self._established:
            self._below.abort()
        else:
            self._below.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
