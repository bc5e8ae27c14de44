"""Volumes: directories that outlive containers, made and removed so that a crash leaves none half.

A volume exists while its record does. Making one makes its data first and the record last; removing
one moves the data aside first, so that a crash finds either a whole volume or a record without a
directory, whose removal is then finished. A directory with data but no record (the database was
damaged) is taken up again: data is never thrown away for want of a row.

    made ── record ──▶ free ── acquire (mounted) ──▶ held ── last release ──▶ free ──▶ removed

A container that is being created *claims* its volumes first, so that nobody removes them meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import Conflict, NaruError, NotFound
from naru.base.failpoints import declare
from naru.base.filters import Filters
from naru.base.ids import is_id, is_name, new_id
from naru.base.undo import Undo
from naru.kernel.threads import offload, offload_bulk
from naru.storage.disk import explained
from naru.storage.metadata import Database
from naru.storage.volumes import local_options, model
from naru.storage.volumes.local import LocalDriver
from naru.storage.volumes.local_mounts import LocalMounts
from naru.storage.volumes.model import ANONYMOUS, LOCAL, Volume
from naru.storage.volumes.plugin_call import PluginError
from naru.storage.volumes.plugins import LOOK_S, Plugins
from naru.storage.volumes.records import Records

log = logging.getLogger("naru.volumes")

Emit = Callable[[str, str, str, dict[str, str]], None]
UsersOf = Callable[[str], Sequence[str]]

DIRECTORY_MADE = declare("volumes.directory-made")
RECORD_MADE = declare("volumes.record-made")
MOVED_ASIDE = declare("volumes.moved-aside")
RECORD_REMOVED = declare("volumes.record-removed")


def _is_mount(volume: Volume) -> bool:
    return volume.driver == LOCAL and local_options.mounts(volume.options)


def _nobody(name: str) -> Sequence[str]:
    return ()


class Volumes:
    """The volumes below `root`; `mount_root` is where those with a device are mounted."""

    def __init__(
        self,
        root: str,
        db: Database,
        emit: Emit,
        *,
        mount_root: str,
        plugins: Plugins | None = None,
    ) -> None:
        self.plugins = plugins or Plugins(())
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
        volume = self.records.get(name)
        if volume is not None and volume.driver != LOCAL:
            return volume.place
        return self.local.data_dir(name)

    async def discover(self, name: str) -> Volume | None:
        """The volume of that name; one that only a plugin knows is taken up."""
        volume = self.records.get(name)
        if volume is not None or not is_name(name):
            return volume
        for driver in await self.plugins.names():
            try:
                async with asyncio.timeout(LOOK_S):
                    found = await self.plugins.get(driver, name)
                    scope = await self.plugins.scope(driver, name)
            except (NaruError, TimeoutError):
                continue
            if found is not None:
                volume = Volume(name=name, created_ns=0, driver=driver, scope=scope)
                await self.records.put(volume)
                return volume
        return None

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
        scope = LOCAL if driver in ("", LOCAL) else await self.plugins.scope(driver, name)
        async with self.records.lock(name):
            own = driver == LOCAL or is_id(name)  # no plugin has to be asked
            volume = self.records.get(name) if own else await self.discover(name)
            if volume is None:
                fresh = Volume(
                    name=name,
                    created_ns=now_ns() if driver in ("", LOCAL) else 0,
                    driver=driver or LOCAL,
                    labels=given,
                    options=None if options is None else dict(options),
                    pending_for=pending_for,
                    scope=scope,
                )
                volume = await self._make(fresh)
            elif driver not in ("", volume.driver):
                raise Conflict(
                    f"create {name}: driver '{volume.driver}' already has volume '{name}': volume "
                    "name must be unique"
                )
            if pending_for:
                self._claims.setdefault(name, set()).add(pending_for)
        return volume

    async def _make(self, volume: Volume) -> Volume:
        name, options = volume.name, volume.options or {}
        if volume.driver != LOCAL:
            # what a crash leaves between these two is found by the next create of that name
            await self.plugins.create(volume.driver, name, options)
            await self.records.put(volume)
            self._emit("volume", "create", name, {"driver": volume.driver})
            return volume
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
            volume = await self.discover(name)
            if volume is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await self._remove(name, force)
        self._emit("volume", "destroy", name, {"driver": volume.driver})

    async def _remove(self, name: str, force: bool = False) -> None:
        """With the volume's lock held. `force`: a plugin that cannot be asked is no obstacle."""
        known = self.records.get(name)
        if known is not None and known.driver != LOCAL:
            try:
                await self.plugins.remove(known.driver, name)
            except (PluginError, NotFound) as error:
                if not force or (isinstance(error, PluginError) and error.said):
                    raise
                log.warning("volume %s is forgotten without its driver: %s", name, error)
            await self.records.erase(name)
            self.records.hide(name)
            return
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
            if volume.driver != LOCAL:
                path = await self._mount_by_plugin(volume, container_id)
            elif _is_mount(volume):
                path = await offload_bulk(self._mounts.mount, name, volume.options or {})
            self._holders.setdefault(name, set()).add(container_id)
        return path

    async def _mount_by_plugin(self, volume: Volume, container_id: str) -> str:
        if container_id in self._holders.get(volume.name, ()):
            return await self.plugins.path(volume.driver, volume.name)
        place = await self.plugins.mount(volume.driver, volume.name, container_id)
        if place != volume.place:
            await self.records.put(replace(volume, place=place), durable=False)
        return place

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
            volume = self.records.get(name)
            if held and volume is not None and volume.driver != LOCAL:
                try:
                    await self.plugins.unmount(volume.driver, name, container_id)
                except NaruError as error:
                    log.warning("volume %s stays mounted by its driver: %s", name, error)
            if not holders:
                self._holders.pop(name, None)
                if volume is not None and _is_mount(volume):
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
            if volume.driver != LOCAL:
                if volume.pending_for:
                    await self._settle(name)  # its driver may not be up yet: nothing is removed
            elif name not in present:
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
