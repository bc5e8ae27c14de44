"""`naru load`: images out of an archive."""

from __future__ import annotations

import os
import sys

from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.cli.progress import show_progress
from naru.cli.transfer import file_chunks
from naru.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("input", "i", STRING, "Read from tar archive file, instead of STDIN"),
    Flag("quiet", "q", BOOL, "Suppress the load output"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    fd, path = 0, values["input"]
    if path:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    elif os.isatty(0):
        raise CommandError("requested load from stdin, but stdin is empty")
    quiet = values["quiet"] or not sys.stdout.isatty()
    show_progress(images.load(session.engine, file_chunks(fd), quiet), sys.stdout)


LOAD = Command(run, "[OPTIONS]", "Load an image from a tar archive or STDIN", FLAGS)
