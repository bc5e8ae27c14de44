"""`naru diff`: what a container changed in its file system."""

from __future__ import annotations

import sys

from naru.base.text import visible_line
from naru.cli.command import Command, CommandError
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

LETTERS = "CAD"


def run(session: Session, values: Values, arguments: list[str]) -> None:
    if not arguments[0]:
        raise CommandError("Container name cannot be empty")
    changes = containers.changes(session.engine, arguments[0])
    sys.stdout.write(
        "".join(f"{LETTERS[item['Kind']]} {visible_line(item['Path'])}\n" for item in changes)
    )


DIFF = Command(
    run,
    "CONTAINER",
    "Inspect changes to files or directories on a container's filesystem",
    None,
    1,
    1,
)
