"""The records of volumes: in memory and in the database, with a lock for each name."""

import asyncio
import logging
from collections.abc import Collection
from weakref import WeakValueDictionary

import msgspec

from naru.storage.metadata import Database, Delete, Put
from naru.storage.volumes.model import KIND, Volume

log = logging.getLogger("naru.volumes")


class Records:
    """What is in memory is what clients see; `put` and `drop` change the database first."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._volumes: dict[str, Volume] = {}
        for name, body in db.all(KIND):
            try:
                self._volumes[name] = msgspec.json.decode(body, type=Volume)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                log.error("volume record %s is damaged and left out: %s", name, error)

    def lock(self, name: str) -> asyncio.Lock:
        """Who makes, removes, renames, mounts or unmounts the volume has it."""
        return self._locks.setdefault(name, asyncio.Lock())

    def get(self, name: str) -> Volume | None:
        return self._volumes.get(name)

    def all(self) -> Collection[Volume]:
        """A copy: it may be gone through while volumes come and go."""
        return list(self._volumes.values())

    async def put(self, volume: Volume, *, durable: bool = True) -> None:
        await self.write(volume, durable=durable)
        self._volumes[volume.name] = volume

    async def write(self, volume: Volume, *, durable: bool = True) -> None:
        """On disk alone: nobody sees it before `put`."""
        await self._db.put(KIND, volume.name, msgspec.json.encode(volume), durable=durable)

    async def erase(self, name: str) -> None:
        """From disk; a missing one is fine."""
        await self._db.delete(KIND, name)

    async def put_instead(self, volume: Volume, old: str) -> None:
        """`volume` takes the place of the record `old`, at once."""
        body = msgspec.json.encode(volume)
        await self._db.batch((Put(KIND, volume.name, body), Delete(KIND, old)))
        self._volumes.pop(old, None)
        self._volumes[volume.name] = volume

    def hide(self, name: str) -> Volume:
        """Out of memory alone."""
        return self._volumes.pop(name)

    def show(self, volume: Volume) -> None:
        self._volumes.setdefault(volume.name, volume)
