"""Sees to it that the links of removed sandboxes go.

The kernel removes a namespace's links itself, in the background and many at once, when nobody is
left in it; asking for it costs an RCU grace period (20 ms) each. Only a link that is still there
after a while, because somebody else joined the namespace, is deleted, and then all in one group.
"""

import asyncio
import logging
import zlib

from naru.base.tasks import TaskRegistry
from naru.kernel.netlink.client import Netlink
from naru.kernel.threads import offload

log = logging.getLogger("naru.network")

PATIENCE_S = 0.5


class Reaper:
    """One per engine, on its event loop."""

    def __init__(self, netlink: Netlink, key: str) -> None:
        self._netlink = netlink
        self._group = zlib.crc32(f"naru {key}".encode()) | 1
        self._expected: set[str] = set()
        self._awaited: dict[str, asyncio.Event] = {}
        self._tasks = TaskRegistry()
        self._removals = TaskRegistry()

    def expect(self, link: str) -> None:
        """`link` should go by itself now."""
        self._expected.add(link)
        if not len(self._tasks):
            self._tasks.spawn("network-reaper", self._wait())

    def gone(self, link: str) -> None:
        """The kernel told that `link` is gone."""
        self._expected.discard(link)
        if link in self._awaited:
            self._awaited[link].set()

    async def remove(self, link: str) -> None:
        """Delete one link, missing or not; answers when it is gone from sight, while the kernel
        still waits for its last users (20 ms more). Raises: OSError."""
        told = self._awaited.setdefault(link, asyncio.Event())
        work = self._removals.spawn("network-unlink", offload(self._netlink.delete_link, link))
        seen = self._removals.spawn("network-unlinked", told.wait())
        try:
            await asyncio.wait((work, seen), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            seen.cancel()
            self._awaited.pop(link, None)

    def delete(self, links: list[str]) -> None:
        """Delete links at once, missing or not. Blocks. Raises: OSError."""
        self._netlink.delete_links(links, self._group)

    async def close(self) -> None:
        """What is still expected to go goes now."""
        await self._removals.drain(PATIENCE_S)
        await self._tasks.drain(PATIENCE_S)
        left, self._expected = self._expected, set()
        await offload(self.delete, sorted(left))

    async def _wait(self) -> None:
        while self._expected:
            old = set(self._expected)
            await asyncio.sleep(PATIENCE_S)
            left = sorted(old & self._expected)
            try:
                await offload(self.delete, left)
            except OSError:
                log.exception("links %s could not be deleted; again in a while", ", ".join(left))
            else:
                self._expected.difference_update(left)
