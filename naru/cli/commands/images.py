"""`naru images`, `naru image ls`: list images."""

from __future__ import annotations

import sys
import time

from naru.cli.command import Command
from naru.cli.flags import BOOL, FILTER, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped, warn_ignored_format
from naru.cli.nouns_image import IMAGE, image_rows, short_id
from naru.cli.render import View, show
from naru.client.images import list_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("all", "a", BOOL, "Show all images (default hides intermediate images)"),
    Flag("digests", "", BOOL, "Show digests"),
    Flag("filter", "f", FILTER, "Filter output based on conditions provided"),
    Flag("format", "", STRING_FORMAT, FORMAT_HELP),
    Flag("no-trunc", "", BOOL, "Don't truncate output"),
    Flag("quiet", "q", BOOL, "Only show image IDs"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    wanted = grouped(values["filter"])
    if arguments:
        wanted.setdefault("reference", []).append(arguments[0])
    form: str = values["format"] or session.config_text("imagesFormat")
    rows = image_rows(list_images(session.engine, values["all"], wanted), values["digests"])
    view = View(values["no-trunc"], now=time.time())
    if values["quiet"]:
        warn_ignored_format(values)
        sys.stdout.write("".join(f"{short_id(row['Id'], view)}\n" for row in rows))
        return
    columns = None
    if values["digests"]:
        columns = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
    show(IMAGE, rows, view, form, columns)


IMAGES = Command(run, "[OPTIONS] [REPOSITORY[:TAG]]", "List images", FLAGS, 0, 1)
