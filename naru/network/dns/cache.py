"""Answers that are kept: by question for as long as they live, and as bytes ready to send. Pure."""

from naru.network.dns.message import Reply, aged

ENTRIES_MAX, BYTES_MAX, ENTRY_MAX = 4096, 4 << 20, 4096
READY_MAX = 256
ROTATED_MAX = 20  # answers that are kept ready in every order: 7 KB for one question
NEVER = 0.0
FOREVER = float("inf")

Key = tuple[int, bytes]  # whose answer it is; the query without its id


class AnswerCache:
    """Upstreams' answers, for all sandboxes, each seeing its own. The least used go first."""

    def __init__(self, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._entries: dict[Key, tuple[Reply, float]] = {}
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def put(self, key: Key, reply: Reply, now: float) -> None:
        if reply.life_s <= 0 or len(reply.wire) > ENTRY_MAX:
            return
        self._drop(key)
        self._entries[key] = (reply, now)
        self._bytes += len(reply.wire)
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))

    def get(self, key: Key, now: float) -> tuple[bytes, float] | None:
        """An answer as old as it is, and until when its times to live are right."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        reply, stored = entry
        seconds = int(now - stored)
        if seconds >= reply.life_s:
            self._drop(key)
            return None
        del self._entries[key]
        self._entries[key] = entry
        return aged(reply.wire, reply.ttls, seconds), stored + seconds + 1

    def forget(self, owner: int) -> None:
        """Everything that was kept for `owner`."""
        for key in [key for key in self._entries if key[0] == owner]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0].wire)

    def __len__(self) -> int:
        return len(self._entries)


class Ready:
    """One question's answers as bytes after the id, given in turn, right until `until`."""

    __slots__ = ("turn", "until", "wires")

    def __init__(self, wires: tuple[bytes, ...], until: float = FOREVER, turn: int = 0) -> None:
        self.wires = wires
        self.until = until
        self.turn = turn

    def next(self) -> bytes:
        wires = self.wires
        if len(wires) == 1:
            return wires[0]
        self.turn = (self.turn + 1) % len(wires)
        return wires[self.turn]


def keep_ready(ready: dict[bytes, Ready], question: bytes, entry: Ready) -> None:
    """Remember `entry` for the very same bytes; too many different ones begin anew."""
    if len(ready) >= READY_MAX:
        ready.clear()
    ready[question] = entry


def rotations(rdatas: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Every order in which `rdatas` are given: each comes first once."""
    return [rotated(rdatas, n) for n in range(max(len(rdatas), 1))]


def rotated(rdatas: tuple[bytes, ...], turn: int) -> tuple[bytes, ...]:
    first = turn % len(rdatas) if rdatas else 0
    return rdatas[first:] + rdatas[:first]
