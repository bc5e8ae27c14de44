"""`naru tag`: one more name for an image."""

from __future__ import annotations

from naru.cli.command import Command, CommandError
from naru.cli.commands.commit import split_reference
from naru.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session


def run(session: Session, values: Values, arguments: list[str]) -> None:
    source, target = arguments
    if "@" in target:
        raise CommandError("refusing to create a tag with a digest reference")
    repository, tag = split_reference(target)
    images.tag(session.engine, source, repository, tag)


TAG = Command(
    run,
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    None,
    2,
    2,
)
