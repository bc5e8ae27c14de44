"""`naru logs`: what a container wrote."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.cli.streams import Demultiplexer, write_all
from naru.cli.times import timestamp
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("details", "", BOOL, "Show extra details provided to logs"),
    Flag("follow", "f", BOOL, "Follow log output"),
    Flag(
        "since",
        "",
        STRING,
        'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 '
        "minutes)",
    ),
    Flag(
        "tail",
        "n",
        STRING,
        "Number of lines to show from the end of the logs",
        "all",
        shown="all",
    ),
    Flag("timestamps", "t", BOOL, "Show timestamps"),
    Flag(
        "until",
        "",
        STRING,
        'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for '
        "42 minutes)",
    ),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    engine = session.engine
    found = containers.inspect(engine, arguments[0])
    wanted = {
        "details": values["details"] or None, "follow": values["follow"] or None,
        "since": _time(values, "since"), "stderr": True, "stdout": True,
        "tail": values["tail"], "timestamps": values["timestamps"] or None,
        "until": _time(values, "until"),
    }  # fmt: skip
    answer = containers.logs(engine, found["Id"], wanted)
    sys.stdout.flush()
    frames = Demultiplexer(lambda data: write_all(1, data), lambda data: write_all(2, data))
    tty: bool = found["Config"]["Tty"]
    try:
        for data in answer.chunks():
            if tty:
                write_all(1, data)
            else:
                frames.feed(data)
        frames.finish()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error


def _time(values: Values, name: str) -> str | None:
    try:
        return timestamp(values[name])
    except NaruError as error:
        raise CommandError(f'invalid value for "{name}": {error.message}') from error


LOGS = Command(run, "[OPTIONS] CONTAINER", "Fetch the logs of a container", FLAGS, 1, 1)
