"""Which resolver is asked, when the next one is, and when to give up. Pure: time is passed in.

A query goes to the living resolvers in turn, another each ATTEMPT_S; whichever answers first is
heard, until TOTAL_S. One that let a query and a probe go unanswered is *dead*: it is left out,
and probed until it answers, so that queries fail at once and not after seconds.

    alive --(a query and its probe unheard for TOTAL_S)--> dead --(anything heard)--> alive
"""

ATTEMPT_S, TOTAL_S = 1.0, 4.0
PROBE_FIRST_S, PROBE_MAX_S = 0.5, 5.0
PROBE_WANTED_S = 0.5  # somebody asks: not more often than that


class Upstream:
    """One resolver as seen from one sandbox. `host`: asked from the host's namespace."""

    __slots__ = ("_back_off_s", "address", "alive", "heard_at", "host", "probe_at", "probed_at")

    def __init__(self, address: str, host: bool) -> None:
        self.address = address
        self.host = host
        self.alive = True
        self.heard_at = self.probed_at = float("-inf")
        self.probe_at = float("inf")
        self._back_off_s = PROBE_FIRST_S

    def heard(self, now: float) -> None:
        self.alive = True
        self.heard_at = now
        self.probe_at = float("inf")
        self._back_off_s = PROBE_FIRST_S

    def unheard_since(self, when: float) -> bool:
        return self.heard_at < when

    def die(self, now: float) -> None:
        if self.alive:
            self.alive = False
            self.probe_at = now + self._back_off_s

    def probed(self, now: float) -> None:
        """It was probed because the time had come: the next time comes later."""
        self._back_off_s = min(self._back_off_s * 2, PROBE_MAX_S)
        self.probe_at = now + self._back_off_s

    def wants_probe(self, now: float) -> bool:
        """A query came: whether a dead one is tried before its time."""
        return not self.alive and now - self.probed_at >= PROBE_WANTED_S


class Attempts:
    """One query under way. `next` says whom to ask now, None when nobody is left."""

    __slots__ = ("_asked", "_failed", "_order", "_turn", "deadline", "started")

    def __init__(self, upstreams: list[Upstream], now: float) -> None:
        self._order = [upstream for upstream in upstreams if upstream.alive]
        self._failed: set[Upstream] = set()
        self._asked: list[Upstream] = []
        self._turn = 0
        self.started = now
        self.deadline = now + TOTAL_S

    def next(self, now: float) -> Upstream | None:
        """The resolver to ask now, for the first time or again."""
        if now >= self.deadline:
            return None
        for _ in range(len(self._order)):
            upstream = self._order[self._turn % len(self._order)]
            self._turn += 1
            if upstream not in self._failed:
                self._asked.append(upstream)
                return upstream
        return None

    def failed(self, upstream: Upstream) -> None:
        """It refused, or answered with a failure: not asked again."""
        self._failed.add(upstream)

    def waiting(self) -> bool:
        """Whether somebody was asked who may still answer."""
        return any(upstream not in self._failed for upstream in self._asked)

    def suspects(self) -> list[Upstream]:
        """Who was asked, and has not been heard at all since this query began."""
        silent = (item for item in self._asked if item not in self._failed)
        return [item for item in dict.fromkeys(silent) if item.unheard_since(self.started)]

    def due(self, now: float) -> float:
        """When to ask the next one, or to give up."""
        return min(now + ATTEMPT_S, self.deadline)
