"""A TLS connection whose two directions end on their own, over a blocking socket.

Python's `SSLSocket` loses what the peer sends while our side is being shut down: telling the peer
and reading on are one call there. Here the TLS object works on buffers of ours.
"""

from __future__ import annotations

import contextlib
import select
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_READ_BYTES = 65536
_RECORD_BYTES = 16384


class TlsStream:
    """The same few methods that a plain socket offers to `naru.http.client`."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        """Raises: ssl.SSLError, OSError when the handshake fails."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._plain = b""
        self._peer_ended = self._write_ended = False
        self._handshake()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(_READ_BYTES)
                if not data:
                    raise ConnectionResetError("the peer left during the TLS handshake") from None
                self._incoming.write(data)
            else:
                self._flush()
                return

    def _flush(self) -> None:
        """Send what TLS has to say; little, so this waits even when nobody else would."""
        data = self._outgoing.read()
        if data:
            timeout = self._sock.gettimeout()
            self._sock.settimeout(None)
            try:
                self._sock.sendall(data)
            finally:
                self._sock.settimeout(timeout)

    def pending(self) -> int:
        """Decrypted bytes that the descriptor does not show."""
        return len(self._plain)

    def recv(self, size: int, /) -> bytes:
        while not self._plain and not self._peer_ended:
            data = self._sock.recv(_READ_BYTES)
            if data:
                self._incoming.write(data)
                self._decrypt()
            else:
                self._peer_ended = True
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    def _decrypt(self) -> None:
        parts = []
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
            self._peer_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._peer_ended = True
        self._plain += b"".join(parts)
        if not self._write_ended:
            self._flush()

    def send(self, data: bytes, /) -> int:
        """Raises: BlockingIOError when the socket does not wait and takes nothing now."""
        if self._sock.gettimeout() == 0:
            poll = select.poll()
            poll.register(self._sock.fileno(), select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError
        sent = self._tls.write(data[:_RECORD_BYTES])
        self._flush()
        return sent

    def sendall(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:_RECORD_BYTES]) :]
            self._flush()

    def settimeout(self, value: float | None, /) -> None:
        self._sock.settimeout(value)

    def shutdown(self, how: int, /) -> None:
        """End our direction; the peer's goes on."""
        if not self._write_ended:
            self._write_ended = True
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
