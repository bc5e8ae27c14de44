"""Writing images as one archive: an OCI layout that is also what `docker load` always read.

    blobs/sha256/…  index.json  manifest.json  oci-layout  repositories

Layers are made again from their files as they are sent; one that does not come out with its digest
ends the archive with an error instead of an end mark.

Spec: Engine API 1.51, ImageGet and ImageGetAll; OCI image layout 1.1.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.clock import NS
from naru.images.model import Image
from naru.images.store import ImageStore
from naru.spec.oci.digest import digest_of
from naru.spec.oci.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from naru.spec.oci.reference import Reference
from naru.storage.snapshots import Snapshots

_BLOCK = 512
_TRAILER = bytes(2 * _BLOCK)
_OCI_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_FILE, _FOLDER = b"0", b"5"


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An image to save and the names it is saved under."""

    image: Image
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob of the archive: its bytes, or the layer that has them."""

    size: int
    created_ns: int
    data: bytes | None = None
    chain: str | None = None


async def save(
    images: Sequence[SavedImage], store: ImageStore, snapshots: Snapshots
) -> AsyncIterator[bytes]:
    """The archive of `images`, in pieces. Raises: Internal when a layer is damaged."""
    blobs, manifests = _collect(images, store)
    yield _header("blobs/", _FOLDER, 0, 0) + _header("blobs/sha256/", _FOLDER, 0, 0)
    for digest in sorted(blobs):
        blob = blobs[digest]
        name = _blob_path(digest)
        yield _header(name, _FILE, blob.size, blob.created_ns)
        if blob.data is not None:
            yield blob.data
        elif blob.chain is not None:
            async for piece in snapshots.layer_archive(blob.chain):
                yield piece
        yield bytes(-blob.size % _BLOCK)
    documents = {
        "index.json": _index(images, manifests),
        "manifest.json": _manifest_json(images, store),
        "oci-layout": _OCI_LAYOUT,
        "repositories": _repositories(images),
    }
    for name, data in documents.items():
        if data:
            yield _header(name, _FILE, len(data), 0) + data + bytes(-len(data) % _BLOCK)
    yield _TRAILER


def _collect(
    images: Sequence[SavedImage], store: ImageStore
) -> tuple[dict[str, _Blob], dict[str, bytes]]:
    """Every blob by digest, and each image's manifest by image id."""
    blobs: dict[str, _Blob] = {}
    manifests: dict[str, bytes] = {}
    for saved in images:
        image = saved.image
        raw = image.record.config.encode()
        blobs[image.id] = _Blob(len(raw), image.created_ns, data=raw)
        for layer in _layers(image, store):
            blobs[layer["digest"]] = _Blob(layer["size"], image.created_ns, chain=layer["chain"])
        manifest = _encode(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": image.id, "size": len(raw)},
                "layers": [_descriptor(layer) for layer in _layers(image, store)],
            }
        )
        manifests[image.id] = manifest
        blobs[digest_of(manifest)] = _Blob(len(manifest), 0, data=manifest)
    return blobs, manifests


def _layers(image: Image, store: ImageStore) -> list[dict[str, Any]]:
    found = []
    for chain, diff_id in zip(image.chain, image.config.rootfs.diff_ids, strict=True):
        size = store.layer(chain).archive_bytes
        found.append({"digest": diff_id, "size": size, "chain": chain})
    return found


def _descriptor(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {"mediaType": OCI_LAYER, "digest": layer["digest"], "size": layer["size"]}


def _index(images: Sequence[SavedImage], manifests: Mapping[str, bytes]) -> bytes:
    entries: list[dict[str, Any]] = []
    for saved in images:
        manifest = manifests[saved.image.id]
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(manifest),
            "size": len(manifest),
        }
        for ref in saved.references:
            notes = {
                "io.containerd.image.name": f"{ref.domain}/{ref.path}:{ref.tag}",
                "org.opencontainers.image.ref.name": ref.tag,
            }
            entries.append({**entry, "annotations": notes})
        if not saved.references:
            entries.append(entry)
    return _encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def _manifest_json(images: Sequence[SavedImage], store: ImageStore) -> bytes:
    saved_ids = {saved.image.id for saved in images}
    items = []
    for saved in images:
        image = saved.image
        layers = _layers(image, store)
        item: dict[str, Any] = {
            "Config": _blob_path(image.id),
            "RepoTags": [ref.familiar for ref in saved.references] or None,
            "Layers": [_blob_path(layer["digest"]) for layer in layers],
        }
        if image.parent in saved_ids:
            item["Parent"] = image.parent
        sources = {}
        for layer in layers:
            sources[layer["digest"]] = {
                "mediaType": OCI_LAYER,
                "size": layer["size"],
                "digest": layer["digest"],
            }
        if sources:
            item["LayerSources"] = sources
        items.append(item)
    return _encode(items)


def _repositories(images: Sequence[SavedImage]) -> bytes:
    """The oldest form's index: repository → tag → the topmost layer; empty without a tag."""
    found: dict[str, dict[str, str]] = {}
    for saved in images:
        diff_ids = saved.image.config.rootfs.diff_ids
        if not diff_ids:
            continue
        for ref in saved.references:
            top = diff_ids[-1].removeprefix("sha256:")
            found.setdefault(ref.name, {})[ref.tag or "latest"] = top
    return _encode(found) if found else b""


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def _blob_path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _header(name: str, kind: bytes, size: int, mtime_ns: int) -> bytes:
    """A ustar header; sizes past 8 GiB in base 256, as GNU tar writes them."""
    mode = b"0000755\0" if kind == _FOLDER else b"0000644\0"
    size_field = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    block = bytearray(_BLOCK)
    block[0 : len(name)] = name.encode()
    block[100:108] = mode
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size_field
    block[136:148] = b"%011o\0" % max(0, mtime_ns // NS)
    block[148:156] = b"        "
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
