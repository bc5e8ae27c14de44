"""`naru export`: a container's file system as a tar archive."""

from __future__ import annotations

from naru.cli.command import Command
from naru.cli.flags import STRING, Flag, Flags
from naru.cli.transfer import save_stream
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(Flag("output", "o", STRING, "Write to a file, instead of STDOUT"))


def run(session: Session, values: Values, arguments: list[str]) -> None:
    save_stream(
        values["output"],
        lambda: containers.export(session.engine, arguments[0]),
        "failed to export container",
    )


EXPORT = Command(
    run,
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
    FLAGS,
    1,
    1,
)
