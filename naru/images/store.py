"""The image records in memory, and the only writer of their rows.

Reads are answered from memory; a change is committed to the database first and shown after. What
cannot be decoded at the start is left out and named in the log: one bad row never stops Naru.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from naru.base.errors import InvalidParameter
from naru.base.failpoints import declare
from naru.images.model import Image, ImageRecord, TagRecord, decode_config
from naru.spec.oci.digest import chain_ids
from naru.spec.oci.reference import Reference, parse_reference
from naru.storage.metadata import Database, Delete, Put
from naru.storage.snapshots import Layer, Snapshots

log = logging.getLogger("naru.images")

IMAGE, TAG = "image", "tag"
BEFORE_RECORD = declare("images.before-record")
AFTER_RECORD = declare("images.after-record")

T = TypeVar("T")


def tag_key(ref: Reference) -> str:
    """The whole form of `ref`: what a tag row is found by. A digest outweighs a tag."""
    if ref.digest is not None:
        return f"{ref.domain}/{ref.path}@{ref.digest}"
    return f"{ref.domain}/{ref.path}:{ref.tag or 'latest'}"


class ImageStore:
    """Images and tags by their keys. All reads are plain; all writes are awaited."""

    def __init__(self, db: Database, snapshots: Snapshots) -> None:
        self._db = db
        self._snapshots = snapshots
        self._records: dict[str, ImageRecord] = {}
        self._diff_ids: dict[str, tuple[str, ...]] = {}
        self._tags: dict[str, tuple[Reference, str]] = {}
        self._names: dict[str, dict[str, Reference]] = {}
        self._images: dict[str, Image] = {}
        for _, record in self._rows(IMAGE, ImageRecord):
            self._admit(record)
        for key, tag in self._rows(TAG, TagRecord):
            if tag.image_id in self._records:
                self._name(parse_reference(key), tag.image_id)
            else:
                log.warning("tag %s names the missing image %s: left out", key, tag.image_id)

    def _rows(self, kind: str, shape: type[T]) -> Iterator[tuple[str, T]]:
        for key, body in self._db.all(kind):
            try:
                yield key, msgspec.json.decode(body, type=shape)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                log.error("%s record %s is damaged and left out: %s", kind, key, error)

    def _admit(self, record: ImageRecord) -> None:
        try:
            config = decode_config(record.config.encode())
        except InvalidParameter as error:
            log.error("image %s is damaged and left out: %s", record.id, error)
            return
        chain = chain_ids(config.rootfs.diff_ids)
        missing = [link for link in chain if not self._snapshots.has_layer(link)]
        if missing:
            log.error("image %s lacks layer %s and is left out", record.id, missing[0])
            return
        self._records[record.id] = record
        self._images.pop(record.id, None)
        self._diff_ids[record.id] = tuple(config.rootfs.diff_ids)

    # -- reading

    def has(self, image_id: str) -> bool:
        return image_id in self._records

    def get(self, image_id: str) -> Image | None:
        record = self._records.get(image_id)
        if record is None:
            return None
        image = self._images.get(image_id)
        if image is None:
            size = self._size_of(self._diff_ids[image_id])
            image = self._images[image_id] = Image(record, self.references(image_id), size)
        return image

    def ids(self) -> list[str]:
        return list(self._records)

    def images(self) -> list[Image]:
        found = (self.get(image_id) for image_id in self._records)
        return [image for image in found if image is not None]

    def references(self, image_id: str) -> list[Reference]:
        """What names the image, in order of the whole reference."""
        return [ref for _, ref in sorted(self._names.get(image_id, {}).items())]

    def lookup(self, ref: Reference) -> str | None:
        found = self._tags.get(tag_key(ref))
        return None if found is None else found[1]

    def children(self, image_id: str) -> list[str]:
        return [record.id for record in self._records.values() if record.parent == image_id]

    def layer(self, chain_id: str) -> Layer:
        """Raises: NotFound."""
        return self._snapshots.layer(chain_id)

    def layers(self) -> dict[str, Layer]:
        return {chain: self._snapshots.layer(chain) for chain in self._snapshots.layers()}

    def chain_of(self, image_id: str) -> list[str]:
        return chain_ids(list(self._diff_ids[image_id]))

    def _size_of(self, diff_ids: Sequence[str]) -> int:
        """Bytes of the files of all layers, each counted once."""
        return sum(self._snapshots.layer_size(chain) for chain in chain_ids(list(diff_ids)))

    # -- writing

    async def add(self, record: ImageRecord, tags: Sequence[Reference] = ()) -> None:
        """Commit an image with its tags at once; a known one keeps its parent. Its layers are there
        and durable."""
        known = self._records.get(record.id)
        if known is not None:
            record = msgspec.structs.replace(
                known, last_tagged_ns=max(record.last_tagged_ns, known.last_tagged_ns)
            )
        puts = [Put(IMAGE, record.id, msgspec.json.encode(record))]
        tag = msgspec.json.encode(TagRecord(image_id=record.id))
        puts += [Put(TAG, tag_key(ref), tag) for ref in tags]
        BEFORE_RECORD()
        await self._db.batch(puts)
        AFTER_RECORD()
        self._admit(record)
        for ref in tags:
            self._name(ref, record.id)

    async def tag(self, ref: Reference, image_id: str, now_ns: int) -> None:
        record = msgspec.structs.replace(self._records[image_id], last_tagged_ns=now_ns)
        await self.add(record, (ref,))

    async def set_parent(self, image_id: str, parent: str) -> None:
        """Say which image another was made from; nothing when one of them is gone or it is told."""
        record = self._records.get(image_id)
        if record is None or parent not in self._records or record.parent or parent == image_id:
            return
        if self._diff_ids[image_id][: len(self._diff_ids[parent])] != self._diff_ids[parent]:
            return
        record = msgspec.structs.replace(record, parent=parent)
        await self._db.put(IMAGE, image_id, msgspec.json.encode(record))
        self._records[image_id] = record
        self._images.pop(image_id, None)

    async def untag(self, refs: Sequence[Reference]) -> None:
        BEFORE_RECORD()
        await self._db.batch([Delete(TAG, tag_key(ref)) for ref in refs])
        AFTER_RECORD()
        self._forget_names(refs)

    async def remove(self, image_id: str) -> None:
        """Drop an image with every tag that names it; its children become parentless."""
        refs = self.references(image_id)
        orphans = [
            msgspec.structs.replace(self._records[child], parent="")
            for child in self.children(image_id)
        ]
        ops: list[Put | Delete] = [Delete(TAG, tag_key(ref)) for ref in refs]
        ops += [Put(IMAGE, orphan.id, msgspec.json.encode(orphan)) for orphan in orphans]
        ops.append(Delete(IMAGE, image_id))
        BEFORE_RECORD()
        await self._db.batch(ops)
        AFTER_RECORD()
        self._forget_names(refs)
        self._names.pop(image_id, None)
        for orphan in orphans:
            self._records[orphan.id] = orphan
            self._images.pop(orphan.id, None)
        self._records.pop(image_id, None)
        self._images.pop(image_id, None)
        self._diff_ids.pop(image_id, None)

    def _name(self, ref: Reference, image_id: str) -> None:
        self._forget_names((ref,))
        self._tags[tag_key(ref)] = (ref, image_id)
        self._names.setdefault(image_id, {})[tag_key(ref)] = ref
        self._images.pop(image_id, None)

    def _forget_names(self, refs: Sequence[Reference]) -> None:
        for ref in refs:
            found = self._tags.pop(tag_key(ref), None)
            if found is not None:
                self._names.get(found[1], {}).pop(tag_key(ref), None)
                self._images.pop(found[1], None)
