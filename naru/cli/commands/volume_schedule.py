"""`naru volume schedule`: backups by the clock. Naru's own word."""

from __future__ import annotations

import sys

from naru.base.text import visible
from naru.base.units import human_size
from naru.cli.command import Command, CommandError, UsageError
from naru.cli.each import for_each
from naru.cli.flags import BOOL, INT, STRING, Flag, Flags
from naru.cli.table import align
from naru.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

_HEAD = ("VOLUME", "WHEN", "KEEP", "BACKUPS", "NEXT", "LAST", "RESULT", "TO")


def run(session: Session, values: Values, arguments: list[str]) -> None:
    word, rest = arguments[0], arguments[1:]
    if word in ("ls", "list"):
        _expect(not rest and not values.given)
        _list(session)
    elif word in ("rm", "remove", "run"):
        _expect(bool(rest) and not values.given)
        _each(session, word, rest)
    else:
        _expect(not rest)
        _put(session, values, word)


def _expect(right: bool) -> None:
    if not right:
        raise UsageError("the words do not fit together")


def _put(session: Session, values: Values, name: str) -> None:
    if bool(values["every"]) == bool(values["at"]):
        raise CommandError("say when: --every 6h, or --at 03:00")
    body = {
        "Every": values["every"], "At": values["at"], "Keep": values["keep"], "To": values["to"],
        "Pause": values["pause"],
    }  # fmt: skip
    made = volumes.schedule(session.engine, name, body)
    sys.stdout.write(f"{name}: next at {made['NextAt']}, to {made['To']}\n")


def _each(session: Session, word: str, names: list[str]) -> None:
    if word == "run":
        for name in names:
            sys.stdout.write(volumes.back_up(session.engine, name)["File"] + "\n")
        return
    for_each(session, names, volumes.unschedule, parallel=False)


def _list(session: Session) -> None:
    rows = [_HEAD, *(_row(item) for item in volumes.schedules(session.engine))]
    sys.stdout.write(align(rows))


def _row(item: Any) -> tuple[str, ...]:
    last = item["Last"]
    when = f"every {item['Every']}" if item["Every"] else f"at {item['At']}"
    result = "running" if item["Running"] else "never"
    if last is not None and not item["Running"]:
        result = visible(last["Error"]) or f"ok, {human_size(last['Size'], 3)}"
    return (
        item["Volume"], when + (", paused" if item["Pause"] else ""), str(item["Keep"]),
        str(len(item["Files"])), item["NextAt"], last["StartedAt"] if last else "-", result,
        item["To"],
    )  # fmt: skip


SCHEDULE = Command(
    run,
    "[OPTIONS] VOLUME\nls\nrm VOLUME [VOLUME...]\nrun VOLUME [VOLUME...]",
    "Back a volume up by the clock",
    Flags(
        Flag("at", "", STRING, "Each day at this time, such as 03:00"),
        Flag("every", "", STRING, "Each time this span has passed, such as 6h"),
        Flag("keep", "", INT, "How many backups are kept", 7, shown="7"),
        Flag("pause", "", BOOL, "Freeze the volume's containers meanwhile"),
        Flag("to", "", STRING, "Directory of the engine's host that the backups go to"),
    ),
    1,
    None,
)
