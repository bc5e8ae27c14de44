"""`naru save`: images as a tar archive."""

from __future__ import annotations

from naru.cli.command import Command
from naru.cli.flags import STRING, Flag, Flags
from naru.cli.transfer import save_stream
from naru.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(Flag("output", "o", STRING, "Write to a file, instead of STDOUT"))


def run(session: Session, values: Values, arguments: list[str]) -> None:
    save_stream(
        values["output"], lambda: images.save(session.engine, arguments), "failed to save image"
    )


SAVE = Command(
    run,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    FLAGS,
    1,
    None,
)
