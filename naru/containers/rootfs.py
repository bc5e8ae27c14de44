"""Mounted root file systems: one mount per container, for as long as somebody holds it.

A run holds it, and so does whoever looks into a stopped container (export, cp). The same layers
are never mounted twice: two overlays over one upper directory would not see each other's writes.

The root of a container with ids of its own lies in a directory that its root may enter, since the
runtime works as that; all others are closed to everybody.
"""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from naru.base.errors import Conflict, Internal
from naru.kernel.threads import offload
from naru.kernel.userns import Mapped
from naru.storage.snapshots import Snapshots

_RUN = "run"


class RootMounts:
    """Below `folder`, one directory per container id while it is mounted; those of containers with
    ids of their own below `mapped_folder`, as ID/root."""

    def __init__(self, snapshots: Snapshots, folder: str, mapped_folder: str) -> None:
        self._snapshots, self._folder, self._mapped_folder = snapshots, folder, mapped_folder
        self._holders: dict[str, set[object]] = {}
        self._mapped: dict[str, Mapped] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, container_id: str) -> str:
        if container_id in self._mapped:
            return os.path.join(self._mapped_folder, container_id, "root")
        return os.path.join(self._folder, container_id)

    def mapped(self, container_id: str) -> Mapped | None:
        """With whose ids it is mounted now; None for the host's, and when it is not mounted."""
        return self._mapped.get(container_id)

    async def hold_for_run(self, container_id: str, mapped: Mapped | None) -> None:
        """Raises: Conflict when somebody looks into it with other ids, OSError."""
        await self._hold(container_id, _RUN, mapped)
        if self._mapped.get(container_id) != mapped:
            raise Conflict("the container's files are being copied with other user ids: try again")

    def adopt(self, container_id: str, mapped: Mapped | None) -> None:
        """A container that runs since before this narud: its mount is there already."""
        self._holders.setdefault(container_id, set()).add(_RUN)
        if mapped is not None:
            self._mapped[container_id] = mapped

    async def release_run(self, container_id: str) -> None:
        """The run is over: unmounted unless somebody else looks into it. Idempotent."""
        await self._release(container_id, _RUN)

    @contextlib.asynccontextmanager
    async def visit(self, container_id: str, mapped: Mapped | None) -> AsyncIterator[str]:
        """The mounted root file system's path. `mapped` counts when it was not mounted before."""
        token = object()
        try:
            await self._hold(container_id, token, mapped)
            yield self.path(container_id)
        finally:
            await self._release(container_id, token)

    async def _hold(self, container_id: str, holder: object, mapped: Mapped | None) -> None:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            holders = self._holders.setdefault(container_id, set())
            if not holders:
                if mapped is not None:
                    self._mapped[container_id] = mapped
                await offload(self._mount, container_id, mapped)
            holders.add(holder)

    async def _release(self, container_id: str, holder: object) -> None:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            holders = self._holders.get(container_id, set())
            holders.discard(holder)
            if holders:
                return
            self._holders.pop(container_id, None)
            await offload(self._unmount, container_id)
            self._mapped.pop(container_id, None)

    def _mount(self, container_id: str, mapped: Mapped | None) -> None:
        target = self.path(container_id)
        if mapped is None:
            os.makedirs(target, mode=0o700, exist_ok=True)
            self._snapshots.mount(container_id, target)
            return
        os.makedirs(self._mapped_folder, mode=0o711, exist_ok=True)
        os.chmod(self._mapped_folder, 0o711)
        _check_way(self._mapped_folder)
        place = os.path.dirname(target)
        staging = os.path.join(place, "layers")
        for folder in (place, target, staging):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chown(place, 0, mapped.id_map.root[1])
        os.chmod(place, 0o710)
        try:
            self._snapshots.mount(container_id, target, mapped, staging)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            raise Internal(
                f"cannot mount the files of a container with a user namespace: {error.strerror}"
            ) from error

    def _unmount(self, container_id: str) -> None:
        place = os.path.join(self._mapped_folder, container_id)
        for target in (
            os.path.join(self._folder, container_id),
            os.path.join(place, "layers"),
            os.path.join(place, "root"),
            place,
        ):
            if os.path.lexists(target):
                self._snapshots.unmount(target)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(target)


def _check_way(folder: str) -> None:
    """That everybody may go through every directory down to `folder`. Raises: Internal."""
    while folder != "/":
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            raise Internal(
                f"a container with a user namespace cannot reach its files: {folder} keeps others "
                f"out; allow them to pass through it (chmod o+x {folder})"
            )
        folder = os.path.dirname(folder)
