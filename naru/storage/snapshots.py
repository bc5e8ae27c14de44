"""Containers' writable directories, on top of an image's layers, joined by overlayfs.

    layers/                                see `layers`
    inits/HEX                              what containers need on top of an image (`initlayer`)
    snapshots/KEY/{upper,work,parent}      parent: a link whose text is the ChainID it stands on
    tmp/                                   half-made and half-removed; emptied at start

    create ──▶ idle ◀── unmount ── mount ──▶ mounted;    idle ── remove ──▶ tmp ──▶ gone

Whatever no record refers to is removed at start by `retain`. Nobody but root can enter any of
these directories.
"""

import errno
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator, Collection

from naru.base.errors import Conflict, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.kernel.files import remove_tree
from naru.kernel.mount import mount_overlay, unmount
from naru.kernel.threads import offload, offload_bulk
from naru.kernel.userns import Mapped, mount_overlay_mapped
from naru.spec.oci.digest import parse_digest
from naru.storage import initlayer
from naru.storage.archive import changes, jobs
from naru.storage.archive.changes import Change
from naru.storage.archive.jobs import Job
from naru.storage.archive.workers import ArchiveWorkers, make_pipe
from naru.storage.disk import explain
from naru.storage.layers import (
    FOLDER,
    AppliedLayer,
    Layer,
    Layers,
    private_directory,
)

__all__ = ["AppliedLayer", "Layer", "Snapshots"]

log = logging.getLogger("naru.storage.snapshots")

_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_NONE = "none"
_OVERLAY_OPTIONS = ("redirect_dir=off", "metacopy=off", "index=off")

_CREATING = declare("snapshots.creating")
_CREATED = declare("snapshots.created")
_MOUNTED = declare("snapshots.mounted")
_INIT_BUILT = declare("snapshots.init-built")


class Snapshots(Layers):
    """The layers and snapshots below `root`; one per engine."""

    def __init__(self, root: str, workers: ArchiveWorkers) -> None:
        """Makes the directories, empties `tmp` and reads what is there. Raises: OSError."""
        super().__init__(root, workers)
        self._snapshots_dir = os.path.join(root, "snapshots")
        self._inits_dir = os.path.join(root, "inits")
        private_directory(self._snapshots_dir)
        private_directory(self._inits_dir)

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
            await offload_bulk(self._discard, self._layer_dir(chain))
        await self._sweep_inits()
        for key in [key for key in self.keys() if key not in keys]:
            log.info("snapshot %s belongs to no container: removing it", key)
            await self.remove(key)

    async def _sweep_inits(self) -> None:
        for name in os.listdir(self._inits_dir):
            if name != _NONE and "sha256:" + name not in self._layers:
                await offload_bulk(self._discard, os.path.join(self._inits_dir, name))

    async def remove_layer(self, chain: str) -> None:
        """Remove a layer that nothing refers to; a missing one is fine. Raises: Conflict."""
        await super().remove_layer(chain)
        await offload_bulk(self._discard, self._init_dir(chain))

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
            raise explain(error, f"make the snapshot {key}") from error

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

    def mount(self, key: str, target: str, mapped: Mapped | None = None, staging: str = "") -> None:
        """Mount the snapshot, writable, on the directory `target`.

        `mapped`: the files are shown with the ids of that user namespace; the empty directory
        `staging` is mounted on meanwhile. Raises: NotFound, OSError.
        """
        lowers, upper, work = self.lower_dirs(key), self.upper_dir(key), self.work_dir(key)
        if mapped is None:
            mount_overlay(target, lowers, upper, work, options=_OVERLAY_OPTIONS)
        else:
            mount_overlay_mapped(
                target, self._root, staging, lowers, upper, work, mapped, options=_OVERLAY_OPTIONS
            )
        _MOUNTED()

    def unmount(self, target: str) -> None:
        """Undo `mount`; harmless when nothing is mounted."""
        unmount(target)

    async def remove(self, key: str) -> None:
        """Remove a snapshot, unmounted before; a missing one is fine. Raises: Internal."""
        try:
            await offload_bulk(self._discard, self._snapshot_dir(key))
        except OSError as error:
            raise explain(error, f"remove the snapshot {key}") from error

    def lower_dirs(self, key: str) -> list[str]:
        """What the snapshot stands on, the topmost first: the init layer, then the image's.

        Raises: NotFound.
        """
        parent = self.parent(key)
        return [self._ensure_init(parent), *self._diff_dirs(parent)]

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
        return await offload_bulk(changes.compare, self.upper_dir(key), self.lower_dirs(key))

    async def usage(self, key: str) -> int:
        """Bytes of the files that the container wrote."""
        return await offload_bulk(changes.usage, self.upper_dir(key))

    async def export(self, directory: str, mapped: Mapped | None) -> AsyncIterator[bytes]:
        """Everything below `directory` (a mounted snapshot) as a plain archive.

        `mapped`: as it was mounted; the archive has the files' own ids.
        """
        root = os.open(directory, FOLDER)
        job = Job(jobs.EXPORT, mapped=mapped is not None)
        others = (mapped.fd,) if mapped is not None else ()
        try:
            async for piece in self._workers.stream(job, root, None, others):
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
            root = os.open(self.upper_dir(key), FOLDER)
            try:
                context = self._workers.run(Job(jobs.PACK), (root, writing))
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
