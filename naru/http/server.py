"""Listening sockets, the set of open connections, their caps and deadlines, and the shutdown.

Out of descriptors: one is kept in reserve; it is given up to accept the waiting client, tell it
503 and close, so that the queue of clients never hangs on us and we recover by ourselves.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from naru.base.tasks import TaskRegistry
from naru.http.connection import Connection, Limits, tls_subject, tune
from naru.http.encode import HeadEncoder
from naru.http.message import Answer, Peer, Request, Response
from naru.http.tls import TlsLayer

log = logging.getLogger("naru.http")

Handler = Callable[[Request], Response | Coroutine[Any, Any, Answer]]

_ACCEPT_BATCH = 64
_ACCEPT_PAUSE_S = 0.1
_PEERCRED = struct.Struct("3i")
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BUSY_BODY = b'{"message":"the engine has too many open connections: try again later"}\n'


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening, non-blocking socket; `tls` wraps what is accepted on it."""

    sock: socket.socket
    tls: ssl.SSLContext | None = None


class Server:
    """Serves `handler` on its listeners. The owner of every connection."""

    def __init__(
        self, handler: Handler, encoder: HeadEncoder, tasks: TaskRegistry, limits: Limits
    ) -> None:
        self.limits = limits
        self.encoder = encoder
        self.tasks = tasks
        self.handle = handler
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        self._peers: Counter[str] = Counter()
        self._deadlines: dict[Connection, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._reserve = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def listen(self, listener: Listener) -> None:
        listener.sock.setblocking(False)
        self._listeners.append(listener)
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.sock.fileno(), self._accept, listener)

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    # -- accepting --------------------------------------------------------------------------

    def _accept(self, listener: Listener) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                sock, _address = listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                self._turn_away(listener)
                return
            sock.setblocking(False)
            self._admit(listener, sock)

    def _turn_away(self, listener: Listener) -> None:
        """Out of descriptors: spend the reserve on telling one client so."""
        log.warning("out of file descriptors: a client is turned away with 503")
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
        try:
            sock, _address = listener.sock.accept()
            with sock:
                self._say_busy(sock)
        except BlockingIOError:
            pass
        except OSError:
            self._pause_accepting(listener)
        with contextlib.suppress(OSError):
            self._reserve = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def _pause_accepting(self, listener: Listener) -> None:
        """Nothing can be accepted at all: leave the clients in the queue for a moment."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.sock.fileno())

        def go_on() -> None:
            if listener in self._listeners:
                loop.add_reader(listener.sock.fileno(), self._accept, listener)

        loop.call_later(_ACCEPT_PAUSE_S, go_on)

    def _say_busy(self, sock: socket.socket) -> None:
        answer = Response(503, _BUSY_BODY, b"Content-Type: application/json\r\n")
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(self.encoder.whole(answer, head_only=False, close=True))

    def _admit(self, listener: Listener, sock: socket.socket) -> None:
        try:
            peer = _peer_of(sock)
        except OSError:
            sock.close()
            return
        limits = self.limits
        full = len(self._connections) >= limits.connections
        if full or self._peers[peer.key] >= limits.connections_per_peer:
            if listener.tls is None:
                self._say_busy(sock)
            sock.close()
            return
        self._peers[peer.key] += 1
        connection = Connection(self, peer)
        self._connections.add(connection)
        tune(sock)
        self.tasks.spawn("accept", self._adopt(listener, sock, connection))

    async def _adopt(self, listener: Listener, sock: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            if listener.tls is None:
                await loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await self._adopt_tls(listener.tls, sock, connection)
        except (OSError, ssl.SSLError, ConnectionError) as error:
            log.info("a client from %s did not get through: %s", connection.peer.key, error)
            sock.close()
            self.left(connection)

    async def _adopt_tls(
        self, context: ssl.SSLContext, sock: socket.socket, connection: Connection
    ) -> None:
        """Raises: OSError, ssl.SSLError when the handshake fails."""

        def made(tls: ssl.SSLObject) -> None:
            connection.peer = Peer("tls", connection.peer.address, subject=tls_subject(tls))

        layer = TlsLayer(context, connection, made, self.limits.head_deadline_s)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: layer, sock)
        await layer.settled.wait()
        if layer.failed is not None:
            raise layer.failed

    # -- the connections' owner -------------------------------------------------------------

    def left(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            key = connection.peer.key
            self._peers[key] -= 1
            if self._peers[key] <= 0:
                del self._peers[key]
            if self._empty is not None and not self._connections:
                self._empty.set()

    def arm(self, connection: Connection, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._deadlines[connection] = loop.time() + timeout_s
        if self._sweeper is None:
            self._sweeper = loop.call_later(min(1.0, timeout_s), self._sweep)

    def disarm(self, connection: Connection) -> None:
        self._deadlines.pop(connection, None)

    def _sweep(self) -> None:
        self._sweeper = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for c, at in self._deadlines.items() if at <= now]:
            del self._deadlines[connection]
            connection.expired()
        if self._deadlines:
            soonest = min(self._deadlines.values()) - now
            self._sweeper = loop.call_later(max(0.05, min(1.0, soonest)), self._sweep)

    # -- the end ----------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener.sock.fileno())
            listener.sock.close()
        self._listeners.clear()

    async def shutdown(self, grace_s: float) -> None:
        """Stop accepting, end streams, let changes under way finish for `grace_s`, then abort."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.shut()
        if self._connections:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_s)
        self.abort_all()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def abort_all(self) -> None:
        """Close every connection now; what runs for it is not cancelled unless it is a stream."""
        for connection in list(self._connections):
            connection.abort()


def _peer_of(sock: socket.socket) -> Peer:
    if sock.family == socket.AF_UNIX:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        pid, uid, gid = _PEERCRED.unpack(raw)
        return Peer("unix", "", pid, uid, gid)
    return Peer("tcp", sock.getpeername()[0])
