"""`naru history`: what an image was made of."""

from __future__ import annotations

import sys
import time

from naru.cli.command import Command
from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, warn_ignored_format
from naru.cli.nouns_image import HISTORY
from naru.cli.render import View, show
from naru.client.images import history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("format", "", STRING_FORMAT, FORMAT_HELP),
    Flag("human", "H", BOOL, "Print sizes and dates in human readable format", True),
    Flag("no-trunc", "", BOOL, "Don't truncate output"),
    Flag("quiet", "q", BOOL, "Only show image IDs"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    items = history(session.engine, arguments[0])
    view = View(values["no-trunc"], now=time.time(), human=values["human"])
    if values["quiet"]:
        warn_ignored_format(values)
        read = HISTORY.columns["ID"]
        sys.stdout.write("".join(f"{read(item, view)}\n" for item in items))
        return
    columns = None
    if not view.human:
        columns = ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")
    show(HISTORY, items, view, values["format"], columns)


HISTORY_COMMAND = Command(run, "[OPTIONS] IMAGE", "Show the history of an image", FLAGS, 1, 1)
