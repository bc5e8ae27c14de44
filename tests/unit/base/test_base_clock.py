import pytest

from naru.base import clock
from naru.base.errors import InvalidParameter


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
    ],
)
def test_rfc3339_and_back(ns: int, text: str) -> None:
    assert clock.rfc3339(ns) == text
    assert clock.parse_rfc3339(text) == ns


def test_a_zone_counts() -> None:
    assert clock.parse_rfc3339("2023-11-15T07:13:20+09:00") == 1_700_000_000 * clock.NS


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1h2m3.5s", 3_723_500_000_000), ("-5s", -5 * clock.NS), ("0", 0), ("10ms", 10_000_000)],
)
def test_durations(text: str, ns: int) -> None:
    assert clock.parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1h garbage", "--1s"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid duration"):
        clock.parse_duration_ns(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("12", 12 * clock.NS), ("12.000000034", 12 * clock.NS + 34), ("10s", 90 * clock.NS)],
)
def test_timestamps_are_unix_or_relative(text: str, ns: int) -> None:
    assert clock.parse_timestamp(text, 100 * clock.NS) == ns


@pytest.mark.parametrize(
    "text", ["0s", "1ns", "1.5µs", "200ms", "1s", "1.5s", "30s", "1m0s", "1m30s", "1h0m0.5s"]
)
def test_durations_are_written_as_go_does(text: str) -> None:
    assert clock.format_duration(clock.parse_duration_ns(text)) == text
