"""The containers that this engine knows: records in memory, kept in the database.

The record in memory is the truth for answers; `put` returns once the database has it. One lock per
container orders the operations that change it. A change is told to the listeners (the API keeps
ready-made fragments of its list answer).
"""

import asyncio
import logging
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from weakref import WeakValueDictionary

import msgspec

from naru.base.errors import Conflict, InvalidParameter, NaruError, NotFound
from naru.containers.link_index import LinkIndex
from naru.containers.model import Container
from naru.storage.metadata import Database

log = logging.getLogger("naru.containers")

KIND = "container"
Listener = Callable[[str, Container | None], None]


class ContainerStore:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}
        self._sorted_ids: list[str] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listeners: list[Listener] = []
        self._unsaved: set[str] = set()
        self._ahead: dict[str, Container] = {}
        self.links = LinkIndex()
        self.damaged: dict[str, str] = {}

    def load(self) -> None:
        """Read every record; one that cannot be decoded is set aside in `damaged` and named."""
        decoder = msgspec.json.Decoder(Container)
        for identifier, body in self._db.all(KIND):
            try:
                self._remember(decoder.decode(body))
            except msgspec.MsgspecError as error:
                self.damaged[identifier] = str(error)
                log.error("container record %s is damaged and set aside: %s", identifier, error)

    def listen(self, listener: Listener) -> None:
        """`listener(id, record or None when gone)` is called at every change, on the loop."""
        self._listeners.append(listener)

    def lock(self, identifier: str) -> asyncio.Lock:
        """One and the same for as long as anybody has it; nothing is kept of it after that."""
        return self._locks.setdefault(identifier, asyncio.Lock())

    def locks_held(self) -> int:
        """How many locks somebody has."""
        return len(self._locks)

    def find(self, ref: str) -> Container:
        """By id, name (a leading `/` is dropped), `other/alias` or unique prefix of an id.

        Raises: NotFound (`No such container: x`), InvalidParameter when a prefix is ambiguous.
        """
        if (found := self._by_id.get(ref)) is not None:
            return found
        holder = self._by_name.get(ref.removeprefix("/"))
        if holder is not None and (found := self._by_id.get(holder)) is not None:
            return found  # else the name is only reserved yet
        if (found := self._find_linked(ref)) is not None:
            return found
        if ref:
            start = bisect_left(self._sorted_ids, ref)
            matches = [item for item in self._sorted_ids[start : start + 2] if item.startswith(ref)]
            if len(matches) > 1:
                raise InvalidParameter(f"multiple IDs found with provided prefix: {ref}")
            if matches:
                return self._by_id[matches[0]]
        raise NotFound(f"No such container: {ref}")

    def _find_linked(self, ref: str) -> Container | None:
        name, slash, alias = ref.removeprefix("/").partition("/")
        holder = self._by_id.get(self._by_name.get(name, "")) if slash else None
        linked = None if holder is None else holder.links.get(alias)
        return None if linked is None else self._by_id.get(linked.id)

    def get(self, identifier: str) -> Container | None:
        return self._by_id.get(identifier)

    def all(self) -> list[Container]:
        """Newest first, as lists show them."""
        return sorted(self._by_id.values(), key=lambda item: item.created_ns, reverse=True)

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def reserve_name(self, name: str, identifier: str) -> None:
        """Take `name`, at once and before anything is awaited. Raises: Conflict."""
        holder = self._by_name.get(name)
        if holder is not None and holder != identifier:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to reuse '
                "that name."
            )
        self._by_name[name] = identifier

    def name_is_taken(self, name: str) -> bool:
        return name in self._by_name

    def release_name(self, name: str, identifier: str) -> None:
        if self._by_name.get(name) == identifier:
            del self._by_name[name]

    async def put(self, container: Container, *, durable: bool = False) -> None:
        """Store a record. `durable`: it survives a power cut once this returns.

        Without it the record survives the death of this process, which is what states that the
        kernel forgets at power loss anyway (pids, running) need. Raises: Internal when it could not
        be stored, which changes nothing then.
        """
        previous = self._by_id.get(container.id)
        self._ahead.pop(container.id, None)
        self._remember(container)
        try:
            await self._write(container, durable=durable)
        except (NaruError, OSError):
            if self._by_id.get(container.id) is container:
                self._take_back(container, previous)
            raise

    async def observe_ahead(self, container: Container) -> None:
        """Store what was observed before it is told: it survives the death of this process.

        The record in memory stays as it is until `observe` is given the same one, which then costs
        no further write.
        """
        self._ahead[container.id] = container
        await self._write_observed(container)

    async def _write_observed(self, container: Container) -> None:
        try:
            await self._write(container, durable=False)
        except (NaruError, OSError) as error:
            log.error("state of %s is not on disk yet: %s", container.name, error)
            self._unsaved.add(container.id)

    async def _write(self, container: Container, *, durable: bool) -> None:
        body = msgspec.json.encode(container)
        await self._db.put(KIND, container.id, body, durable=durable)
        if self._unsaved:
            await self._save_others(container.id)

    async def observe(self, container: Container) -> None:
        """Store what was observed: it is true, whether the disk takes it or not.

        A record that could not be written is written with the next one that can.
        """
        written = self._ahead.pop(container.id, None) is container
        self._remember(container)
        if not written or container.id in self._unsaved:
            await self._write_observed(container)

    async def _save_others(self, written: str) -> None:
        self._unsaved.discard(written)
        waiting, self._unsaved = self._unsaved, set()
        for identifier in waiting:
            container = self._ahead.get(identifier) or self._by_id.get(identifier)
            if container is not None:
                await self._write_observed(container)

    async def forget(self, identifier: str) -> None:
        """Delete the record durably, then forget it."""
        await self._db.delete(KIND, identifier)
        self._drop(identifier)

    def _take_back(self, refused: Container, previous: Container | None) -> None:
        """What was there before a record that the disk did not take."""
        if previous is None:
            self._drop(refused.id)
            return
        if refused.name != previous.name:
            self.release_name(refused.name, refused.id)
        self._remember(previous)

    def _drop(self, identifier: str) -> None:
        container = self._by_id.pop(identifier, None)
        self._ahead.pop(identifier, None)
        if container is None:
            return
        self.release_name(container.name, identifier)
        index = bisect_left(self._sorted_ids, identifier)
        if index < len(self._sorted_ids) and self._sorted_ids[index] == identifier:
            del self._sorted_ids[index]
        self._tell(identifier, None)
        for other in self.links.changed(container, None):
            self.touch(other)

    def touch(self, identifier: str) -> None:
        """Something that is shown with the record changed (its health): tell the listeners."""
        container = self._by_id.get(identifier)
        if container is not None:
            self._tell(identifier, container)

    def _remember(self, container: Container) -> None:
        if container.id not in self._by_id:
            insort(self._sorted_ids, container.id)
        previous = self._by_id.get(container.id)
        self._by_id[container.id] = container
        self._by_name[container.name] = container.id
        self._tell(container.id, container)
        for other in self.links.changed(previous, container):
            self.touch(other)

    def _tell(self, identifier: str, container: Container | None) -> None:
        for listener in self._listeners:
            listener(identifier, container)
