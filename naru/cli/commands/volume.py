"""`naru volume create`, `ls` and `rm`."""

from __future__ import annotations

import sys

from naru.cli.command import Command, CommandError
from naru.cli.create_values import LABELS, PAIRS
from naru.cli.each import for_each
from naru.cli.flags import BOOL, FILTER, STRING, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped, warn_ignored_format
from naru.cli.nouns_image import VOLUME
from naru.cli.render import View, show
from naru.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session


def create(session: Session, values: Values, arguments: list[str]) -> None:
    labels = dict(text.partition("=")[::2] for text in values["label"])
    body = {
        "Driver": values["driver"], "DriverOpts": dict(values["opt"]), "Labels": labels,
        "Name": arguments[0] if arguments else "",
    }  # fmt: skip
    sys.stdout.write(volumes.create(session.engine, body) + "\n")


def list_all(session: Session, values: Values, arguments: list[str]) -> None:
    found = volumes.list_volumes(session.engine, grouped(values["filter"]))
    found.sort(key=lambda item: str(item["Name"]))
    if values["quiet"]:
        warn_ignored_format(values)
        sys.stdout.write("".join(f"{item['Name']}\n" for item in found))
        return
    show(VOLUME, found, View(), values["format"] or session.config_text("volumesFormat"))


def remove(session: Session, values: Values, arguments: list[str]) -> None:
    if "" in arguments:
        raise CommandError("invalid volume name: value is empty")
    for_each(
        session,
        arguments,
        lambda api, name: volumes.remove(api, name, values["force"]),
        parallel=False,
    )


CREATE = Command(
    create,
    "[OPTIONS] [VOLUME]",
    "Create a volume",
    Flags(
        Flag("driver", "d", STRING, "Specify volume driver name", "local", shown="local"),
        Flag("label", "", LABELS, "Set metadata for a volume"),
        Flag("opt", "o", PAIRS, "Set driver specific options"),
    ),
    0,
    1,
)
LS = Command(
    list_all,
    "[OPTIONS]",
    "List volumes",
    Flags(
        Flag("filter", "f", FILTER, 'Provide filter values (e.g. "dangling=true")'),
        Flag("format", "", STRING_FORMAT, FORMAT_HELP),
        Flag("quiet", "q", BOOL, "Only display volume names"),
    ),
)
RM = Command(
    remove,
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    Flags(Flag("force", "f", BOOL, "Force the removal of one or more volumes")),
    1,
    None,
)
