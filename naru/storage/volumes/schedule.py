"""When a volume is backed up, and what is known of its backups. Pure: whoever asks brings the time.

--every 6h     6 h after the last one began, by a clock that nobody sets
--at 03:00     each day at that time of the host's zone
"""

import re
import time
from typing import Any

from msgspec import Struct

from naru.base.clock import NS, ZERO_TIME, format_duration, parse_duration_ns, rfc3339
from naru.base.errors import InvalidParameter

KIND = "volume-schedule"
_AT = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_MOST_KEPT = 10_000
_LONGEST_EVERY_NS = 366 * 24 * 3600 * NS
_FILE_TIME = "%Y%m%dT%H%M%S"


class Backup(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One run that has ended. `error` empty: `file` is whole and durable."""

    started_ns: int
    ended_ns: int
    error: str = ""
    file: str = ""
    size_bytes: int = 0


class Schedule(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Of one volume. `files`: its backups, the oldest first. `writing`: the one that is being made.

    Exactly one of `every_ns` and `at` is set. `to` empty: the engine's own folder.
    """

    volume: str
    created_ns: int
    every_ns: int = 0
    at: str = ""
    keep: int = 7
    to: str = ""
    pause: bool = False
    files: tuple[str, ...] = ()
    writing: str = ""
    begun_ns: int = 0
    last: Backup | None = None


def check(volume: str, every: str, at: str, keep: int, to: str) -> tuple[int, str]:
    """`every` in nanoseconds and `at` in its normal form. Raises: InvalidParameter."""
    if bool(every) == bool(at):
        raise InvalidParameter(f"schedule of volume {volume}: say either every or at")
    if not 1 <= keep <= _MOST_KEPT:
        raise InvalidParameter(
            f"schedule of volume {volume}: keep {keep}: wanted 1 to {_MOST_KEPT}"
        )
    if to and (not to.startswith("/") or "\0" in to):
        raise InvalidParameter(f"schedule of volume {volume}: {to!r} is no absolute path")
    if at:
        match = _AT.fullmatch(at)
        if match is None:
            raise InvalidParameter(f"schedule of volume {volume}: {at!r} is no time such as 03:00")
        return 0, f"{int(match[1]):02}:{match[2]}"
    every_ns = parse_duration_ns(every)
    if not NS <= every_ns <= _LONGEST_EVERY_NS:
        raise InvalidParameter(f"schedule of volume {volume}: every {every}: wanted 1s to a year")
    return every_ns, ""


def due_ns(schedule: Schedule, now_ns: int) -> int:
    """When the next backup shall begin, by the host's clock; in the past: it was missed.

    What was said to have happened in the future (the clock was set back) has happened now.
    """
    after_ns = min(max(schedule.begun_ns, schedule.created_ns), now_ns)
    if schedule.every_ns:
        return after_ns + schedule.every_ns
    return _next_at(schedule.at, after_ns)


def wait_s(schedule: Schedule, now_ns: int, idle_s: float) -> float:
    """Seconds until it is due; 0: now. `idle_s`: how long the engine has waited since the last run
    began, by a clock that nobody sets; negative: it was not there then.

    Not below zero, whatever the clocks say.
    """
    if schedule.every_ns and idle_s >= 0:
        return max(0.0, schedule.every_ns / NS - idle_s)
    return max(0.0, (due_ns(schedule, now_ns) - now_ns) / NS)


def _next_at(at: str, after_ns: int) -> int:
    hour, minute = (int(part) for part in at.split(":"))
    after_s = after_ns // NS
    day = time.localtime(after_s)
    for ahead in (0, 1):
        when = (day.tm_year, day.tm_mon, day.tm_mday + ahead, hour, minute, 0, 0, 0, -1)
        found = int(time.mktime(when))
        if found > after_s:
            break
    return found * NS


def file_name(volume: str, now_ns: int) -> str:
    """Sorted by name they are sorted by time."""
    stamp = time.strftime(_FILE_TIME, time.gmtime(now_ns // NS))
    return f"{volume}-{stamp}.{now_ns // 1_000_000 % 1000:03}Z.tar.zst"


def surplus(files: tuple[str, ...], keep: int) -> tuple[str, ...]:
    """The backups that are too many, the oldest first."""
    return files[: max(0, len(files) - keep)]


def describe(schedule: Schedule, folder: str, now_ns: int) -> dict[str, Any]:
    """As the API shows it."""
    last = schedule.last
    return {
        "Volume": schedule.volume,
        "Every": format_duration(schedule.every_ns) if schedule.every_ns else "",
        "At": schedule.at,
        "Keep": schedule.keep,
        "To": folder,
        "Pause": schedule.pause,
        "Files": list(schedule.files),
        "Running": bool(schedule.writing),
        "NextAt": rfc3339(max(due_ns(schedule, now_ns), now_ns)),
        "Last": None if last is None else {
            "StartedAt": rfc3339(last.started_ns),
            "EndedAt": rfc3339(last.ended_ns) if last.ended_ns else ZERO_TIME,
            "Error": last.error,
            "File": last.file,
            "Size": last.size_bytes,
        },
    }  # fmt: skip
