"""Loading images out of an archive.

    spool the body ─▶ find the images in it ─▶ per image: verify, apply its layers (two at a time)
                                              ─▶ commit layers, image and tags as one record

Nothing is visible before that commit; a layer without one is collected at the next start. An image
that comes later in a broken archive does not take back one that was committed before.

Spec: Engine API 1.51, ImageLoad; the messages are Docker's.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from naru.base.errors import InvalidParameter
from naru.base.failpoints import declare
from naru.base.ids import short
from naru.base.units import human_size
from naru.images.archive import ImageArchive
from naru.images.layers import FileRange, LayerStore
from naru.images.layout import ImageSource, read_layout
from naru.images.model import CONFIG_LIMIT_BYTES, Emit, ImageRecord, decode_config
from naru.images.spool import Spool, inflate, receive
from naru.images.store import ImageStore
from naru.kernel.threads import offload, offload_bulk
from naru.spec.oci.digest import chain_ids, digest_of
from naru.spec.oci.image import ImageConfig, Platform
from naru.storage.archive.compression import PLAIN
from naru.storage.pipes import first_error
from naru.storage.snapshots import Layer

Message = dict[str, Any]

SPOOLED = declare("images.load-spooled")
LAYERS_DONE = declare("images.load-layers")
IMAGE_DONE = declare("images.load-image")


@dataclass(frozen=True, slots=True)
class Loader:
    """What loading works with."""

    store: ImageStore
    layers: LayerStore
    spool_dir: str
    emit: Emit

    async def load(
        self, stream: AsyncIterator[bytes], quiet: bool, platform: Platform | None
    ) -> AsyncIterator[Message]:
        """Load what the archive holds, yielding Docker's messages.

        Raises: InvalidParameter when the archive is wrong, saying how.
        """
        async with self.layers.swept_on_failure():
            async for message in self._load(stream, quiet, platform):
                yield message

    async def _load(
        self, stream: AsyncIterator[bytes], quiet: bool, platform: Platform | None
    ) -> AsyncIterator[Message]:
        with await receive_plain(stream, self.spool_dir) as spool:
            SPOOLED()
            archive = await offload(ImageArchive, spool)
            sources = await offload(
                read_layout, lambda name: archive.find(name) is not None, archive.read, platform
            )
            parents: dict[str, str] = {}
            for number, source in enumerate(sources, 1):
                last = number == len(sources)
                async for message in self._load_image(spool, archive, source, quiet, parents, last):
                    yield message
                IMAGE_DONE()
            for image_id, parent in parents.items():
                await self.store.set_parent(image_id, parent)

    async def _load_image(
        self,
        spool: Spool,
        archive: ImageArchive,
        source: ImageSource,
        quiet: bool,
        parents: dict[str, str],
        last: bool,
    ) -> AsyncIterator[Message]:
        raw = archive.read(source.config, CONFIG_LIMIT_BYTES)
        image_id = digest_of(raw)
        if source.config_digest is not None and source.config_digest != image_id:
            raise InvalidParameter(
                f"invalid archive: the configuration {source.config} has digest {image_id}"
            )
        config = decode_config(raw)
        self._check(config, source)
        chains = chain_ids(config.rootfs.diff_ids)
        with self.layers.pinned(chains):
            jobs = self._layer_jobs(spool, archive, source, config)
            if jobs:
                await _together(jobs)
                if last:  # or the sync would write the spool to the disk as well
                    await offload(spool.discard)
                await self.layers.sync()
            LAYERS_DONE()
            for job in jobs if not quiet else ():
                yield _layer_message(self.store.layer(job.chain))
            for ref in source.references:
                other = self.store.lookup(ref)
                if other is not None and other != image_id:
                    yield {
                        "stream": f"The image {ref.familiar} already exists, renaming the old "
                        f"one with ID {other} to empty string\n"
                    }
            record = ImageRecord(
                id=image_id,
                config=raw.decode(),
            )
            await self.store.add(record, source.references)
        if source.parent:
            parents[image_id] = source.parent
        self._tell(image_id)
        for ref in source.references:
            yield {"stream": f"Loaded image: {ref.familiar}\n"}
        if not source.references:
            yield {"stream": f"Loaded image ID: {image_id}\n"}

    @staticmethod
    def _check(config: ImageConfig, source: ImageSource) -> None:
        expected, got = len(source.layers), len(config.rootfs.diff_ids)
        if expected != got:
            raise InvalidParameter(
                f"invalid manifest, layers length mismatch: expected {expected}, got {got}"
            )
        if config.os not in ("linux", ""):
            raise InvalidParameter(f"cannot load {config.os} image on linux")

    def _layer_jobs(
        self, spool: Spool, archive: ImageArchive, source: ImageSource, config: ImageConfig
    ) -> "list[_LayerJob]":
        jobs = []
        parent: str | None = None
        diff_ids = config.rootfs.diff_ids
        for name, digest, size, diff_id, chain in zip(
            source.layers, source.layer_digests, source.layer_sizes, diff_ids, chain_ids(diff_ids),
            strict=True,
        ):  # fmt: skip
            place = archive.find(name)
            if size is not None and place is not None and place.size != size:
                raise InvalidParameter(
                    f"invalid archive: layer {name} has {place.size} bytes, not {size}"
                )
            if not self.layers.has(chain):
                jobs.append(
                    _LayerJob(self.layers, spool, archive, name, digest, diff_id, chain, parent)
                )
            parent = chain
        return jobs

    def _tell(self, image_id: str) -> None:
        image = self.store.get(image_id)
        labels = dict(image.labels) if image is not None else {}
        self.emit("image", "load", image_id, {**labels, "name": image_id})


@dataclass(frozen=True, slots=True)
class _LayerJob:
    layers: LayerStore
    spool: Spool
    archive: ImageArchive
    name: str
    digest: str | None
    diff_id: str
    chain: str
    parent: str | None

    async def run(self) -> None:
        place = self.archive.find(self.name)
        if place is None:
            raise InvalidParameter(f"invalid archive: layer {self.name} is missing")
        if self.digest is not None and self.digest != self.diff_id:
            found = await offload_bulk(self.archive.digest, place)
            if found != self.digest:
                raise InvalidParameter(f"invalid archive: layer {self.name} has digest {found}")
        source = FileRange(self.spool.fd, place.offset, place.size)
        await self.layers.ensure(self.chain, self.parent, self.diff_id, source)


async def _together(jobs: list[_LayerJob]) -> None:
    """Run all jobs; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job.run())
    except ExceptionGroup as errors:
        raise first_error(errors) from None


async def receive_plain(stream: AsyncIterator[bytes], directory: str) -> Spool:
    """The body as a plain tar in a spool. Raises: InvalidParameter for broken compression."""
    spool = await receive(stream, directory)
    if spool.form == PLAIN:
        return spool
    with spool:
        return await offload_bulk(inflate, spool, directory)


def progress_bar(current: int, total: int) -> str:
    """Docker's `[====>    ] 1.2MB/3MB`."""
    done = min(50, current * 50 // total) if total else 50
    bar = "=" * done + ">" + " " * (50 - done)
    return f"[{bar}]  {human_size(current)}/{human_size(total)}"


def _layer_message(layer: Layer) -> Message:
    size = layer.archive_bytes
    return {
        "status": "Loading layer",
        "progressDetail": {"current": size, "total": size},
        "progress": progress_bar(size, size),
        "id": short(layer.diff_id),
    }
