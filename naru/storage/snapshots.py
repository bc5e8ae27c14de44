"""Layers and containers' writable directories, joined by overlayfs.

A *layer* is the unpacked files of one archive, named by its ChainID and never changed; beside them
lies the recipe from which the archive is rebuilt to the byte (`archive.recipe`), so the archive
itself is not kept. A *snapshot* is a container's writable directory on top of a layer.

    layers/HEX/{diff,spill,recipe,notes,layer.json}     HEX: the ChainID's digits
    snapshots/KEY/{upper,work,parent}                   parent: a link whose text is the ChainID
    inits/HEX                                           what containers need on top (`initlayer`)
    tmp/                                                half-made and half-removed; emptied at start

    layer:    tmp ── apply_layer ──▶ committed ── remove_layer ──▶ tmp ──▶ gone
    snapshot: create ──▶ idle ◀── unmount ── mount ──▶ mounted;  idle ── remove ──▶ tmp ──▶ gone

A layer is in its place as soon as `apply_layer` returns; it is durable after `sync`, which the
caller does once, before it writes the record that refers to its layers. Whatever no record refers
to is removed at start by `retain`. Nobody but root can enter any of these directories.
"""

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import msgspec

from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.kernel.files import open_beneath, remove_tree, syncfs, write_atomic
from naru.kernel.mount import mount_overlay, unmount
from naru.kernel.threads import offload
from naru.spec.oci.digest import digest_of, parse_digest
from naru.storage import initlayer
from naru.storage.archive import changes, jobs
from naru.storage.archive.changes import Change
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.jobs import Done, Job
from naru.storage.archive.workers import ArchiveWorkers, make_pipe

log = logging.getLogger("naru.storage.snapshots")

_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OVERLAY_OPTIONS = ("redirect_dir=off", "metacopy=off", "index=off")

_UNPACKED = declare("snapshots.layer-unpacked")
_DESCRIBED = declare("snapshots.layer-described")
_PLACED = declare("snapshots.layer-placed")
_SYNCED = declare("snapshots.synced")
_CREATING = declare("snapshots.creating")
_CREATED = declare("snapshots.created")
_MOUNTED = declare("snapshots.mounted")
_REMOVING = declare("snapshots.removing")
_INIT_BUILT = declare("snapshots.init-built")

_NONE = "none"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A committed layer. `size_bytes` of its files, `archive_bytes` of its uncompressed archive."""

    chain_id: str
    parent: str | None
    diff_id: str
    size_bytes: int
    archive_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class AppliedLayer:
    """What `apply_layer` made, or found made."""

    chain_id: str
    diff_id: str
    size_bytes: int
    archive_bytes: int


def chain_id_of(parent: str | None, diff_id: str) -> str:
    """Spec: OCI image specification, config.md, "Layer ChainID"."""
    return digest_of(f"{parent} {diff_id}".encode()) if parent else diff_id


class Snapshots:
    """The layers and snapshots below `root`; one per engine."""

    def __init__(self, root: str, workers: ArchiveWorkers) -> None:
        """Makes the directories, empties `tmp` and reads what is there. Raises: OSError."""
        self._root = root
        self._workers = workers
        self._layers_dir = os.path.join(root, "layers")
        self._snapshots_dir = os.path.join(root, "snapshots")
        self._tmp_dir = os.path.join(root, "tmp")
        self._inits_dir = os.path.join(root, "inits")
        self.set_aside: list[str] = []
        for folder in (root, self._layers_dir, self._snapshots_dir, self._inits_dir):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            os.chmod(folder, 0o700)
        remove_tree(self._tmp_dir)
        os.mkdir(self._tmp_dir, 0o700)
        self._layers: dict[str, Layer] = {}
        for name in os.listdir(self._layers_dir):
            self._load(name)

    def _load(self, name: str) -> None:
        path = os.path.join(self._layers_dir, name, "layer.json")
        try:
            with open(path, "rb") as file:
                layer = msgspec.json.decode(file.read(), type=Layer)
            if layer.chain_id != "sha256:" + name:
                raise ValueError("it names another layer")
        except (OSError, ValueError, msgspec.DecodeError) as error:
            self.set_aside.append(f"layer {name} in {self._layers_dir} cannot be read: {error}")
            log.error("%s", self.set_aside[-1])
            return
        self._layers[layer.chain_id] = layer

    # layers

    def has_layer(self, chain: str) -> bool:
        return chain in self._layers

    def layer(self, chain: str) -> Layer:
        """Raises: NotFound."""
        try:
            return self._layers[chain]
        except KeyError:
            raise NotFound(f"No such layer: {chain}") from None

    def layers(self) -> list[str]:
        """The ChainIDs of all layers, in no order."""
        return list(self._layers)

    def layer_size(self, chain: str) -> int:
        """Bytes of the layer's files. Raises: NotFound."""
        return self.layer(chain).size_bytes

    async def apply_layer(
        self,
        chain: str | None,
        parent: str | None,
        diff_id: str | None,
        source_fd: int,
        *,
        size: int | None = None,
    ) -> AppliedLayer:
        """Unpack the archive that `source_fd` gives (plain, gzip, zstd, xz, bzip2) as a layer.

        A regular file is read from its offset, `size` bytes of it; a pipe or socket to its end.
        `chain` and `diff_id` are verified where given. It is durable after `sync`.
        Raises: ArchiveError (an InvalidParameter), NotFound for the parent, Internal.
        """
        if parent is not None:
            self.layer(parent)
        folder = os.path.join(self._tmp_dir, "layer-" + secrets.token_hex(8))
        try:
            os.mkdir(folder, 0o700)
            done = await self._unpack(folder, source_fd, size)
            return await self._commit_layer(folder, done, chain, parent, diff_id)
        except OSError as error:
            raise _explain(error, "unpack a layer") from error
        finally:
            await offload(remove_tree, folder)

    async def _unpack(self, folder: str, source_fd: int, size: int | None) -> Done:
        root = os.open(folder, _FOLDER)
        try:
            job = Job(jobs.UNPACK_LAYER, size=size)
            done = await self._workers.call(job, (root, source_fd))
            diff = os.open("diff", _FOLDER, dir_fd=root)
            try:
                set_deferred(diff, done)
            finally:
                os.close(diff)
        finally:
            os.close(root)
        _UNPACKED()
        return done

    async def _commit_layer(
        self, folder: str, done: Done, chain: str | None, parent: str | None, diff_id: str | None
    ) -> AppliedLayer:
        found = done.digest or ""
        if diff_id is not None and found != diff_id:
            raise InvalidParameter(f"wrong diff id for a layer: {found}, expected {diff_id}")
        chain_id = chain_id_of(parent, found)
        if chain is not None and chain_id != chain:
            raise InvalidParameter(f"wrong chain id for a layer: {chain_id}, expected {chain}")
        layer = Layer(
            chain_id=chain_id,
            parent=parent,
            diff_id=found,
            size_bytes=done.size_bytes,
            archive_bytes=done.archive_bytes,
            entries=done.entries,
        )
        write_atomic(os.path.join(folder, "layer.json"), msgspec.json.encode(layer))
        _DESCRIBED()
        try:
            os.rename(folder, self._layer_dir(chain_id))
        except OSError as error:
            # another load was quicker with the same layer
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or chain_id not in self._layers:
                raise
        _PLACED()
        self._layers.setdefault(chain_id, layer)
        return AppliedLayer(chain_id, found, done.size_bytes, done.archive_bytes)

    async def sync(self) -> None:
        """Make everything applied so far survive a power loss: once, before the record."""
        try:
            await offload(syncfs, self._root)
        except OSError as error:
            raise _explain(error, "write the layers to the disk") from error
        _SYNCED()

    async def remove_layer(self, chain: str) -> None:
        """Remove a layer that nothing refers to; a missing one is fine. Raises: Conflict."""
        for layer in self._layers.values():
            if layer.parent == chain:
                raise Conflict(f"layer {chain} is the parent of {layer.chain_id}")
        self._layers.pop(chain, None)
        await offload(self._discard, self._init_dir(chain))
        await offload(self._discard, self._layer_dir(chain))

    def layer_archive(self, chain: str) -> AsyncIterator[bytes]:
        """The layer's archive, to the byte as it came, `archive_bytes` long.

        Raises: NotFound; Internal, at its end at the latest, when the files were damaged.
        """
        layer = self.layer(chain)
        return self._rebuilt(layer)

    async def _rebuilt(self, layer: Layer) -> AsyncIterator[bytes]:
        root = os.open(self._layer_dir(layer.chain_id), _FOLDER)
        try:
            async for piece in self._workers.stream(Job(jobs.REBUILD), root, layer.diff_id):
                yield piece
        except ArchiveError as error:
            raise Internal(f"layer {layer.diff_id}: {error.message}") from error
        finally:
            os.close(root)

    async def retain(self, chains: Collection[str], keys: Collection[str]) -> None:
        """At start: remove every layer and snapshot that no record refers to."""
        wanted = set(chains)
        for chain in chains:
            while chain in self._layers and (parent := self._layers[chain].parent) is not None:
                wanted.add(parent)
                chain = parent
        for chain in [chain for chain in self._layers if chain not in wanted]:
            log.info("layer %s belongs to no image: removing it", chain)
            del self._layers[chain]
            await offload(self._discard, self._layer_dir(chain))
        for name in os.listdir(self._inits_dir):
            if name != _NONE and "sha256:" + name not in self._layers:
                await offload(self._discard, os.path.join(self._inits_dir, name))
        for key in [key for key in self.keys() if key not in keys]:
            log.info("snapshot %s belongs to no container: removing it", key)
            await self.remove(key)

    def _layer_dir(self, chain: str) -> str:
        return os.path.join(self._layers_dir, parse_digest(chain).removeprefix("sha256:"))

    def _chain(self, top: str | None) -> list[str]:
        """The ChainIDs from `top` down. Raises: NotFound."""
        chain = []
        while top is not None:
            chain.append(top)
            top = self.layer(top).parent
        return chain

    # snapshots

    def keys(self) -> list[str]:
        return os.listdir(self._snapshots_dir)

    async def create(self, key: str, top_chain: str | None) -> None:
        """Make a writable snapshot on `top_chain`, on nothing when None.

        Raises: Conflict when `key` exists, NotFound for the layer, Internal (disk full).
        """
        self._chain(top_chain)
        try:
            await offload(self._create, self._snapshot_dir(key), top_chain)
        except FileExistsError as error:
            raise Conflict(f"snapshot {key} exists") from error
        except OSError as error:
            raise _explain(error, f"make the snapshot {key}") from error

    def _create(self, path: str, top_chain: str | None) -> None:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists", path)
        folder = os.path.join(self._tmp_dir, "snapshot-" + secrets.token_hex(8))
        try:
            os.mkdir(folder, 0o700)
            _CREATING()
            os.mkdir(os.path.join(folder, "upper"), 0o755)
            os.chmod(os.path.join(folder, "upper"), 0o755)
            os.mkdir(os.path.join(folder, "work"), 0o700)
            os.symlink(top_chain or _NONE, os.path.join(folder, "parent"))
            self._ensure_init(top_chain)
            os.rename(folder, path)
        except BaseException:
            remove_tree(folder)
            raise
        _CREATED()

    def mount(self, key: str, target: str) -> None:
        """Mount the snapshot, writable, on the directory `target`. Raises: NotFound, OSError."""
        mount_overlay(
            target,
            self.lower_dirs(key),
            self.upper_dir(key),
            self.work_dir(key),
            options=OVERLAY_OPTIONS,
        )
        _MOUNTED()

    def mount_layers(self, top_chain: str | None, target: str) -> None:
        """Mount an image's files, read-only, on `target`. Raises: NotFound, OSError."""
        lowers = self._diff_dirs(top_chain) or [self._ensure_init(None)]
        mount_overlay(target, lowers, None, None, options=OVERLAY_OPTIONS, read_only=True)

    def unmount(self, target: str) -> None:
        """Undo `mount`; harmless when nothing is mounted."""
        unmount(target)

    async def remove(self, key: str) -> None:
        """Remove a snapshot, unmounted before; a missing one is fine. Raises: Internal."""
        try:
            await offload(self._discard, self._snapshot_dir(key))
        except OSError as error:
            raise _explain(error, f"remove the snapshot {key}") from error

    def _discard(self, path: str) -> None:
        """Take the directory out of its place at once, then remove it at leisure."""
        gone = os.path.join(self._tmp_dir, "removed-" + secrets.token_hex(8))
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, gone)
        _REMOVING()
        remove_tree(gone)

    def lower_dirs(self, key: str) -> list[str]:
        """What the snapshot stands on, the topmost first: the init layer, then the image's.

        Raises: NotFound.
        """
        parent = self.parent(key)
        return [self._ensure_init(parent), *self._diff_dirs(parent)]

    def _diff_dirs(self, top: str | None) -> list[str]:
        return [os.path.join(self._layer_dir(chain), "diff") for chain in self._chain(top)]

    def _init_dir(self, top_chain: str | None) -> str:
        name = parse_digest(top_chain).removeprefix("sha256:") if top_chain else _NONE
        return os.path.join(self._inits_dir, name)

    def _ensure_init(self, top_chain: str | None) -> str:
        """The image's init layer, which is made when it is missing. Raises: OSError."""
        path = self._init_dir(top_chain)
        if not os.path.isdir(path):
            folder = os.path.join(self._tmp_dir, "init-" + secrets.token_hex(8))
            try:
                os.mkdir(folder, 0o755)
                initlayer.build(folder, self._diff_dirs(top_chain))
                _INIT_BUILT()
                initlayer.place(folder, path)
            finally:
                remove_tree(folder)
        return path

    def parent(self, key: str) -> str | None:
        """The ChainID that the snapshot stands on. Raises: NotFound."""
        try:
            chain = os.readlink(os.path.join(self._snapshot_dir(key), "parent"))
        except OSError as error:
            raise NotFound(f"No such snapshot: {key}") from error
        return None if chain == _NONE else chain

    def upper_dir(self, key: str) -> str:
        return os.path.join(self._snapshot_dir(key), "upper")

    def work_dir(self, key: str) -> str:
        return os.path.join(self._snapshot_dir(key), "work")

    def _snapshot_dir(self, key: str) -> str:
        if _KEY.match(key) is None:
            raise InvalidParameter(f"invalid snapshot key {key!r}")
        return os.path.join(self._snapshots_dir, key)

    async def changes(self, key: str) -> list[Change]:
        """What was changed since `create`, as `docker diff` tells it. Raises: NotFound."""
        return await offload(changes.compare, self.upper_dir(key), self.lower_dirs(key))

    async def usage(self, key: str) -> int:
        """Bytes of the files that the container wrote."""
        return await offload(changes.usage, self.upper_dir(key))

    async def diff_archive(self, key: str) -> AsyncIterator[bytes]:
        """The snapshot's changes as a layer archive. Raises: NotFound, Internal."""
        self.parent(key)
        root = os.open(self.upper_dir(key), _FOLDER)
        try:
            async for piece in self._workers.stream(Job(jobs.PACK_LAYER), root, None):
                yield piece
        finally:
            os.close(root)

    async def export(self, directory: str) -> AsyncIterator[bytes]:
        """Everything below `directory` (a mounted snapshot) as a plain archive."""
        root = os.open(directory, _FOLDER)
        try:
            async for piece in self._workers.stream(Job(jobs.PACK), root, None):
                yield piece
        finally:
            os.close(root)

    async def commit(self, key: str) -> AppliedLayer:
        """Make a layer of the snapshot's changes: packed and unpacked at once, stored once.

        Raises: NotFound, Internal. Durable after `sync`.
        """
        parent = self.parent(key)
        reading, writing = make_pipe()
        os.set_blocking(reading, True)
        try:
            root = os.open(self.upper_dir(key), _FOLDER)
            try:
                context = self._workers.run(Job(jobs.PACK_LAYER), (root, writing))
                packing = await context.__aenter__()
            finally:
                os.close(root)
                os.close(writing)
            try:
                applied = await self.apply_layer(None, parent, None, reading)
                await packing.result()
            finally:
                await context.__aexit__(None, None, None)
        finally:
            os.close(reading)
        return applied

    def disk_free(self) -> int:
        """Bytes free for us on the disk of the layers."""
        return shutil.disk_usage(self._root).free


def set_deferred(directory_fd: int, done: Done) -> None:
    """Set the attributes for which a worker lacks the privilege. Raises: OSError."""
    for path, name, value in done.deferred:
        if not name.startswith("trusted.") or (
            name.startswith("trusted.overlay.")
            and (name, value) != ("trusted.overlay.opaque", b"y")
        ):
            raise Internal(f"the archive worker asked for the attribute {name}")
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):
            fd = open_beneath(directory_fd, path or b".", flags)
            try:
                os.setxattr(fd, name, value)
            finally:
                os.close(fd)


def _explain(error: OSError, what: str) -> Internal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Internal(f"cannot {what}: no space left on device; free some and try again")
    return Internal(f"cannot {what}: {error}")
