"""`naru volume clone`, `snapshot` and `rename`: Naru's own words."""

from __future__ import annotations

import sys

from naru.cli.command import Command
from naru.cli.flags import BOOL, Flag, Flags
from naru.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

_PAUSE = Flag("pause", "", BOOL, "Freeze the volume's containers while it is copied")


def _tell(made: Any) -> None:
    about = made["Naru"]
    sys.stdout.write(f"{made['Name']}\n")
    if about["Method"] == "reflink":
        sys.stderr.write("The files share their blocks with the original's.\n")
    else:
        sys.stderr.write("The files were copied: the file system shares no blocks.\n")
    if about["Sockets"]:
        sys.stderr.write(f"WARNING: {about['Sockets']} sockets were left out\n")


def clone(session: Session, values: Values, arguments: list[str]) -> None:
    source, name = arguments
    _tell(volumes.clone(session.engine, source, name, values["pause"]))


def snapshot(session: Session, values: Values, arguments: list[str]) -> None:
    name = arguments[1] if len(arguments) > 1 else ""
    _tell(volumes.snapshot(session.engine, arguments[0], name, values["pause"]))


def rename(session: Session, values: Values, arguments: list[str]) -> None:
    volumes.rename(session.engine, *arguments)


CLONE = Command(clone, "[OPTIONS] VOLUME NEW", "Copy a volume", Flags(_PAUSE), 2, 2)
SNAPSHOT = Command(
    snapshot,
    "[OPTIONS] VOLUME [SNAPSHOT]",
    "Copy a volume as it is now, under a name with the time",
    Flags(_PAUSE),
    1,
    2,
)
RENAME = Command(rename, "VOLUME NEW", "Rename a volume that no container has", None, 2, 2)
