"""Volumes as copies of others, and under other names. Nothing half is ever left."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from naru.base.clock import now_ns
from naru.base.errors import Conflict, InvalidParameter
from naru.base.failpoints import declare
from naru.base.ids import new_id
from naru.base.undo import Undo
from naru.kernel.threads import offload, offload_bulk
from naru.storage.disk import explained
from naru.storage.tree_copy import Copied, copy_tree
from naru.storage.volumes import model
from naru.storage.volumes.model import LOCAL, Volume
from naru.storage.volumes.placing import FILLED, Placing
from naru.storage.volumes.service import Volumes

Emit = Callable[[str, str, str, dict[str, str]], None]
Freeze = Callable[[str], AbstractAsyncContextManager[None]]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

RENAME_RECORDED = declare("volumes.rename-recorded")
RENAMED = declare("volumes.renamed")


@contextlib.asynccontextmanager
async def unfrozen(name: str) -> AsyncIterator[None]:
    """Everybody goes on."""
    yield


@dataclass(frozen=True, slots=True)
class Cloned:
    volume: Volume
    copied: Copied

    @property
    def method(self) -> str:
        """`reflink` when every file with content shares its blocks, else `copy`."""
        return "copy" if self.copied.written or not self.copied.shared else "reflink"


class Copies:
    """Freezing whoever writes to a volume is the containers' business: `bind_freeze`."""

    def __init__(self, volumes: Volumes, emit: Emit) -> None:
        self._volumes, self._emit = volumes, emit
        self._placing = Placing(volumes, emit)
        self.freeze: Freeze = unfrozen
        self.is_scheduled: Callable[[str], bool] = lambda name: False

    async def clone(
        self,
        source: str,
        name: str,
        *,
        pause: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> Cloned:
        """A new volume with the content of `source` as it is now; blocks are shared where the file
        system can. Raises: NotFound, InvalidParameter, Conflict (name taken), Internal."""
        model.check_name(name)
        original = self._volumes.get(source)
        if self._volumes.records.get(name) is not None:
            raise Conflict(f"cannot clone volume {source}: volume {name} exists")
        size = (original.options or {}).get("size")
        options = {"size": size} if size else None
        holder = f"clone-{new_id()}"
        async with AsyncExitStack() as stack:
            path = await self._volumes.acquire(source, holder)
            stack.push_async_callback(self._volumes.release, source, holder)
            prepared = await stack.enter_async_context(self._placing.prepared(options or {}))
            with explained(f"clone volume {source}"):
                if pause:
                    async with self.freeze(source):
                        copied = await offload_bulk(_copy, path, prepared)
                else:
                    copied = await offload_bulk(_copy, path, prepared)
            FILLED()
            fresh = Volume(
                name=name,
                created_ns=now_ns(),
                labels={**(original.labels or {}), **(labels or {})} or None,
                options=options,
            )
            return Cloned(await self._placing.place(fresh, prepared), copied)

    async def rename(self, old: str, new: str) -> Volume:
        """Raises: NotFound, InvalidParameter, Conflict (in use, name taken)."""
        model.check_name(new)
        if old == new:
            raise InvalidParameter(f"cannot rename volume {old}: that is its name already")
        records, local = self._volumes.records, self._volumes.local
        first, second = sorted((old, new))
        async with records.lock(first), records.lock(second):
            volume = self._volumes.get(old)
            if volume.driver != LOCAL:
                raise InvalidParameter(
                    f"cannot rename volume {old}: its driver {volume.driver} knows it by that name"
                )
            if users := self._volumes.users(old):
                raise Conflict(f"cannot rename volume {old}: it is in use - [{', '.join(users)}]")
            if self.is_scheduled(old):
                raise Conflict(
                    f"cannot rename volume {old}: a schedule backs it up by that name; remove the "
                    "schedule first"
                )
            if records.get(new) is not None:
                raise Conflict(f"cannot rename volume {old}: volume {new} exists")
            renamed = _named(volume, new, old)
            async with Undo(f"rename volume {old}") as undo:
                undo.push("record", lambda: records.erase(new))
                await records.write(renamed)
                RENAME_RECORDED()
                undo.push("directory", lambda: offload(local.rename, new, old))
                with explained(f"rename volume {old}"):
                    await offload(local.rename, old, new)
                    RENAMED()
                settled = _named(volume, new, "")
                await records.put_instead(settled, old)
        self._emit("volume", "rename", new, {"driver": volume.driver, "oldName": old})
        return settled


def _named(volume: Volume, name: str, renamed_from: str) -> Volume:
    return Volume(
        name=name,
        created_ns=volume.created_ns,
        driver=volume.driver,
        labels=volume.labels,
        options=volume.options,
        renamed_from=renamed_from,
    )


def _copy(path: str, prepared: str) -> Copied:
    source = os.open(path, _FOLDER)
    try:
        target = os.open(os.path.join(prepared, "_data"), _FOLDER)
        try:
            return copy_tree(source, target, whole=True)
        finally:
            os.close(target)
    finally:
        os.close(source)
