"""How one sandbox's questions are answered: its zone, what is kept, or somebody else.

No I/O of its own: datagrams and connections come from `sandbox` and `streams`.
"""

from collections.abc import Callable

from naru.network.dns import message, zone
from naru.network.dns.cache import (
    FOREVER,
    NEVER,
    ROTATED_MAX,
    AnswerCache,
    Ready,
    keep_ready,
    rotated,
    rotations,
)
from naru.network.dns.forward import Desk
from naru.network.dns.message import Query, Reply

Send = Callable[[bytes], None]  # the answer without its id


class Answerer:
    """One sandbox's. `ready`: answers by the very bytes of the question, for the hot path."""

    def __init__(self, serial: int, cache: AnswerCache, desk: Desk) -> None:
        self.ready: dict[bytes, Ready] = {}
        self._serial = serial
        self._cache = cache
        self._desk = desk
        self._view = zone.View((), {})
        self._forward = self._single_labels = False
        self._turn = 0

    def use(self, view: zone.View, forward: bool, single_labels: bool) -> None:
        """From now on this is what names mean."""
        self._view, self._forward, self._single_labels = view, forward, single_labels
        self.ready.clear()

    def forget(self) -> None:
        """Other resolvers may say other things."""
        self._cache.forget(self._serial)
        self.ready.clear()

    def answer(self, data: bytes, now: float, send: Send, stream: bool) -> None:
        """`send` is called once, at once or later; never for what is no question."""
        query = message.parse_query(data)
        if query is None:
            return
        if isinstance(query, int):
            send(message.refusal(data, query))
            return
        own = self._own(query, stream)
        if own is not None:
            if not stream and own.until > now:
                keep_ready(self.ready, data[2:], own)
            send(own.next())
            return
        key = data[2:12] + query.name + data[12 + len(query.name) :]
        kept = None if query.options else self._cache.get((self._serial, key), now)
        if kept is not None:
            wire, until = kept
            body = self._fitting(message.addressed(wire, query), query, stream)
            if not stream:
                keep_ready(self.ready, data[2:], Ready((body,), until))
            send(body)
            return

        def deliver(reply: Reply | None) -> None:
            if reply is None:
                send(message.answer(query, message.SERVFAIL))
            elif reply.bare:
                send(message.answer(query, reply.rcode))
            else:
                send(self._fitting(message.addressed(reply.wire, query), query, stream))

        def landed(reply: Reply | None) -> None:
            if reply is not None and not query.options:
                self._cache.put((self._serial, key), reply, self._desk.now())
            deliver(reply)

        self._desk.ask(key, data[2:], query.question, landed, stream)

    def _own(self, query: Query, stream: bool) -> Ready | None:
        """The answer that needs nobody else, None when there is none."""
        if query.qclass == message.IN:
            found = zone.lookup(self._view, query.name, query.qtype)
            if found is not None:
                return self._records(query, found, stream)
        if query.qtype in (message.AXFR, message.IXFR):
            return Ready((message.answer(query, message.REFUSED),))
        if not self._forward or not self._desk.upstreams:
            return Ready((message.answer(query, message.SERVFAIL),))
        if not self._single_labels and query.qtype in (message.A, message.AAAA):
            name = query.name
            if len(name) > 1 and name[0] + 2 == len(name):
                return Ready((message.answer(query, message.NOERROR),))
        return None

    def _records(self, query: Query, found: tuple[bytes, ...], stream: bool) -> Ready:
        self._turn += 1  # also for who never asks with the same bytes again
        many = len(found) > ROTATED_MAX
        orders = [rotated(found, self._turn)] if many else rotations(found)
        wires = (message.answer(query, message.NOERROR, order) for order in orders)
        fitting = tuple(self._fitting(wire, query, stream) for wire in wires)
        return Ready(fitting, NEVER if many else FOREVER, self._turn)

    @staticmethod
    def _fitting(body: bytes, query: Query, stream: bool) -> bytes:
        return body if stream else message.shortened(body, query.size)
