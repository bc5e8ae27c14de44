"""Answers that are kept."""

import struct

from naru.network.dns.cache import (
    READY_MAX,
    AnswerCache,
    Ready,
    keep_ready,
    rotated,
    rotations,
)
from naru.network.dns.message import Reply


def reply(life_s: int, size: int = 100) -> Reply:
    wire = b"\0\0\x81\x80" + b"\0" * (size - 8) + struct.pack(">I", life_s)
    return Reply(wire, 0, False, (size - 4,), life_s)


def left(found: tuple[bytes, float] | None) -> int:
    assert found is not None
    return int(struct.unpack(">I", found[0][-4:])[0])


def test_an_answer_is_given_until_its_time_is_over() -> None:
    cache = AnswerCache()
    cache.put((1, b"q"), reply(10), 100.0)
    assert left(cache.get((1, b"q"), 100.5)) == 10
    found = cache.get((1, b"q"), 103.5)
    assert left(found) == 7
    assert found is not None
    assert found[1] == 104.0  # then it is a second older
    assert cache.get((1, b"q"), 110.0) is None
    assert len(cache) == 0


def test_each_owner_has_its_own() -> None:
    cache = AnswerCache()
    cache.put((1, b"q"), reply(10), 0.0)
    cache.put((2, b"q"), reply(20), 0.0)
    assert cache.get((3, b"q"), 0.0) is None
    cache.forget(1)
    assert cache.get((1, b"q"), 0.0) is None
    assert left(cache.get((2, b"q"), 0.0)) == 20


def test_what_may_not_or_cannot_be_kept_is_not() -> None:
    cache = AnswerCache()
    cache.put((1, b"q"), reply(0), 0.0)
    cache.put((1, b"big"), reply(10, 4097), 0.0)
    assert len(cache) == 0


def test_the_least_used_goes_first() -> None:
    cache = AnswerCache(entries_max=2)
    cache.put((1, b"a"), reply(10), 0.0)
    cache.put((1, b"b"), reply(10), 0.0)
    assert cache.get((1, b"a"), 0.0)
    cache.put((1, b"c"), reply(10), 0.0)
    assert cache.get((1, b"b"), 0.0) is None
    assert cache.get((1, b"a"), 0.0)


def test_bytes_are_bounded_and_counted_right() -> None:
    cache = AnswerCache(bytes_max=1000)
    for _ in range(3):
        for n in range(50):
            cache.put((1, b"%d" % n), reply(10), 0.0)
    assert len(cache) == 10
    cache.put((1, b"49"), reply(10, 200), 0.0)
    assert len(cache) == 9
    cache.forget(1)
    cache.put((1, b"x"), reply(10, 1000), 0.0)
    assert len(cache) == 1


def test_ready_answers_take_turns() -> None:
    entry = Ready((b"a", b"b", b"c"))
    assert sorted(entry.next() for _ in range(6)) == [b"a", b"a", b"b", b"b", b"c", b"c"]
    assert Ready((b"a",)).next() == b"a"


def test_ready_answers_are_bounded() -> None:
    ready: dict[bytes, Ready] = {}
    for n in range(READY_MAX + 5):
        keep_ready(ready, b"%d" % n, Ready((b"a",)))
    assert len(ready) == 5


def test_every_address_comes_first_in_turn() -> None:
    assert rotations((b"a", b"b", b"c")) == [
        (b"a", b"b", b"c"),
        (b"b", b"c", b"a"),
        (b"c", b"a", b"b"),
    ]
    assert rotations(()) == [()]
    assert rotated((b"a", b"b", b"c"), 4) == (b"b", b"c", b"a")
    assert rotated((), 3) == ()
