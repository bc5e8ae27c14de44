"""`naru rmi`, `naru image rm`: remove images."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, Flag, Flags
from naru.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("force", "f", BOOL, "Force removal of the image"),
    Flag("no-prune", "", BOOL, "Do not delete untagged parents"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    failures, fatal = [], False
    for name in arguments:
        try:
            steps = images.remove(session.engine, name, values["force"], values["no-prune"])
        except NaruError as error:
            failures.append(error.message)
            fatal = fatal or getattr(error, "status", 0) != 404 or not values["force"]
            continue
        for step in steps:
            if step.get("Deleted"):
                sys.stdout.write(f"Deleted: {step['Deleted']}\n")
            else:
                sys.stdout.write(f"Untagged: {step['Untagged']}\n")
    if failures:
        raise CommandError("\n".join(failures), 1 if fatal else 0)


RMI = Command(run, "[OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", FLAGS, 1, None)
