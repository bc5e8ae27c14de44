"""`naru top`: the processes of a container."""

from __future__ import annotations

import sys

from naru.base.text import visible_line
from naru.cli.command import Command
from naru.cli.table import align
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session


def run(session: Session, values: Values, arguments: list[str]) -> None:
    found = containers.top(session.engine, arguments[0], " ".join(arguments[1:]))
    rows = (found["Titles"], *(found["Processes"] or ()))
    sys.stdout.write(align([[visible_line(cell) for cell in row] for row in rows], 20, 3))


TOP = Command(
    run,
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    None,
    1,
    None,
    stop_early=True,
)
