"""Layers: the unpacked files of one archive each, named by their ChainID and never changed.

Beside a layer's files lies the recipe from which its archive is rebuilt to the byte
(`archive.recipe`), so the archive itself is not kept.

    layers/HEX/{diff,spill,recipe,notes,layer.json}     HEX: the ChainID's digits
    tmp/                                                half-made and half-removed; emptied at start

    tmp ── apply_layer ──▶ committed ── remove_layer ──▶ tmp ──▶ gone

A layer is in its place as soon as `apply_layer` returns; it is durable after `sync`, which the
caller does once, before it writes the record that refers to its layers.
"""

import contextlib
import errno
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.base.undo import run_to_end
from naru.kernel.files import open_beneath, remove_tree, syncfs, write_atomic
from naru.kernel.threads import offload
from naru.spec.oci.digest import digest_of, parse_digest
from naru.storage.archive import jobs
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.jobs import Done, Job
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.disk import explain
from naru.storage.trash import Trash

log = logging.getLogger("naru.storage.layers")

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DRIVER = "overlay2"
_EMPTY_ATTEMPTS = 20
_EMPTY_PAUSE_S = 0.05

_UNPACKED = declare("layers.unpacked")
_DESCRIBED = declare("layers.described")
_PLACED = declare("layers.placed")
_SYNCED = declare("layers.synced")
_REMOVING = declare("layers.removing")


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


class Layers:
    """The layers below `root`; one per engine, as the base of its `Snapshots`."""

    def __init__(self, root: str, workers: ArchiveWorkers) -> None:
        """Makes the directories and reads what is there. Raises: OSError."""
        self._root = root
        self._workers = workers
        self._layers_dir = os.path.join(root, "layers")
        self._tmp_dir = os.path.join(root, "tmp")
        self.set_aside: list[str] = []
        for folder in (root, self._layers_dir):
            private_directory(folder)
        _empty(self._tmp_dir)
        self.trash = Trash(os.path.join(root, "trash"))
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
        `chain` and `diff_id` are verified where given; the parent may still be on its way. It is
        durable after `sync`. Raises: ArchiveError (an InvalidParameter), Internal (disk full).
        """
        folder = os.path.join(self._tmp_dir, "layer-" + secrets.token_hex(8))
        try:
            os.mkdir(folder, 0o700)
            done = await self._unpack(folder, source_fd, size)
            layer = self._describe(done, chain, parent, diff_id)
            await offload(self._place, folder, layer)
            self._layers.setdefault(layer.chain_id, layer)
            return AppliedLayer(
                layer.chain_id, layer.diff_id, layer.size_bytes, layer.archive_bytes
            )
        except OSError as error:
            raise explain(error, "unpack a layer") from error
        finally:
            await run_to_end(offload(remove_tree, folder))

    async def _unpack(self, folder: str, source_fd: int, size: int | None) -> Done:
        root = os.open(folder, FOLDER)
        try:
            job = Job(jobs.UNPACK, size=size)
            done = await self._workers.call(job, (root, source_fd))
            diff = os.open("diff", FOLDER, dir_fd=root)
            try:
                await offload(set_deferred, diff, done)
            finally:
                os.close(diff)
        finally:
            os.close(root)
        _UNPACKED()
        return done

    def _describe(
        self, done: Done, chain: str | None, parent: str | None, diff_id: str | None
    ) -> Layer:
        found = done.digest or ""
        if diff_id is not None and found != diff_id:
            raise InvalidParameter(f"wrong diff id for a layer: {found}, expected {diff_id}")
        chain_id = chain_id_of(parent, found)
        if chain is not None and chain_id != chain:
            raise InvalidParameter(f"wrong chain id for a layer: {chain_id}, expected {chain}")
        return Layer(
            chain_id=chain_id,
            parent=parent,
            diff_id=found,
            size_bytes=done.size_bytes,
            archive_bytes=done.archive_bytes,
            entries=done.entries,
        )

    def _place(self, folder: str, layer: Layer) -> None:
        """Describe the layer in `folder` and move it to its place; in a thread."""
        write_atomic(os.path.join(folder, "layer.json"), msgspec.json.encode(layer))
        _DESCRIBED()
        final = self._layer_dir(layer.chain_id)
        try:
            os.rename(folder, final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if layer.chain_id not in self._layers:  # a damaged one, set aside at the start
                self._discard(final)
                os.rename(folder, final)
        _PLACED()

    async def sync(self) -> None:
        """Make everything applied so far survive a power loss: once, before the record."""
        try:
            await offload(syncfs, self._root)
            _SYNCED()
        except OSError as error:
            raise explain(error, "write the layers to the disk") from error

    async def remove_layer(self, chain: str) -> None:
        """Remove a layer that nothing refers to; a missing one is fine. Raises: Conflict."""
        for layer in self._layers.values():
            if layer.parent == chain:
                raise Conflict(f"layer {chain} is the parent of {layer.chain_id}")
        self._layers.pop(chain, None)
        await offload(self._discard, self._layer_dir(chain))

    def layer_archive(self, chain: str) -> AsyncIterator[bytes]:
        """The layer's archive, to the byte as it came, `archive_bytes` long.

        Raises: NotFound; Internal, at its end at the latest, when the files were damaged.
        """
        layer = self.layer(chain)
        return self._rebuilt(layer)

    async def _rebuilt(self, layer: Layer) -> AsyncIterator[bytes]:
        root = os.open(self._layer_dir(layer.chain_id), FOLDER)
        try:
            async for piece in self._workers.stream(Job(jobs.REBUILD), root, layer.diff_id):
                yield piece
        except ArchiveError as error:
            raise Internal(f"layer {layer.diff_id}: {error.message}") from error
        finally:
            os.close(root)

    def graph_driver(self, top_chain: str | None) -> dict[str, object]:
        """The `GraphDriver` of an image's inspection. Spec: Engine API, DriverData."""
        dirs = self._diff_dirs(top_chain) if top_chain in self._layers else []
        data = {"UpperDir": dirs[0]} if dirs else {}
        if dirs[1:]:
            data["LowerDir"] = ":".join(dirs[1:])
        return {"Name": DRIVER, "Data": data}

    def _layer_dir(self, chain: str) -> str:
        return os.path.join(self._layers_dir, parse_digest(chain).removeprefix("sha256:"))

    def _chain(self, top: str | None) -> list[str]:
        """The ChainIDs from `top` down. Raises: NotFound."""
        chain = []
        while top is not None:
            chain.append(top)
            top = self.layer(top).parent
        return chain

    def _diff_dirs(self, top: str | None) -> list[str]:
        return [os.path.join(self._layer_dir(chain), "diff") for chain in self._chain(top)]

    def _discard(self, path: str) -> None:
        """Take the directory out of its place at once; it is deleted at leisure."""
        _REMOVING()
        self.trash.discard(path)


def _empty(path: str) -> None:
    """Make `path` an empty directory, though a dying engine's worker may still write there."""
    for attempt in range(_EMPTY_ATTEMPTS):
        try:
            remove_tree(path)
            break
        except OSError:
            if attempt == _EMPTY_ATTEMPTS - 1:
                raise
            time.sleep(_EMPTY_PAUSE_S)
    os.mkdir(path, 0o700)


def private_directory(path: str) -> None:
    """Make a directory that only its owner can enter, whatever it was before. Raises: OSError."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    os.chmod(path, 0o700)


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
