"""The same call for several objects: side by side, answers in the order of the words."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from naru.cli.session import Session
    from naru.client.engine import Engine

PARALLEL = 32


def for_each(
    session: Session,
    names: Sequence[str],
    call: Callable[[Engine, str], str | None],
    parallel: bool = True,
) -> None:
    """Call for each name and print what it returns (the name for None).

    Raises: CommandError with every failure, after all were tried.
    """
    failures = []
    outcomes: Iterable[str | NaruError]
    if len(names) > 1 and parallel:
        outcomes = _side_by_side(session, names, call)
    else:
        engine = session.engine
        outcomes = (_outcome(engine, name, call) for name in names)
    for outcome in outcomes:
        if isinstance(outcome, NaruError):
            failures.append(outcome.message)
        else:
            sys.stdout.write(outcome + "\n" if outcome else "")
            sys.stdout.flush()
    if failures:
        raise CommandError("\n".join(failures))


def _outcome(
    engine: Engine, name: str, call: Callable[[Engine, str], str | None]
) -> str | NaruError:
    try:
        result = call(engine, name)
    except NaruError as error:
        return error
    return name if result is None else result


def _side_by_side(
    session: Session, names: Sequence[str], call: Callable[[Engine, str], str | None]
) -> Sequence[str | NaruError]:
    from concurrent.futures import ThreadPoolExecutor

    def one(name: str) -> str | NaruError:
        engine = session.connect()
        try:
            return _outcome(engine, name, call)
        finally:
            engine.close()

    try:
        session.engine.version  # noqa: B018 - agree on the version once, before the threads start
    except NaruError as error:
        return [error]
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
        return list(pool.map(one, names))
