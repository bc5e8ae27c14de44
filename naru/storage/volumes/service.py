"""Volumes: directories that outlive containers, made and removed so that a crash leaves none half.

A volume exists while its record does. Making one makes its data first and the record last; removing
one moves the data aside first, so that a crash finds either a whole volume or a record without a
directory, whose removal is then finished. A directory with data but no record (the database was
damaged) is taken up again: data is never thrown away for want of a row.

    made ── record ──▶ free ── acquire (mounted) ──▶ held ── last release ──▶ free ──▶ removed

A container that is being created *claims* its volumes first, so that nobody removes them meanwhile.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import Conflict, NotFound
from naru.base.failpoints import declare
from naru.base.filters import Filters
from naru.base.ids import is_name, new_id
from naru.base.undo import Undo
from naru.kernel.threads import offload, offload_bulk
from naru.storage.disk import explained
from naru.storage.metadata import Database
from naru.storage.volumes import local_options, model
from naru.storage.volumes.local import LocalDriver
from naru.storage.volumes.local_mounts import LocalMounts
from naru.storage.volumes.model import ANONYMOUS, LOCAL, Volume
from naru.storage.volumes.records import Records

log = logging.getLogger("naru.volumes")

Emit = Callable[[str, str, str, dict[str, str]], None]
UsersOf = Callable[[str], Sequence[str]]

DIRECTORY_MADE = declare("volumes.directory-made")
RECORD_MADE = declare("volumes.record-made")
MOVED_ASIDE = declare("volumes.moved-aside")
RECORD_REMOVED = declare("volumes.record-removed")


def _nobody(name: str) -> Sequence[str]:
    return ()


class Volumes:
    """The volumes below `root`; `mount_root` is where those with a device are mounted."""

    def __init__(self, root: str, db: Database, emit: Emit, *, mount_root: str) -> None:
        self.local = LocalDriver(root)
        self._mounts = LocalMounts(mount_root, self.local.data_dir)
        self.records = Records(db)
        self._emit = emit
        self._users_of: UsersOf = _nobody
        self._holders: dict[str, set[str]] = {}
        self._claims: dict[str, set[str]] = {}

    def bind_users(self, users_of: UsersOf) -> None:
        """Ask `users_of` from now on for the ids of the containers that have a volume."""
        self._users_of = users_of

    # -- looking

    def get(self, name: str) -> Volume:
        """Raises: NotFound (`get x: no such volume`)."""
        volume = self.records.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def data_dir(self, name: str) -> str:
        """What `Mountpoint` shows: the directory of the data."""
        return self.local.data_dir(name)

    def users(self, name: str) -> Sequence[str]:
        """Who has the volume: containers, running or not, and work that is under way."""
        held = self._holders.get(name, set()) | self._claims.get(name, set())
        return list(dict.fromkeys([*self._users_of(name), *sorted(held)]))

    def list(self, filters: Filters) -> "tuple[Volume, ...]":
        """The volumes that all `filters` let through, by name. Raises: InvalidParameter."""
        return model.select(self.records.all(), filters, lambda name: bool(self._users_of(name)))

    # -- making and removing

    async def create(
        self,
        name: str | None,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        pending_for: str = "",
    ) -> Volume:
        """Make a volume, or return the one of that name; without a name it is anonymous.

        `pending_for`: the container that is being created; it claims the volume until `confirm` or
        `withdraw`, and one that was made for it goes again at the next start unless it exists then.
        Raises: InvalidParameter, NotFound (driver).
        """
        given = dict(labels) if labels is not None else None
        if not name:
            name, given = new_id(), {ANONYMOUS: "", **(given or {})}
        model.check_name(name)
        if driver not in ("", LOCAL):
            raise NotFound(
                f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" '
                "not found"
            )
        async with self.records.lock(name):
            volume = self.records.get(name)
            if volume is None:
                fresh = Volume(
                    name=name,
                    created_ns=now_ns(),
                    labels=given,
                    options=None if options is None else dict(options),
                    pending_for=pending_for,
                )
                volume = await self._make(fresh)
            if pending_for:
                self._claims.setdefault(name, set()).add(pending_for)
        return volume

    async def _make(self, volume: Volume) -> Volume:
        name, options = volume.name, volume.options or {}
        local_options.check(name, options)
        await offload(self.local.check_size, name, options)
        async with Undo(f"create volume {name}") as undo:
            undo.push("directory", lambda: offload_bulk(self.local.discard, name))
            with explained(f"create volume {name}"):
                await offload(self.local.make, name, options)
                DIRECTORY_MADE()
            undo.push("record", lambda: self.records.erase(name))
            await self.records.write(volume)
            RECORD_MADE()
        self.records.show(volume)
        self._emit("volume", "create", name, {"driver": volume.driver})
        return volume

    async def confirm(self, container_id: str) -> None:
        """The container that claimed volumes is committed: they stay, whatever happens."""
        for name in self._drop_claims(container_id):
            await self._settle(name)

    async def _settle(self, name: str) -> None:
        volume = self.records.get(name)
        if volume is not None and volume.pending_for:
            await self.records.put(replace(volume, pending_for=""), durable=False)

    async def withdraw(self, container_id: str) -> None:
        """The container was not created: what was made for it goes, unless another one wants it."""
        self._drop_claims(container_id)
        for volume in self.records.all():
            name = volume.name
            if volume.pending_for != container_id:
                continue
            async with self.records.lock(name):
                claims = self._claims.get(name)
                if self._users_of(name):
                    await self._settle(name)
                elif claims:
                    await self.records.put(replace(volume, pending_for=min(claims)))
                elif self.records.get(name) is not None:
                    await self._remove(name)

    def _drop_claims(self, container_id: str) -> Sequence[str]:
        """The volumes that it had claimed."""
        dropped = [name for name, claims in self._claims.items() if container_id in claims]
        for name in dropped:
            self._claims[name].discard(container_id)
            if not self._claims[name]:
                del self._claims[name]
        return dropped

    async def remove(self, name: str, force: bool = False) -> None:
        """Remove a volume and its data; `force`: a missing one is fine.

        Raises: NotFound, Conflict when a container has it.
        """
        async with self.records.lock(name):
            volume = self.records.get(name)
            if volume is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await self._remove(name)
        self._emit("volume", "destroy", name, {"driver": volume.driver})

    async def _remove(self, name: str) -> None:
        """With the volume's lock held."""
        volume = self.records.hide(name)
        aside = ""

        async def move_back() -> None:
            if aside:
                await offload(self.local.move_back, name, aside)

        async with Undo(f"remove volume {name}") as undo:
            undo.push("record", lambda: self.records.show(volume))
            undo.push("directory", move_back)
            with explained(f"remove volume {name}"):
                await offload(self._mounts.unmount, name)
                aside = await offload(self.local.move_aside, name)
                MOVED_ASIDE()
            await self.records.erase(name)
        RECORD_REMOVED()
        await offload_bulk(self.local.destroy, aside)

    # -- use

    async def acquire(self, name: str, container_id: str) -> str:
        """The host directory of the data, mounted if the volume has a device; idempotent.

        Raises: NotFound, Internal when the mount fails.
        """
        async with self.records.lock(name):
            volume = self.get(name)
            path = self.data_dir(name)
            if local_options.mounts(volume.options):
                path = await offload_bulk(self._mounts.mount, name, volume.options or {})
            self._holders.setdefault(name, set()).add(container_id)
        return path

    def adopt(self, name: str, container_id: str) -> None:
        """The container has it since before this engine."""
        self._holders.setdefault(name, set()).add(container_id)

    async def release(self, name: str, container_id: str) -> bool:
        """The container no longer uses the volume; the last one unmounts it. Idempotent.

        Whether the container used it until now.
        """
        async with self.records.lock(name):
            holders = self._holders.get(name, set())
            held = container_id in holders
            holders.discard(container_id)
            if not holders:
                self._holders.pop(name, None)
                volume = self.records.get(name)
                if volume is not None and local_options.mounts(volume.options):
                    await offload_bulk(self._mounts.unmount, name)
        return held

    # -- after a crash

    async def collect_garbage(self, container_ids: Iterable[str]) -> None:
        """Finish what a crash interrupted: removals, and creations of containers never committed.

        Call once at the start, before any other change and after `adopt`.
        """
        existing = set(container_ids)
        await offload(self._mounts.unmount_all_but, set(self._holders))
        await offload_bulk(self.local.empty_removed)
        await self._finish_renames()
        present = set(await offload(self.local.names))
        for volume in self.records.all():
            name = volume.name
            if name not in present:
                log.warning("volume %s has no directory: its removal is finished", name)
                await self._remove(name)
            elif volume.pending_for:
                if volume.pending_for in existing or self._users_of(name):
                    await self._settle(name)
                else:
                    await self._remove(name)
        for name in present:
            if self.records.get(name) is None and is_name(name):
                await self._take_up(name)

    async def _finish_renames(self) -> None:
        present = set(await offload(self.local.names))
        for volume in self.records.all():
            old = volume.renamed_from
            if old and volume.name in present:
                await self.records.put_instead(replace(volume, renamed_from=""), old)
            elif old:
                self.records.hide(volume.name)
                await self.records.erase(volume.name)

    async def _take_up(self, name: str) -> None:
        """A directory without a record: an unfinished creation, or data whose row was lost."""
        if await offload(self.local.is_empty, name):
            await offload_bulk(self.local.discard, name)
            return
        log.warning("volume %s has data but no record: it is taken up again", name)
        await self.records.put(Volume(name=name, created_ns=now_ns()))
