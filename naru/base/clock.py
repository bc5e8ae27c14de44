"""Time as the Engine API writes it: RFC 3339 with nanoseconds, and the forms that clients send."""

import re
import time
from datetime import UTC, datetime

from naru.base.errors import InvalidParameter

ZERO_TIME = "0001-01-01T00:00:00Z"
NS = 1_000_000_000

_DURATION_UNITS_NS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000,
    "s": NS, "m": 60 * NS, "h": 3600 * NS,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)?\s*([Zz]|[+-]\d\d:\d\d)?\Z"
)


def now_ns() -> int:
    """Wall-clock nanoseconds since the epoch."""
    return time.time_ns()


def rfc3339(ns: int) -> str:
    """`ns` since the epoch as `2026-11-21T01:02:03.000000004Z`; 0 is Docker's zero time."""
    if ns <= 0:
        return ZERO_TIME
    seconds, fraction = divmod(ns, NS)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch; a missing zone is UTC, a missing time is midnight.

    Raises: InvalidParameter when `text` is no such time.
    """
    match = _RFC3339.match(text)
    if match is None:
        raise InvalidParameter(f"invalid time {text!r}: wanted RFC 3339, as 2026-11-21T01:02:03Z")
    day, clock, fraction, zone = match.groups()
    clock = clock or "00:00:00"
    if len(clock) == 5:
        clock += ":00"
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        seconds = int(datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp())
    except ValueError as error:
        raise InvalidParameter(f"invalid time {text!r}: {error}") from error
    if day == "0001-01-01":
        return 0
    return seconds * NS + int((fraction or "0").ljust(9, "0"))


def parse_duration_ns(text: str) -> int:
    """A Go duration (`1h2m3.5s`, `0`, `-5s`) in nanoseconds. Raises: InvalidParameter."""
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if body == "0":
        return 0
    total, position = 0.0, 0
    for part in _DURATION_PART.finditer(body):
        if part.start() != position:
            break
        total += float(part[1]) * _DURATION_UNITS_NS[part[2]]
        position = part.end()
    if not body or position != len(body):
        raise InvalidParameter(f"invalid duration {text!r}: wanted a form such as 1h30m or 1.5s")
    return sign * int(total)


def format_duration(ns: int) -> str:
    """A duration as Go writes it: `1h0m30s`, `1.5s`, `200ms`, `0s`."""
    if ns < NS:
        for unit, size_ns in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if ns >= size_ns:
                return f"{ns / size_ns:.6f}".rstrip("0").rstrip(".") + unit
        return "0s"
    minutes, rest_ns = divmod(ns, 60 * NS)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest_ns // NS}.{rest_ns % NS:09d}".rstrip("0").rstrip(".")
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{before}{seconds}s"


def parse_timestamp(text: str, now: int) -> int:
    """A `since`/`until` value in nanoseconds: unix seconds (`123.000000456`), RFC 3339 or a
    duration before `now`. Raises: InvalidParameter.

    Spec: Engine API, `since` and `until` of logs and events.
    """
    if re.fullmatch(r"-?\d+(\.\d{1,9})?", text):
        whole, _, fraction = text.partition(".")
        return int(whole) * NS + int(fraction.ljust(9, "0") if fraction else 0)
    if re.match(r"\d{4}-", text):
        return parse_rfc3339(text)
    return now - parse_duration_ns(text)


def utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / NS, UTC)
