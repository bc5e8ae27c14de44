"""Mounted root file systems: one mount per container, for as long as somebody holds it.

A run holds it, and so does whoever looks into a stopped container (export, cp). The same layers
are never mounted twice: two overlays over one upper directory would not see each other's writes.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from naru.kernel.threads import offload
from naru.storage.snapshots import Snapshots

_RUN = "run"


class RootMounts:
    """Below `folder`, one directory per container id while it is mounted."""

    def __init__(self, snapshots: Snapshots, folder: str) -> None:
        self._snapshots, self._folder = snapshots, folder
        self._holders: dict[str, set[object]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, container_id: str) -> str:
        return os.path.join(self._folder, container_id)

    async def hold_for_run(self, container_id: str) -> None:
        await self._hold(container_id, _RUN)

    def adopt(self, container_id: str) -> None:
        """A container that runs since before this narud: its mount is there already."""
        self._holders.setdefault(container_id, set()).add(_RUN)

    async def release_run(self, container_id: str) -> None:
        """The run is over: unmounted unless somebody else looks into it. Idempotent."""
        await self._release(container_id, _RUN)

    @contextlib.asynccontextmanager
    async def visit(self, container_id: str) -> AsyncIterator[str]:
        """The mounted root file system's path."""
        token = object()
        try:
            await self._hold(container_id, token)
            yield self.path(container_id)
        finally:
            await self._release(container_id, token)

    async def _hold(self, container_id: str, holder: object) -> None:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            holders = self._holders.setdefault(container_id, set())
            if not holders:
                await offload(self._mount, container_id)
            holders.add(holder)

    async def _release(self, container_id: str, holder: object) -> None:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            holders = self._holders.get(container_id, set())
            holders.discard(holder)
            if holders:
                return
            self._holders.pop(container_id, None)
            await offload(self._unmount, container_id)

    def _mount(self, container_id: str) -> None:
        target = self.path(container_id)
        os.makedirs(target, mode=0o700, exist_ok=True)
        self._snapshots.mount(container_id, target)

    def _unmount(self, container_id: str) -> None:
        target = self.path(container_id)
        if os.path.lexists(target):
            self._snapshots.unmount(target)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(target)
