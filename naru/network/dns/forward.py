"""Questions that somebody else answers: asked of the upstreams over UDP, and TCP where needed.

Each goes out from a fresh socket (so from a random port), connected to the resolver (so the kernel
checks who answers), under a random id; its question is checked too. Equal questions under way are
asked once. Sockets are made inside the sandbox's namespace, except for loopback resolvers of the
host, so a container's own routes hold.
"""

import os
import socket
import time
from collections.abc import Callable

from naru.network.dns import message
from naru.network.dns.loop import READ, WRITE, Loop, Timer
from naru.network.dns.message import Reply
from naru.network.dns.upstream import Attempts, Upstream

FLIGHTS_MAX, FLIGHTS_EACH_MAX, ASKERS_MAX = 2048, 256, 256
FLIGHTS_SURE = 16  # what each sandbox may have, however many others have
_WRONG_MAX = 16
_PORT = 53
_PROBE = b"\x01\0\0\1\0\0\0\0\0\0\0\0\2\0\1"  # . NS, without an id
_PROBE_QUESTION = b"\0\0\2\0\1"
_PROBE_WAIT_S = 2.0

Deliver = Callable[[Reply | None], None]
MakeSocket = Callable[[int, int, bool], socket.socket]  # family, kind, from the host


class Exchange:
    """One socket on which one answer of one upstream is awaited."""

    def __init__(
        self,
        loop: Loop,
        made: socket.socket,
        upstream: Upstream,
        ended: Callable[["Exchange", bytes | None], None],
    ) -> None:
        self.upstream = upstream
        self.id = os.urandom(2)
        self._loop = loop
        self._socket = made
        self._ended = ended
        self._wrong = 0
        self._out = b""
        self._in = bytearray()

    def ask(self, body: bytes, stream: bool) -> None:
        """Send `body`, a message without id. Raises: OSError."""
        try:
            if stream:
                self._out = (len(body) + 2).to_bytes(2, "big") + self.id + body
                code = self._socket.connect_ex((self.upstream.address, _PORT))
                if code not in (0, 115):
                    raise OSError(code, os.strerror(code))
                self._loop.watch(self._socket.fileno(), self._stream_ready, WRITE)
            else:
                self._socket.connect((self.upstream.address, _PORT))
                self._socket.send(self.id + body)
                self._loop.watch(self._socket.fileno(), self._datagram_ready)
        except OSError:
            self.close()
            raise

    def _datagram_ready(self, _: int) -> None:
        try:
            while self._socket.fileno() >= 0:
                self._heard(self._socket.recv(65535))
        except BlockingIOError:
            return
        except OSError:
            self._ended(self, None)

    def _heard(self, data: bytes) -> None:
        if data[:2] == self.id:
            self._ended(self, data)
        else:
            self.wrong()

    def wrong(self) -> None:
        """What came is no answer to what was asked: somebody guesses, or it is broken."""
        self._wrong += 1
        if self._wrong >= _WRONG_MAX:
            self._ended(self, None)

    def _stream_ready(self, events: int) -> None:
        try:
            if self._out:
                self._out = self._out[self._socket.send(self._out) :]
                if not self._out:
                    self._loop.change(self._socket.fileno(), READ)
                return
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        size = 2 + int.from_bytes(self._in[:2], "big")
        if not data:
            self._ended(self, None)
        elif len(self._in) >= max(size, 3):
            answer = bytes(self._in[2:size])
            self._ended(self, answer if answer[:2] == self.id else None)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()


class Flight:
    """One question under way, and everybody who waits for its answer."""

    def __init__(self, desk: "Desk", body: bytes, question: bytes, now: float) -> None:
        self._desk = desk
        self._body = body
        self._question = question
        self._attempts = Attempts(desk.upstreams, now)
        self._exchanges: list[Exchange] = []
        self._timer: Timer | None = None
        self._stream = False
        self.askers: list[tuple[Deliver, bool]] = []
        self.done = False

    def step(self) -> None:
        """Ask the next upstream; give up when there is none, and nobody may still answer."""
        if self.done:
            return
        now = time.monotonic()
        for silent in self._attempts.suspects():
            self._desk.probe(silent, now)
        while (upstream := self._attempts.next(now)) is not None:
            if self._ask(upstream):
                break
        if now >= self._attempts.deadline or not self._attempts.waiting():
            self._give_up(now)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._desk.loop.call_at(self._attempts.due(now), self.step)

    def _ask(self, upstream: Upstream) -> bool:
        try:
            exchange = self._desk.exchange(upstream, self._stream, self._ended)
            exchange.ask(self._body, self._stream)
        except OSError:
            self._attempts.failed(upstream)
            return False
        self._exchanges.append(exchange)
        return True

    def _ended(self, exchange: Exchange, data: bytes | None) -> None:
        now = time.monotonic()
        upstream = exchange.upstream
        if data is not None:
            try:
                reply = message.parse_reply(data, self._question)
            except message.Malformed:
                exchange.wrong()
                return
            upstream.heard(now)
            if reply.rcode not in (message.SERVFAIL, message.REFUSED):
                self._answered(reply)
                return
        exchange.close()
        self._attempts.failed(upstream)
        self.step()

    def _answered(self, reply: Reply) -> None:
        streams = [asker for asker in self.askers if asker[1]]
        if not reply.truncated or self._stream or not streams:
            self._finish(reply)
            return
        for deliver, stream in self.askers:
            if not stream:
                deliver(reply)
        self.askers = streams
        self._close_exchanges()
        self._stream = True
        self._attempts = Attempts(self._desk.upstreams, time.monotonic())
        self.step()

    def _give_up(self, now: float) -> None:
        for upstream in self._attempts.suspects():
            upstream.die(now)
            self._desk.watch_dead(upstream)
        self._finish(None)

    def _finish(self, reply: Reply | None) -> None:
        self.close()
        self._desk.landed(self)
        askers, self.askers = self.askers, []
        for deliver, _ in askers:
            deliver(reply)

    def _close_exchanges(self) -> None:
        for exchange in self._exchanges:
            exchange.close()
        self._exchanges.clear()

    def close(self) -> None:
        self.done = True
        if self._timer is not None:
            self._timer.cancel()
        self._close_exchanges()


class Limit:
    """How many questions are under way in the whole process."""

    def __init__(self, at_most: int = FLIGHTS_MAX) -> None:
        self.at_most = at_most
        self.count = 0


class Desk:
    """One sandbox's questions under way, and its upstreams."""

    def __init__(self, loop: Loop, make_socket: MakeSocket, limit: Limit) -> None:
        self.loop = loop
        self.upstreams: list[Upstream] = []
        self._make_socket = make_socket
        self._limit = limit
        self._flights: dict[bytes, Flight] = {}
        self._keys: dict[Flight, bytes] = {}
        self._probes: dict[Upstream, Exchange] = {}
        self._watches: dict[Upstream, Timer] = {}
        self._closed = False

    def use(self, upstreams: list[Upstream]) -> bool:
        """From now on these; what is known of those that stay is kept. False: they are the same."""
        known = {(item.address, item.host): item for item in self.upstreams}
        wanted = [known.get((item.address, item.host), item) for item in upstreams]
        changed, self.upstreams = wanted != self.upstreams, wanted
        return changed

    def ask(self, key: bytes, body: bytes, question: bytes, deliver: Deliver, stream: bool) -> None:
        """`deliver` is called once: with the answer, or None for none. Maybe at once."""
        flight = self._flights.get(key)
        if flight is None:
            now = time.monotonic()
            for upstream in self.upstreams:
                if upstream.wants_probe(now):
                    self.probe(upstream, now)
            crowded = self._limit.count >= self._limit.at_most
            full = len(self._flights) >= (FLIGHTS_SURE if crowded else FLIGHTS_EACH_MAX)
            if full or not any(upstream.alive for upstream in self.upstreams):
                deliver(None)
                return
            flight = Flight(self, body, question, now)
            self._flights[key] = flight
            self._keys[flight] = key
            self._limit.count += 1
            flight.askers.append((deliver, stream))
            flight.step()
        elif len(flight.askers) >= ASKERS_MAX:
            deliver(None)
        else:
            flight.askers.append((deliver, stream))

    def exchange(
        self, upstream: Upstream, stream: bool, ended: Callable[[Exchange, bytes | None], None]
    ) -> Exchange:
        """Raises: OSError."""
        family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        return Exchange(self.loop, self._make_socket(family, kind, upstream.host), upstream, ended)

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def landed(self, flight: Flight) -> None:
        key = self._keys.pop(flight, None)
        if key is not None:
            del self._flights[key]
            self._limit.count -= 1

    def probe(self, upstream: Upstream, now: float) -> None:
        """Ask it for something that any resolver answers, to know whether it lives."""
        if self._closed or upstream in self._probes:
            return

        def ended(exchange: Exchange, data: bytes | None) -> None:
            if data is not None and (len(data) < 12 or not data[2] & 0x80):
                exchange.wrong()
                return
            self._end_probe(upstream)
            if data is not None:
                upstream.heard(time.monotonic())

        upstream.probed_at = now
        try:
            exchange = self.exchange(upstream, False, ended)
            exchange.ask(_PROBE, False)
        except OSError:
            return
        self._probes[upstream] = exchange
        self.loop.call_at(now + _PROBE_WAIT_S, lambda: self._end_probe(upstream, exchange))

    def _end_probe(self, upstream: Upstream, exchange: Exchange | None = None) -> None:
        if exchange is None or self._probes.get(upstream) is exchange:
            ended = self._probes.pop(upstream, None)
            if ended is not None:
                ended.close()

    def watch_dead(self, upstream: Upstream) -> None:
        """Probe until it answers."""
        if upstream.alive or self._closed or upstream not in self.upstreams:
            return
        watching = self._watches.pop(upstream, None)
        if watching is not None:
            watching.cancel()

        def due() -> None:
            now = time.monotonic()
            upstream.probed(now)
            self.probe(upstream, now)
            self.watch_dead(upstream)

        self._watches[upstream] = self.loop.call_at(upstream.probe_at, due)

    def close(self) -> None:
        """Whoever waits is not answered: the sandbox is gone."""
        self._closed = True
        for flight in list(self._keys):
            flight.close()
            self.landed(flight)
        for timer in self._watches.values():
            timer.cancel()
        for upstream in list(self._probes):
            self._end_probe(upstream)
