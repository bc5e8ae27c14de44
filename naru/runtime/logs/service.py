"""The logs of running containers: followed, and rotated before they grow too large.

    size >= max:   remove path.(n-1) ... path.1 -> path.2, path -> path.1, tell conmon to reopen

conmon goes on writing into `path.1` until it has made the new `path`, so no record is lost. It puts
its new file in place of whatever has the name: it is told to reopen only while nothing has. A narud
that dies in between is followed by one that finds `path` missing and tells conmon (again).

While nothing is written nothing wakes narud up; while much is written it wakes 50 times a second.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from naru.base.errors import Internal
from naru.base.failpoints import declare
from naru.kernel.inotify import FolderWatch
from naru.runtime import conmon
from naru.runtime.bundle import Bundle
from naru.runtime.logs import files
from naru.runtime.logs.lines import LogQuery
from naru.runtime.logs.reader import Follower, read_log

log = logging.getLogger("naru.logs")

_PAUSE_S = 0.02
_REOPEN_AGAIN_S = 5.0

SHIFTED = declare("logs.shifted")
RENAMED = declare("logs.renamed")
REOPENED = declare("logs.reopened")


@dataclass(frozen=True, slots=True)
class LogLimits:
    """`max_bytes` 0 or less: no limit. `max_files` counts the one being written."""

    max_bytes: int = 10_000_000
    max_files: int = 3


@dataclass(slots=True)
class _Tracked:
    bundle: Bundle
    path: str
    limits: LogLimits
    watch: int
    reopen_asked_s: float | None = None
    followers: set[Follower] = field(default_factory=set)


class LogService:
    """Tracks the logs of running containers; construct and use it on the event loop."""

    def __init__(self) -> None:
        self._tracked: dict[str, _Tracked] = {}
        self._by_watch: dict[int, set[str]] = {}
        self._folders: FolderWatch | None = None
        self._resume: asyncio.TimerHandle | None = None

    def track(self, bundle: Bundle, path: str, limits: LogLimits) -> None:
        """The container runs and writes `path`: rotate it, wake its followers. Idempotent."""
        container_id = bundle.container_id
        if container_id in self._tracked:
            return
        if self._folders is None:
            self._folders = FolderWatch()
            asyncio.get_running_loop().add_reader(self._folders.fileno(), self._wake_up)
        watch = self._folders.add(os.path.dirname(path))
        self._by_watch.setdefault(watch, set()).add(container_id)
        self._tracked[container_id] = _Tracked(bundle, path, limits, watch)
        self._check(container_id)

    def ended(self, container_id: str) -> None:
        """The container writes no more: followers give the rest and end. Idempotent."""
        tracked = self._tracked.pop(container_id, None)
        if tracked is None:
            return
        sharing = self._by_watch[tracked.watch]
        sharing.discard(container_id)
        if not sharing:
            del self._by_watch[tracked.watch]
            if self._folders is not None:
                self._folders.remove(tracked.watch)
        for follower in tracked.followers:
            follower.end()

    async def read(
        self, container_id: str, path: str, query: LogQuery, *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Encoded blocks of the log; `follow` goes on until the running container ends."""
        tracked = self._tracked.get(container_id) if follow else None
        if tracked is None:
            async for block in read_log(path, query):
                yield block
            return
        follower = Follower()
        tracked.followers.add(follower)
        try:
            async for block in read_log(path, query, follower):
                yield block
        finally:
            tracked.followers.discard(follower)

    def close(self) -> None:
        for container_id in list(self._tracked):
            self.ended(container_id)
        if self._resume is not None:
            self._resume.cancel()
        if self._folders is not None:
            asyncio.get_running_loop().remove_reader(self._folders.fileno())
            self._folders.close()
            self._folders = None

    def _wake_up(self) -> None:
        folders = self._folders
        if folders is None:
            return
        changed = folders.read()
        watches = list(self._by_watch) if -1 in changed else changed
        for watch in watches:
            for container_id in list(self._by_watch.get(watch, ())):
                self._check(container_id)
        loop = asyncio.get_running_loop()
        loop.remove_reader(folders.fileno())
        self._resume = loop.call_later(_PAUSE_S, self._listen)

    def _listen(self) -> None:
        self._resume = None
        if self._folders is not None:
            asyncio.get_running_loop().add_reader(self._folders.fileno(), self._wake_up)

    def _check(self, container_id: str) -> None:
        tracked = self._tracked[container_id]
        try:
            self._rotate(tracked)
        except (OSError, Internal) as error:
            log.warning("log of %s is not rotated: %s", container_id, error)
        for follower in tracked.followers:
            follower.changed()

    def _rotate(self, tracked: _Tracked) -> None:
        limits = tracked.limits
        try:
            size = os.stat(tracked.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            self._reopen(tracked)
            return
        if tracked.reopen_asked_s is not None:
            tracked.reopen_asked_s = None
            if limits.max_files <= 1:
                _drop(tracked.path, 1)
        if 0 < limits.max_bytes <= size:
            _shift(tracked.path, limits.max_files)
            os.rename(tracked.path, f"{tracked.path}.1")
            RENAMED()
            self._reopen(tracked)

    def _reopen(self, tracked: _Tracked) -> None:
        """Tells conmon to make the missing file; once, and again after it did not for long."""
        now = asyncio.get_running_loop().time()
        asked = tracked.reopen_asked_s
        if asked is not None and now - asked < _REOPEN_AGAIN_S:
            return
        tracked.reopen_asked_s = now
        conmon.reopen_log(tracked.bundle)
        REOPENED()


def _shift(path: str, max_files: int) -> None:
    """Makes room for `path.1`; what is over `max_files` is removed."""
    for number in reversed(files.numbered(path)):
        if number >= max_files - 1:
            _drop(path, number)
        else:
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
    SHIFTED()


def _drop(path: str, number: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.{number}")
