"""Volumes that are made whole before anybody sees them.

What comes in is prepared where a start empties everything, and gets its place by one rename when it
is whole and durable.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from naru.base.errors import Conflict
from naru.base.failpoints import declare
from naru.base.undo import Undo
from naru.kernel.threads import offload, offload_bulk
from naru.storage.disk import explained
from naru.storage.volumes.model import LOCAL, Volume
from naru.storage.volumes.service import Volumes

Emit = Callable[[str, str, str, dict[str, str]], None]

FILLED = declare("volumes.filled")
PLACE_RECORDED = declare("volumes.place-recorded")
PLACED = declare("volumes.placed")
EXCHANGED = declare("volumes.exchanged")


class Placing:
    def __init__(self, volumes: Volumes, emit: Emit) -> None:
        self._volumes, self._emit = volumes, emit

    @contextlib.asynccontextmanager
    async def prepared(self, options: Mapping[str, str]) -> AsyncIterator[str]:
        """An empty volume without a name; what has not got its place by the end is destroyed."""
        with explained("make a volume"):
            prepared = await offload(self._volumes.local.prepare, options)
        try:
            yield prepared
        finally:
            await asyncio.shield(offload_bulk(self._volumes.local.destroy, prepared))

    async def place(self, fresh: Volume, prepared: str) -> Volume:
        """What was prepared becomes the new volume. Raises: Conflict, Internal."""
        name, records, local = fresh.name, self._volumes.records, self._volumes.local
        async with records.lock(name):
            if records.get(name) is not None:
                raise Conflict(f"volume {name} was made meanwhile by somebody else")
            async with Undo(f"place volume {name}") as undo:
                undo.push("record", lambda: records.erase(name))
                await records.write(_pending(fresh))
                PLACE_RECORDED()
                undo.push("directory", lambda: offload(local.take_back, name, prepared))
                with explained(f"place volume {name}"):
                    await offload_bulk(local.place, name, prepared)
                    PLACED()
                await records.put(fresh)
        self._emit("volume", "create", name, {"driver": fresh.driver})
        return fresh

    async def exchange(self, name: str, prepared: str, replace: bool) -> Volume:
        """What was prepared becomes the volume's data. Raises: as `may_take`, Internal."""
        async with self._volumes.records.lock(name):
            volume = await self.may_take(name, replace)
            if volume is None:
                raise Conflict(f"volume {name} was removed meanwhile")
            with explained(f"replace volume {name}"):
                await offload_bulk(self._volumes.local.exchange, name, prepared)
                EXCHANGED()
        return volume

    async def may_take(self, name: str, replace: bool) -> Volume | None:
        """The volume of that name if something else may be put in, None when there is none.

        Raises: Conflict.
        """
        volume = self._volumes.records.get(name)
        if volume is None:
            return None
        if volume.driver != LOCAL or (volume.options or {}).get("device"):
            raise Conflict(
                f"cannot import into volume {name}: its data lies elsewhere, so that this could "
                "end half done; import into a new volume"
            )
        if users := self._volumes.users(name):
            raise Conflict(f"cannot import into volume {name}: it is in use - [{', '.join(users)}]")
        if not replace and not await offload(self._volumes.local.is_empty, name):
            raise Conflict(
                f"cannot import into volume {name}: it is not empty; import under another name, or "
                "ask to replace what it holds"
            )
        return volume


def _pending(volume: Volume) -> Volume:
    return Volume(name=volume.name, created_ns=volume.created_ns, pending_for="a transfer")
