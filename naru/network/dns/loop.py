"""The name server's event loop: descriptors and deadlines on one epoll, no asyncio (5 MB)."""

import errno
import heapq
import itertools
import select
import sys
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
_IDLE_S = 10.0
_EVENTS_MAX = 256


class Timer:
    """A deadline; `cancel` it when it is no longer of interest."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Calls back on readiness and at deadlines; a callback that fails is counted, and no more."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._gone: set[int] = set()
        self._serial = itertools.count()
        self.running = True
        self.failures = 0
        self.last_failure = ""

    def watch(self, fd: int, handler: Callable[[int], None], events: int = READ) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Before the descriptor is closed. Idempotent."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._gone.add(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def run(self, alive: Callable[[], bool]) -> None:
        """Until `running` is False, or `alive()`, asked every 10 s at least, is."""
        handlers, gone, poll = self._handlers, self._gone, self._epoll.poll
        while self.running and alive():
            checked = time.monotonic()
            while self.running and time.monotonic() - checked < _IDLE_S:
                for fd, events in poll(self._patience(), _EVENTS_MAX):
                    handler = handlers.get(fd)
                    # Closed since the poll; the number may be another's by now.
                    if handler is not None and fd not in gone:
                        self._call(handler, events)
                gone.clear()
                self._expire()

    def _patience(self) -> float:
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return min(_IDLE_S, max(0.0, timers[0][0] - time.monotonic())) if timers else _IDLE_S

    def _expire(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= time.monotonic():
            callback = heapq.heappop(timers)[2].callback
            if callback is not None:
                self._call(_without_events(callback), 0)

    def _call(self, handler: Callable[[int], None], events: int) -> None:
        try:
            handler(events)
        except Exception as error:
            self.failures += 1
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
            self.last_failure = f"{where} {type(error).__name__}: {error}"
            print(self.last_failure, file=sys.stderr, flush=True)


def _without_events(callback: Callable[[], None]) -> Callable[[int], None]:
    return lambda _: callback()


def out_of_descriptors(error: OSError) -> bool:
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
