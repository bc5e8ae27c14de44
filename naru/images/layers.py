"""Layers of images: brought in once, shared by their chain id, dropped when nothing names them.

A layer is wanted while an image or a container's snapshot names it, or while an operation that is
under way has pinned it. Its files, and the recipe of its tar, belong to `storage.snapshots`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from naru.base.errors import NotFound
from naru.base.failpoints import declare
from naru.base.undo import run_to_end
from naru.images.store import ImageStore
from naru.storage.snapshots import Layer, Snapshots

LAYER_APPLIED = declare("images.layer-applied")
LAYERS_SYNCED = declare("images.layers-synced")
LAYER_REMOVED = declare("images.layer-removed")
PARALLEL_LAYERS = 2


@dataclass(frozen=True, slots=True)
class FileRange:
    """A layer's tar, packed or plain: `size` bytes at `offset` of the file `fd`."""

    fd: int
    offset: int
    size: int

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of its own that stands at the offset."""
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.lseek(fd, self.offset, os.SEEK_SET)
            yield fd
        finally:
            os.close(fd)


class LayerStore:
    """Applies layers to the snapshots and removes what nothing wants any more."""

    def __init__(self, store: ImageStore, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots
        self._pins: dict[str, int] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(PARALLEL_LAYERS)
        self._arriving: list[frozenset[str]] = []

    @contextlib.contextmanager
    def pinned(self, chains: Sequence[str]) -> Iterator[None]:
        """Keep the layers while the block runs, whatever is removed meanwhile."""
        for chain in chains:
            self._pins[chain] = self._pins.get(chain, 0) + 1
        try:
            yield
        finally:
            for chain in chains:
                self._pins[chain] -= 1
                if not self._pins[chain]:
                    del self._pins[chain]

    def has(self, chain: str) -> bool:
        return self._snapshots.has_layer(chain)

    async def ensure(self, chain: str, parent: str | None, diff_id: str, source: FileRange) -> bool:
        """Apply the layer unless it is here; whether it was applied. The caller has pinned it.

        `parent` may be on its way in another task: it is waited for, its unpacking is not.
        Raises: InvalidParameter when the tar is wrong or has another digest than `diff_id`.
        """
        while (gate := self._gates.get(chain)) is not None:
            await gate.wait()
        if self._snapshots.has_layer(chain):
            return False
        gate = self._gates[chain] = asyncio.Event()
        try:
            async with self._slots:
                with source.opened() as fd:
                    await self._snapshots.apply_layer(chain, parent, diff_id, fd, size=source.size)
            LAYER_APPLIED()
        finally:
            del self._gates[chain]
            gate.set()
        return True

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """Keep every layer that comes while the block runs: for those of unknown digest."""
        before = frozenset(self._snapshots.layers())
        self._arriving.append(before)
        try:
            yield
        finally:
            self._arriving.remove(before)

    async def import_from(self, fd: int) -> Layer:
        """The layer of a tar whose digest nobody told, read to its end; within `arriving`."""
        applied = await self._snapshots.apply_layer(None, None, None, fd)
        LAYER_APPLIED()
        return self._snapshots.layer(applied.chain_id)

    async def commit(self, key: str) -> Layer:
        """The layer of a container's changes; within `arriving`."""
        applied = await self._snapshots.commit(key)
        LAYER_APPLIED()
        return self._snapshots.layer(applied.chain_id)

    async def sync(self) -> None:
        """Make the applied layers durable; to be awaited before the record that names them."""
        await self._snapshots.sync()
        LAYERS_SYNCED()

    def wanted(self) -> set[str]:
        """Chain ids that an image, a snapshot or a running operation names, and all below them."""
        wanted: set[str] = set()
        tops = list(self._pins)
        for before in self._arriving:
            tops += [chain for chain in self._snapshots.layers() if chain not in before]
        for image_id in self._store.ids():
            wanted.update(self._store.chain_of(image_id))
        for key in list(self._snapshots.keys()):
            with contextlib.suppress(NotFound):  # removed meanwhile
                parent = self._snapshots.parent(key)
                tops += [parent] if parent is not None else []
        for top in tops:
            link: str | None = top
            while link is not None and link not in wanted and self._snapshots.has_layer(link):
                wanted.add(link)
                link = self._snapshots.layer(link).parent
        return wanted

    @contextlib.asynccontextmanager
    async def swept_on_failure(self) -> AsyncIterator[None]:
        """Around an operation that brings layers: when it fails, those that came are removed."""
        try:
            yield
        except BaseException:
            await run_to_end(self.sweep())
            raise

    async def sweep(self) -> list[Layer]:
        """Remove every unwanted layer; those removed, the topmost first."""
        removed: list[Layer] = []
        while True:
            wanted = self.wanted()
            layers = [self._snapshots.layer(chain) for chain in self._snapshots.layers()]
            parents = {layer.parent for layer in layers}
            unwanted = [
                layer
                for layer in layers
                if layer.chain_id not in wanted and layer.chain_id not in parents
            ]
            if not unwanted:
                return removed
            await self._snapshots.remove_layer(unwanted[0].chain_id)
            removed.append(unwanted[0])
            LAYER_REMOVED()
