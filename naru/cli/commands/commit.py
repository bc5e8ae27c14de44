"""`naru commit`: an image out of a container's changes."""

from __future__ import annotations

import sys

from naru.cli.command import Command
from naru.cli.flags import BOOL, LIST, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("author", "a", STRING, 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
    Flag("change", "c", LIST, "Apply Dockerfile instruction to the created image"),
    Flag("message", "m", STRING, "Commit message"),
    Flag("pause", "p", BOOL, "Pause container during commit", True),
)


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag; the tag is `latest` when a repository is alone."""
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, "latest" if reference else ""
    return repository, tag


def run(session: Session, values: Values, arguments: list[str]) -> None:
    repository, tag = split_reference(arguments[1] if len(arguments) > 1 else "")
    image = containers.commit(
        session.engine,
        {
            "author": values["author"] or None, "changes": values["change"] or None,
            "comment": values["message"] or None, "container": arguments[0],
            "pause": None if values["pause"] else "0",
            "repo": repository or None, "tag": tag or None,
        },
    )  # fmt: skip
    sys.stdout.write(image + "\n")


COMMIT = Command(
    run,
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    FLAGS,
    1,
    2,
)
