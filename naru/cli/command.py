"""What a command is: its usage, its flags, how many arguments it takes, and what runs it."""

from __future__ import annotations

from naru.base.errors import NaruError
from naru.cli.flags import Flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from naru.cli.flags import Values
    from naru.cli.session import Session


class CommandError(NaruError):
    """A command failed; `code` is the process' exit status, an empty message prints nothing."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CommandError):
    """The words are wrong: shown with the usage of `where` (empty: of the command that ran)."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class RunError(CommandError):
    """`run` and its like failed before the workload ran: shown with the program's name (125)."""


class Command:
    """One command. `least` and `most` bound its arguments (`most` None: no bound).

    `usage` is what follows the command's own words, one line each; `stop_early`: flags end at the
    first argument.
    """

    __slots__ = ("flags", "least", "long", "most", "run", "stop_early", "summary", "usage")

    def __init__(
        self,
        run: Callable[[Session, Values, list[str]], int | None],
        usage: str,
        summary: str,
        flags: Flags | None = None,
        least: int = 0,
        most: int | None = 0,
        stop_early: bool = False,
        long: str = "",
    ) -> None:
        self.run, self.usage, self.summary, self.flags = run, usage, summary, flags or Flags()
        self.least, self.most, self.stop_early, self.long = least, most, stop_early, long

    def check_count(self, words: str, arguments: Sequence[str]) -> None:
        """Raises: UsageError when there are too few or too many arguments."""
        count, least, most = len(arguments), self.least, self.most
        if count >= least and (most is None or count <= most):
            return
        if most == 0:
            wanted = "accepts no arguments"
        elif most is None:
            wanted = f"requires at least {least} argument{'s' if least > 1 else ''}"
        elif most == least:
            wanted = f"requires {least} argument{'s' if least > 1 else ''}"
        elif least == 0:
            wanted = f"requires at most {most} argument{'s' if most > 1 else ''}"
        else:
            wanted = f"requires at least {least} and at most {most} arguments"
        raise UsageError(f"'{words}' {wanted}")
