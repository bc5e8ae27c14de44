"""Words that docker's users know and this release does not offer: refused by name."""

from __future__ import annotations

from naru.cli.command import Command, CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session


def _refuse(session: Session, values: Values, arguments: list[str]) -> None:
    instead = "images come in with 'naru load' and 'naru import'"
    raise CommandError(f"'{session.command}' is not in this release: {instead}")


def _word(summary: str) -> Command:
    text = f"{summary} (not in this release)"
    return Command(_refuse, "", text, None, 0, None, stop_early=True)


BUILD = _word("Build an image from a Dockerfile")
LOGIN = _word("Authenticate to a registry")
LOGOUT = _word("Log out from a registry")
PULL = _word("Download an image from a registry")
PUSH = _word("Upload an image to a registry")
SEARCH = _word("Search a registry for images")
