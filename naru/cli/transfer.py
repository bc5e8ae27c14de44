"""Large bodies between files, standard streams and the engine."""

from __future__ import annotations

import os
import sys

from naru.cli.command import CommandError
from naru.cli.streams import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from naru.http.client import Response

READ_BYTES = 1 << 20


def save_stream(path: str, ask: Callable[[], Response], what: str) -> None:
    """Write an answer's body to `path`, or to standard output for none; whole or not at all.

    Raises: CommandError, ApiError.
    """
    if not path:
        if os.isatty(1):
            raise CommandError(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect"
            )
        sys.stdout.flush()
        for data in ask().chunks():
            write_all(1, data)
        return
    _check_target(path, what)
    answer = ask()
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as special:
            _copy(answer, special.fileno())
        return
    partial = os.path.join(os.path.dirname(path), f".naru-{os.getpid()}-{os.path.basename(path)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _copy(answer, fd)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    finally:
        os.close(fd)


def _copy(answer: Response, fd: int) -> None:
    try:
        for data in answer.chunks():
            write_all(fd, data)
    except OSError as error:
        raise CommandError(f"the transfer broke off: {error}") from error


def _check_target(path: str, what: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise CommandError(f'{what}: invalid output path: directory "{folder}" does not exist')
    if os.path.isdir(path):
        raise CommandError(f'{what}: invalid output path: "{path}" is a directory')


def file_chunks(fd: int, on_read: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """What can be read from `fd`, piece by piece; `on_read` hears how many bytes came."""
    while data := os.read(fd, READ_BYTES):
        if on_read is not None:
            on_read(len(data))
        yield data
