"""One sandbox in the name server: its two sockets on 127.0.0.11, and those it makes inside."""

import os
import socket
import time
from collections.abc import Callable

from naru.kernel.netns_sockets import sockets_in_netns
from naru.network.dns import zone
from naru.network.dns.answer import Answerer
from naru.network.dns.cache import AnswerCache
from naru.network.dns.forward import Desk, Limit
from naru.network.dns.loop import Loop
from naru.network.dns.streams import Listener
from naru.network.dns.upstream import Upstream

ADDRESS = "127.0.0.11"
_DRAINED = 64
_QUERY_MAX = 4096
_BATCH = 8


class Sandbox:
    """Serves from its construction until `close`."""

    def __init__(
        self,
        loop: Loop,
        cache: AnswerCache,
        limit: Limit,
        serial: int,
        descriptors: tuple[int, int, int],
    ) -> None:
        udp, tcp, self._netns = descriptors
        self.inode = os.fstat(self._netns).st_ino
        self.zones: tuple[str, ...] = ()
        self._loop = loop
        self._datagrams = socket.socket(fileno=udp)
        self._spare: dict[int, list[socket.socket]] = {socket.AF_INET: [], socket.AF_INET6: []}
        self._desk = Desk(loop, self._make_socket, limit)
        self._answerer = Answerer(serial, cache, self._desk)
        listening = socket.socket(fileno=tcp)
        for made in (self._datagrams, listening):
            made.setblocking(False)
        self._listener = Listener(loop, listening, self._answer_stream)
        loop.watch(self._datagrams.fileno(), self._ready)

    def use(
        self,
        view: zone.View,
        upstreams: list[tuple[str, bool]],
        forward: bool,
        single_labels: bool,
    ) -> None:
        """From now on answer so. `upstreams`: address, and whether it is asked from the host."""
        changed = self._desk.use([Upstream(address, host) for address, host in upstreams])
        if changed:
            self._answerer.forget()
        self._answerer.use(view, forward, single_labels)

    def _ready(self, _: int) -> None:
        """Answer what waits, at most so much that others have their turn. The hot path."""
        receive, send = self._datagrams.recvfrom, self._datagrams.sendto
        ready = self._answerer.ready
        now = time.monotonic()
        try:
            for _ in range(_DRAINED):
                data, peer = receive(_QUERY_MAX)
                entry = ready.get(data[2:])
                if entry is not None and now < entry.until:
                    try:
                        send(data[:2] + entry.next(), peer)
                    except OSError:
                        continue
                else:
                    self._answer(data, peer, now)
        except OSError:
            return

    def _answer(self, data: bytes, peer: tuple[str, int], now: float) -> None:
        def send(body: bytes) -> None:
            try:
                self._datagrams.sendto(data[:2] + body, peer)
            except OSError:
                return

        self._answerer.answer(data, now, send, False)

    def _answer_stream(self, data: bytes, send: Callable[[bytes], None]) -> None:
        self._answerer.answer(data, time.monotonic(), send, True)

    def _make_socket(self, family: int, kind: int, host: bool) -> socket.socket:
        """For one exchange with an upstream. Raises: OSError."""
        if host:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK)
        if kind == socket.SOCK_STREAM:
            return sockets_in_netns(self._netns, family, kind, 1)[0]
        spare = self._spare[family]
        if not spare:
            spare += sockets_in_netns(self._netns, family, kind, _BATCH)
        return spare.pop()

    def close(self) -> None:
        """Nothing of this process is in the namespace afterwards."""
        self._loop.unwatch(self._datagrams.fileno())
        self._datagrams.close()
        self._listener.close()
        self._desk.close()
        self._answerer.forget()
        for spare in self._spare.values():
            for made in spare:
                made.close()
            spare.clear()
        os.close(self._netns)
