"""Named points at which a test makes Naru die or fail; nothing at all when not asked for.

`NARU_FAILPOINTS="create.committed=kill;load.blob=enospc@3"`: a list of `name=action[@n]`, where
action is `kill` (SIGKILL to this process), `enospc` or `eio` (raises OSError), `pause` (stops the
process with SIGSTOP) and `@n` means at the n-th hit only (default the first). `NARU_FAILPOINT_LOG`
names a file to which each passed point's name is appended, so that a test can list them.
Read once, at import. Every point is declared at module level, so that a test can walk them all:

    AFTER_SNAPSHOT = declare("create.after-snapshot")
    ...
    AFTER_SNAPSHOT()
"""

import errno
import os
import signal
from collections.abc import Callable

_ERRNO = {"enospc": errno.ENOSPC, "eio": errno.EIO}


class _Point:
    def __init__(self, name: str, action: str | None, at: int, log: int | None) -> None:
        self.name, self.action, self.at, self.log, self.hits = name, action, at, log, 0

    def __call__(self) -> None:
        self.hits += 1
        if self.log is not None:
            os.write(self.log, self.name.encode() + b"\n")
        if self.action is None or self.hits != self.at:
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            code = _ERRNO[self.action]
            raise OSError(code, os.strerror(code), f"failpoint {self.name}")


def _nothing() -> None:
    return


def _parse(text: str) -> dict[str, tuple[str, int]]:
    points = {}
    for item in filter(None, text.split(";")):
        name, _, action = item.partition("=")
        action, _, at = action.partition("@")
        if action not in ("kill", "pause", *_ERRNO):
            raise ValueError(f"NARU_FAILPOINTS: unknown action {action!r} for {name!r}")
        points[name.strip()] = (action, int(at or 1))
    return points


def _open_log(path: str | None) -> int | None:
    """Opened at once: a worker that has shut itself in does not see the path any more."""
    if path is None:
        return None
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


_WANTED = _parse(os.environ.get("NARU_FAILPOINTS", ""))
_LOG = _open_log(os.environ.get("NARU_FAILPOINT_LOG"))
DECLARED: set[str] = set()


def declare(name: str) -> Callable[[], None]:
    """Declare the failpoint `name`; returns what to call at the point itself."""
    DECLARED.add(name)
    if not _WANTED and _LOG is None:
        return _nothing
    action, at = _WANTED.get(name, (None, 1))
    return _Point(name, action, at, _LOG)
