"""Which ids of the host stand for a container's own, and where such ids are set aside. Pure.

A range is written `inside outside size`, as in /proc/PID/uid_map. Ids that are set aside for
somebody are lines `NAME:FIRST:COUNT` of /etc/subuid and /etc/subgid.
Spec: user_namespaces(7), subuid(5), subgid(5).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

LAST_ID = 2**32 - 2
_MOST_RANGES = 340
_FIRST_OFFERED, _OFFERED = 100_000, 65_536


@dataclass(frozen=True, slots=True)
class IdRange:
    inside: int
    outside: int
    size: int

    def find(self, number: int) -> int | None:
        """The host's id for the container's `number`; None when the range does not hold it."""
        offset = number - self.inside
        return self.outside + offset if 0 <= offset < self.size else None


Ranges = tuple[IdRange, ...]


@dataclass(frozen=True, slots=True)
class IdMap:
    """The ranges of a user namespace; both begin with the container's root."""

    uids: Ranges
    gids: Ranges

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of the container's root."""
        return self.uids[0].outside, self.gids[0].outside

    @property
    def last_gid(self) -> int:
        """The highest group of the container, counted without a gap."""
        return self.gids[-1].inside + self.gids[-1].size - 1

    def on_host(self, uid: int, gid: int) -> tuple[int, int] | None:
        """The host's ids of a user of the container; None when they have none."""
        found = _find(self.uids, uid), _find(self.gids, gid)
        return None if found[0] is None or found[1] is None else (found[0], found[1])


def _find(ranges: Ranges, number: int) -> int | None:
    return next((found for one in ranges if (found := one.find(number)) is not None), None)


def kernel_text(ranges: Ranges) -> str:
    """What is written to uid_map or gid_map."""
    return "".join(f"{one.inside} {one.outside} {one.size}\n" for one in ranges)


def parse_kernel_text(text: str) -> Ranges:
    """The other way round. Raises: ValueError."""
    lines = [[int(word) for word in line.split()] for line in text.splitlines()]
    return tuple(IdRange(inside, outside, size) for inside, outside, size in lines)


def is_whole(ranges: Ranges) -> bool:
    """Whether every id stands for itself: no mapping at all."""
    return any(one == IdRange(0, 0, LAST_ID + 1) for one in ranges)


def set_aside(text: str) -> list[tuple[str, int, int]]:
    """(name, first, count) of each line; lines that are none are left out, as shadow does."""
    found = []
    for line in text.splitlines():
        words = line.strip().split(":")
        if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
            found.append((words[0], int(words[1]), int(words[2])))
    return found


def ranges_of(text: str, names: Collection[str]) -> Ranges:
    """What is set aside for whoever has one of `names` (a name, a number), one after the other.

    Raises: ValueError for ids that do not exist, and for more ranges than the kernel takes.
    """
    ranges: list[IdRange] = []
    inside = 0
    for name, first, count in set_aside(text):
        if name not in names or count == 0:
            continue
        if first == 0 or first + count - 1 > LAST_ID:
            raise ValueError(f"{name}:{first}:{count} has ids that nobody may be given")
        ranges.append(IdRange(inside, first, count))
        inside += count
    if len(ranges) > _MOST_RANGES:
        raise ValueError(f"{len(ranges)} ranges are more than the {_MOST_RANGES} of a namespace")
    return tuple(ranges)


def overlaps(text: str, ranges: Iterable[IdRange]) -> str | None:
    """The line of `text` that gives somebody ids of `ranges`; None when nobody has any."""
    for name, first, count in set_aside(text):
        for one in ranges:
            if first < one.outside + one.size and one.outside < first + count:
                return f"{name}:{first}:{count}"
    return None


def free_line(name: str, texts: Iterable[str]) -> str:
    """A line for `name` with ids that no line of `texts` has."""
    ends = [first + count for text in texts for _, first, count in set_aside(text)]
    return f"{name}:{max([_FIRST_OFFERED, *ends])}:{_OFFERED}"
