"""Whom to ask, when to ask again, when to give up."""

from naru.network.dns.upstream import ATTEMPT_S, TOTAL_S, Attempts, Upstream


def three() -> list[Upstream]:
    return [Upstream(f"10.0.0.{n}", False) for n in (1, 2, 3)]


def names(attempts: Attempts, *times: float) -> list[str | None]:
    asked = [attempts.next(now) for now in times]
    return [None if upstream is None else upstream.address for upstream in asked]


def test_they_are_asked_in_order_and_again() -> None:
    attempts = Attempts(three(), 0.0)
    assert names(attempts, 0.0, 1.0, 2.0, 3.0, 4.0) == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.1",
        None,
    ]


def test_who_refused_is_not_asked_again() -> None:
    upstreams = three()
    attempts = Attempts(upstreams, 0.0)
    attempts.next(0.0)
    assert attempts.waiting()
    attempts.failed(upstreams[0])
    assert not attempts.waiting()
    assert names(attempts, 0.0, 1.0, 2.0) == ["10.0.0.2", "10.0.0.3", "10.0.0.2"]
    attempts.failed(upstreams[1])
    attempts.failed(upstreams[2])
    assert names(attempts, 2.5) == [None]
    assert not attempts.waiting()


def test_the_dead_are_left_out() -> None:
    upstreams = three()
    upstreams[0].die(0.0)
    assert names(Attempts(upstreams, 1.0), 1.0) == ["10.0.0.2"]
    assert names(Attempts([upstreams[0]], 1.0), 1.0) == [None]
    upstreams[0].heard(2.0)
    assert names(Attempts(upstreams, 2.0), 2.0) == ["10.0.0.1"]


def test_deadlines() -> None:
    attempts = Attempts(three(), 10.0)
    assert attempts.due(10.0) == 10.0 + ATTEMPT_S
    assert attempts.due(13.5) == 10.0 + TOTAL_S


def test_only_who_was_not_heard_at_all_is_suspect() -> None:
    upstreams = three()
    attempts = Attempts(upstreams, 10.0)
    attempts.next(10.0)
    attempts.next(11.0)
    assert attempts.suspects() == upstreams[:2]
    upstreams[0].heard(11.5)  # another query, or a probe: it lives, this name is slow
    assert attempts.suspects() == upstreams[1:2]
    attempts.failed(upstreams[1])
    assert attempts.suspects() == []


def test_the_dead_are_probed_more_and_more_rarely() -> None:
    upstream = Upstream("10.0.0.1", False)
    upstream.die(100.0)
    times = []
    for _ in range(7):
        times.append(upstream.probe_at)
        upstream.probed(upstream.probe_at)
    assert times == [100.5, 101.5, 103.5, 107.5, 112.5, 117.5, 122.5]
    upstream.heard(123.0)
    assert upstream.alive
    upstream.die(200.0)
    assert upstream.probe_at == 200.5
    upstream.die(300.0)  # it is known already
    assert upstream.probe_at == 200.5


def test_a_query_wakes_a_probe_but_not_each() -> None:
    upstream = Upstream("10.0.0.1", False)
    assert not upstream.wants_probe(0.0)
    upstream.die(0.0)
    assert upstream.wants_probe(0.0)
    upstream.probed_at = 0.0
    assert not upstream.wants_probe(0.4)
    assert upstream.wants_probe(0.5)
