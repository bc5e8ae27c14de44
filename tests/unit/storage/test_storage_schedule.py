"""When a backup is due: spans and times of day, clocks that are set, runs that were missed."""

import os
import time
from collections.abc import Iterator

import pytest

from naru.base.clock import NS, parse_rfc3339
from naru.base.errors import InvalidParameter
from naru.storage.volumes.schedule import Schedule, check, due_ns, file_name, surplus, wait_s

HOUR = 3600 * NS
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str) -> int:
    return parse_rfc3339(text)


def daily(created: str, begun: str = "") -> Schedule:
    begun_ns = at(begun) if begun else 0
    return Schedule(volume="v", created_ns=at(created), at="03:00", begun_ns=begun_ns)


def spans(created: str, begun: str = "") -> Schedule:
    begun_ns = at(begun) if begun else 0
    return Schedule(volume="v", created_ns=at(created), every_ns=6 * HOUR, begun_ns=begun_ns)


def test_a_span_counts_from_the_last_begin() -> None:
    schedule = spans("2026-01-01T00:00:00Z")
    assert due_ns(schedule, at("2026-01-01T01:00:00Z")) == at("2026-01-01T06:00:00Z")
    schedule = spans("2026-01-01T00:00:00Z", "2026-01-01T06:00:10Z")
    assert due_ns(schedule, at("2026-01-01T07:00:00Z")) == at("2026-01-01T12:00:10Z")


def test_a_time_of_day_is_the_hosts() -> None:
    schedule = daily("2026-01-01T00:00:00Z")
    assert due_ns(schedule, at("2026-01-01T00:30:00Z")) == at("2026-01-01T02:00:00Z")
    schedule = daily("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z")
    assert due_ns(schedule, at("2026-01-01T02:00:01Z")) == at("2026-01-02T02:00:00Z")
    summer = daily("2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z")
    assert due_ns(summer, at("2026-07-01T01:30:00Z")) == at("2026-07-02T01:00:00Z")


def test_days_of_23_and_25_hours_have_one_run_each() -> None:
    for first, second in (
        ("2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z"),
        ("2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"),
        ("2026-10-24T01:00:00Z", "2026-10-25T02:00:00Z"),
        ("2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"),
    ):
        schedule = daily("2026-01-01T00:00:00Z", first)
        assert due_ns(schedule, at(first) + NS) == at(second)
    missing = Schedule(volume="v", created_ns=at("2026-03-28T12:00:00Z"), at="02:30")
    due = due_ns(missing, at("2026-03-28T13:00:00Z"))
    assert at("2026-03-29T00:30:00Z") <= due <= at("2026-03-29T01:30:00Z")


@pytest.mark.parametrize("make", [daily, spans])
def test_a_missed_run_is_due_at_once_and_only_once(make: type) -> None:
    schedule = make("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z")
    now = at("2026-01-09T12:00:00Z")
    assert wait_s(schedule, now, -1.0) == 0
    after = make("2026-01-01T00:00:00Z", "2026-01-09T12:00:00Z")
    assert wait_s(after, now + NS, -1.0) > 3600


@pytest.mark.parametrize("make", [daily, spans])
def test_a_clock_that_was_set_back_delays_by_one_period_at_most(make: type) -> None:
    schedule = make("2026-06-01T00:00:00Z", "2026-06-05T12:00:00Z")
    now = at("2026-05-01T00:00:00Z")
    assert 0 < wait_s(schedule, now, -1.0) <= 24 * 3600


def test_a_span_does_not_hear_of_the_hosts_clock_while_the_engine_runs() -> None:
    schedule = spans("2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z")
    for now in ("2026-01-01T07:00:00Z", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z"):
        assert wait_s(schedule, at(now), 3600.0) == 5 * 3600
        assert wait_s(schedule, at(now), 7 * 3600.0) == 0


def test_what_is_no_schedule() -> None:
    assert check("v", "6h", "", 7, "") == (6 * HOUR, "")
    assert check("v", "", "3:05", 1, "/x") == (0, "03:05")
    for arguments, text in (
        (("", "", 7, ""), "either every or at"),
        (("6h", "03:00", 7, ""), "either every or at"),
        (("6h", "", 0, ""), "keep 0"),
        (("6h", "", 99999, ""), "keep 99999"),
        (("10ms", "", 7, ""), "wanted 1s to a year"),
        (("-6h", "", 7, ""), "wanted 1s to a year"),
        (("99999h", "", 7, ""), "wanted 1s to a year"),
        (("often", "", 7, ""), "invalid duration"),
        (("", "24:00", 7, ""), "no time such as"),
        (("", "03:00", 7, "backups"), "no absolute path"),
        (("", "03:00", 7, "/x\0"), "no absolute path"),
    ):
        with pytest.raises(InvalidParameter, match=text):
            check("v", *arguments)


def test_names_and_what_is_too_much() -> None:
    assert file_name("db", at("2026-01-01T02:03:04.0567Z")) == "db-20260101T020304.056Z.tar.zst"
    assert surplus(("a", "b", "c"), 2) == ("a",)
    assert surplus(("a",), 2) == ()
