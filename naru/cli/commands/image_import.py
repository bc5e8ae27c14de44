"""`naru import`: an image out of a file system's archive."""

from __future__ import annotations

import os
import sys

from naru.cli.command import Command, CommandError
from naru.cli.flags import LIST, STRING, Flag, Flags
from naru.cli.progress import show_progress
from naru.cli.transfer import file_chunks
from naru.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("change", "c", LIST, "Apply Dockerfile instruction to the created image"),
    Flag("message", "m", STRING, "Set commit message for imported image"),
    Flag("platform", "", STRING, "Set platform if the engine is multi-platform capable"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    source = arguments[0]
    archive: Iterable[bytes] | None = None
    if source == "-":
        archive = file_chunks(0)
    elif not source.startswith(("http://", "https://")):
        try:
            archive = file_chunks(os.open(source, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise CommandError(f"open {source}: {(error.strerror or '').lower()}") from error
    parameters = {
        "changes": values["change"] or None, "fromSrc": source if archive is None else "-",
        "message": values["message"] or None, "platform": values["platform"] or None,
        "repo": arguments[1] if len(arguments) > 1 else None,
    }  # fmt: skip
    show_progress(images.import_archive(session.engine, archive, parameters), sys.stdout)


IMPORT = Command(
    run,
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    FLAGS,
    1,
    2,
)
