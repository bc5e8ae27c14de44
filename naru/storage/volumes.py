"""Volumes of the driver `local`: directories that outlive containers.

    <root>/NAME/_data     the data; with options: where they are mounted while it is used
    <root>/.removed/…     on its way out: emptied at the start

A volume exists while its record does. Making one makes the directory first and the record last;
removing one moves the directory aside first, so that a crash finds either a whole volume or a
record without a directory, whose removal is then finished. A directory with data but no record
(the database was damaged) is taken up again: data is never thrown away for want of a row.
"""

import contextlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from naru.base.clock import now_ns, rfc3339
from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.base.ids import NAME_RULE, is_name, new_id
from naru.base.undo import Undo
from naru.kernel.files import open_in_root, remove_tree
from naru.kernel.mount import bind, is_mount_point, mount_filesystem, mount_tmpfs, unmount
from naru.kernel.threads import offload, offload_bulk
from naru.storage.disk import explained
from naru.storage.metadata import Database
from naru.storage.tree_copy import copy_tree

log = logging.getLogger("naru.volumes")

Emit = Callable[[str, str, str, dict[str, str]], None]
UsersOf = Callable[[str], Sequence[str]]

KIND = "volume"
ANONYMOUS = "com.docker.volume.anonymous"
LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})
_OPTIONS = {"type": ("device",), "device": ("type",), "o": ("device", "type")}
_LONGEST_NAME = 255
_REMOVED = ".removed"

DIRECTORY_MADE = declare("volumes.directory-made")
RECORD_MADE = declare("volumes.record-made")
MOVED_ASIDE = declare("volumes.moved-aside")
RECORD_REMOVED = declare("volumes.record-removed")


class Volume(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """`pending_for`: the container for whose creation it was made, until that one is committed."""

    name: str
    created_ns: int
    labels: dict[str, str] | None = None
    options: dict[str, str] = field(default_factory=dict)
    pending_for: str = ""

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS in (self.labels or {})


def _nobody(name: str) -> Sequence[str]:
    return ()


class Volumes:
    """The local volumes below `root`; `mount_root` is where those with options are mounted."""

    def __init__(
        self, root: str, db: Database, emit: Emit, *, mount_root: str | None = None
    ) -> None:
        self._root = root
        self._mount_root = mount_root
        self._db = db
        self._emit = emit
        self._users_of: UsersOf = _nobody
        self._holders: dict[str, set[str]] = {}
        self._volumes: dict[str, Volume] = {}
        for folder in (root, os.path.join(root, _REMOVED)):
            os.makedirs(folder, 0o700, exist_ok=True)
        for name, body in db.all(KIND):
            try:
                self._volumes[name] = msgspec.json.decode(body, type=Volume)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                log.error("volume record %s is damaged and left out: %s", name, error)

    def bind_users(self, users_of: UsersOf) -> None:
        """Ask `users_of` from now on for the ids of the containers that have a volume."""
        self._users_of = users_of

    # -- looking

    def get(self, name: str) -> Volume:
        """Raises: NotFound (`get x: no such volume`)."""
        volume = self._volumes.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return volume

    def data_dir(self, name: str) -> str:
        """What `Mountpoint` shows: the directory of the data."""
        return os.path.join(self._root, name, "_data")

    def list(self, filters: Filters) -> "tuple[Volume, ...]":
        """The volumes that all `filters` let through, by name. Raises: InvalidParameter."""
        dangling = parse_bool(filters, "dangling")
        names = [_pattern(text) for text in filters.get("name", ())]
        drivers = filters.get("driver", ())
        return tuple(
            volume
            for _, volume in sorted(self._volumes.items())
            if (not drivers or "local" in drivers)
            and (not names or any(pattern.search(volume.name) for pattern in names))
            and matches_labels(filters.get("label", ()), volume.labels or {})
            and (dangling is None or dangling is not bool(self._users_of(volume.name)))
        )

    def describe(self, volume: Volume) -> dict[str, Any]:
        """The volume as the Engine API shows it. Spec: Engine API 1.51, `Volume`."""
        return {
            "CreatedAt": rfc3339(volume.created_ns // 10**9 * 10**9),
            "Driver": "local",
            "Labels": volume.labels,
            "Mountpoint": self.data_dir(volume.name),
            "Name": volume.name,
            "Options": volume.options or None,
            "Scope": "local",
        }

    async def usage(self) -> Mapping[str, int]:
        """Bytes of the files of each volume; those with options are not ours to count: -1."""
        return {
            name: -1 if volume.options else await offload_bulk(_tree_bytes, self.data_dir(name))
            for name, volume in sorted(self._volumes.items())
        }

    # -- making and removing

    async def create(
        self,
        name: str | None,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        pending_for: str = "",
    ) -> Volume:
        """Make a volume, or return the one of that name; without a name it is anonymous.

        `pending_for`: it goes again at the next start unless that container exists by then, or
        `confirm` was called. Raises: InvalidParameter.
        """
        given = dict(labels) if labels is not None else None
        if not name:
            name, given = new_id(), {ANONYMOUS: "", **(given or {})}
        _check_name(name)
        if driver not in ("", "local"):
            raise NotFound(
                f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" '
                "not found"
            )
        known = self._volumes.get(name)
        if known is not None:
            return known
        _check_options(name, options or {})
        volume = Volume(
            name=name,
            created_ns=now_ns(),
            labels=given,
            options=dict(options or {}),
            pending_for=pending_for,
        )
        async with Undo(f"create volume {name}") as undo:
            undo.push("directory", lambda: offload_bulk(self._discard, name))
            with explained(f"create volume {name}"):
                await offload(self._make_directory, name)
                DIRECTORY_MADE()
            undo.push("record", lambda: self._db.delete(KIND, name))
            await self._db.put(KIND, name, msgspec.json.encode(volume))
            RECORD_MADE()
        self._volumes[name] = volume
        self._emit("volume", "create", name, {"driver": "local"})
        return volume

    def _make_directory(self, name: str) -> None:
        os.makedirs(os.path.join(self._root, name), 0o700, exist_ok=True)
        os.makedirs(self.data_dir(name), 0o755, exist_ok=True)

    async def confirm(self, container_id: str) -> None:
        """The container that volumes were made for is committed: they stay, whatever happens."""
        for name, volume in list(self._volumes.items()):
            if volume.pending_for == container_id:
                settled = msgspec.structs.replace(volume, pending_for="")
                self._volumes[name] = settled
                await self._db.put(KIND, name, msgspec.json.encode(settled), durable=False)

    async def remove(self, name: str, force: bool = False) -> None:
        """Remove a volume and its data; `force`: a missing one is fine.

        Raises: NotFound, Conflict when a container has it.
        """
        if name not in self._volumes:
            if force:
                return
            raise NotFound(f"get {name}: no such volume")
        users = [*self._users_of(name), *sorted(self._holders.get(name, ()))]
        if users:
            shown = ", ".join(dict.fromkeys(users))
            raise Conflict(f"remove {name}: volume is in use - [{shown}]")
        await self._remove(name)
        self._emit("volume", "destroy", name, {"driver": "local"})

    async def _remove(self, name: str) -> None:
        volume = self._volumes.pop(name)
        aside = os.path.join(self._root, _REMOVED, secrets.token_hex(8))
        async with Undo(f"remove volume {name}") as undo:
            undo.push("record", lambda: self._volumes.setdefault(name, volume))
            undo.push("directory", lambda: offload(self._move_back, name, aside))
            with explained(f"remove volume {name}"):
                await offload(self._move_aside, name, aside)
                MOVED_ASIDE()
            await self._db.delete(KIND, name)
        RECORD_REMOVED()
        await offload_bulk(remove_tree, aside)

    def _move_aside(self, name: str, aside: str) -> None:
        unmount(self._mount_point(name))
        with contextlib.suppress(FileNotFoundError):
            os.rename(os.path.join(self._root, name), aside)

    def _move_back(self, name: str, aside: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(aside, os.path.join(self._root, name))

    def _discard(self, name: str) -> None:
        remove_tree(os.path.join(self._root, name))

    async def prune(self, filters: Filters) -> tuple[Sequence[str], int]:
        """Remove unused anonymous volumes (`all`: named ones too); their names, bytes freed.

        Those with options stay, as in Docker: what they mount is not ours to throw away.
        """
        everything = parse_bool(filters, "all") is True
        gone, freed = [], 0
        unwanted = filters.get("label!", ())
        for volume in self.list({"label": filters.get("label", ())}):
            if volume.options or not (everything or volume.is_anonymous):
                continue
            if volume.pending_for:
                continue  # of a container that is being created
            if unwanted and matches_labels(unwanted, volume.labels or {}):
                continue
            if self._users_of(volume.name) or self._holders.get(volume.name):
                continue
            size = await offload_bulk(_tree_bytes, self.data_dir(volume.name))
            await self.remove(volume.name, force=True)
            gone.append(volume.name)
            freed += size
        self._emit("volume", "prune", "", {"reclaimed": str(freed)})
        return gone, freed

    # -- use

    async def acquire(self, name: str, container_id: str) -> str:
        """The host directory of the data, mounted if the volume has options; idempotent.

        Raises: NotFound, Internal when the mount fails.
        """
        volume = self.get(name)
        path = self.data_dir(name)
        self._holders.setdefault(name, set()).add(container_id)
        if volume.options:
            try:
                path = await offload(self._mount, volume)
            except BaseException:
                self._drop_holder(name, container_id)
                raise
        return path

    async def release(self, name: str, container_id: str) -> bool:
        """The container no longer uses the volume; the last one unmounts it. Idempotent.

        Whether the container used it until now.
        """
        held = container_id in self._holders.get(name, ())
        if self._drop_holder(name, container_id) and name in self._volumes:
            await offload(unmount, self._mount_point(name))
        return held

    def _drop_holder(self, name: str, container_id: str) -> bool:
        holders = self._holders.get(name, set())
        holders.discard(container_id)
        if not holders:
            self._holders.pop(name, None)
        return not holders

    def _mount_point(self, name: str) -> str:
        if self._mount_root is None:
            return self.data_dir(name)
        return os.path.join(self._mount_root, name)

    def _mount(self, volume: Volume) -> str:
        options = volume.options
        kind, device, rest = options.get("type", ""), options["device"], options.get("o", "")
        words = [word for word in rest.split(",") if word]
        target = self._mount_point(volume.name)
        os.makedirs(target, 0o755, exist_ok=True)
        if is_mount_point(os.path.realpath(target)):
            return target
        try:
            if "bind" in words or "rbind" in words or kind in ("bind",):
                bind(device, target, recursive="rbind" in words, read_only="ro" in words)
            elif kind == "tmpfs":
                mount_tmpfs(target, rest)
            else:
                mount_filesystem(kind, device, target, _with_address(rest))
        except OSError as error:
            shown = self.data_dir(volume.name)
            raise Internal(
                f"error while mounting volume '{shown}': failed to mount local volume: mount "
                f"{device}:{shown}, data: {rest}: {(error.strerror or str(error)).lower()}"
            ) from error
        return target

    async def copy_up(self, name: str, rootfs: str, destination: str) -> None:
        """Fill an empty volume with what the mounted root file system has at `destination`.

        Nothing happens when the volume holds something, or the image has no directory there.
        Raises: NotFound, Internal (disk full).
        """
        holder = f"copy-up-{new_id()}"
        path = await self.acquire(name, holder)
        try:
            with explained(f"fill volume {name} from the image"):
                await offload_bulk(_copy_up, path, rootfs, destination)
        finally:
            await self.release(name, holder)

    # -- after a crash

    async def collect_garbage(self, container_ids: Iterable[str]) -> None:
        """Finish what a crash interrupted: removals, and creations of containers never committed.

        Call once at the start, before any other change.
        """
        existing = set(container_ids)
        removed = os.path.join(self._root, _REMOVED)
        for name in await offload(os.listdir, removed):
            await offload_bulk(remove_tree, os.path.join(removed, name))
        for name, volume in list(self._volumes.items()):
            if not await offload(os.path.isdir, os.path.join(self._root, name)):
                log.warning("volume %s has no directory: its removal is finished", name)
                await self._remove(name)
            elif volume.pending_for:
                if volume.pending_for in existing:
                    await self.confirm(volume.pending_for)
                else:
                    await self._remove(name)
        for name in await offload(os.listdir, self._root):
            if name not in self._volumes and is_name(name):
                await self._adopt(name)

    async def _adopt(self, name: str) -> None:
        """A directory without a record: an unfinished creation, or data whose row was lost."""
        try:
            empty = not await offload(os.listdir, self.data_dir(name))
        except FileNotFoundError:
            empty = True
        if empty:
            await offload_bulk(self._discard, name)
            return
        log.warning("volume %s has data but no record: it is taken up again", name)
        volume = Volume(name=name, created_ns=now_ns())
        await self._db.put(KIND, name, msgspec.json.encode(volume))
        self._volumes[name] = volume


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric "
            "characters"
        )
    if not is_name(name) or len(name) > _LONGEST_NAME:
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            f'"{NAME_RULE}" are allowed. If you intended to pass a host directory, use absolute '
            "path"
        )


def _check_options(name: str, options: Mapping[str, str]) -> None:
    for option in options:
        if option == "size":
            raise InvalidParameter(f"create {name}: quota size requested but no quota support")
        if option not in _OPTIONS:
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
    for option in options:
        for needed in _OPTIONS[option]:
            if not options.get(needed):
                raise InvalidParameter(f'create {name}: missing required option: "{needed}"')


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text))


def _with_address(options: str) -> str:
    """`addr=name` of NFS and CIFS with the address that the kernel wants."""
    words = []
    for word in options.split(","):
        key, equals, value = word.partition("=")
        if key == "addr" and equals:
            word = f"addr={socket.getaddrinfo(value, None)[0][4][0]}"
        words.append(word)
    return ",".join(words)


def _tree_bytes(path: str) -> int:
    """Bytes of all files below, each inode once. What vanishes meanwhile is not counted."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, _, files, folder in os.fwalk(path, follow_symlinks=False):
        for name in files:
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_size
    return total


def _copy_up(path: str, rootfs: str, destination: str) -> None:
    if os.listdir(path):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            source = open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                copy_tree(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
    finally:
        os.close(root)
