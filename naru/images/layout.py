"""Which images an archive holds: `docker save`'s manifest.json, or an OCI layout's index. Pure.

Spec: Docker image specification 1.2 "Combined Image JSON + Filesystem Changeset Format"; OCI image
layout 1.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from naru.base.errors import InvalidParameter
from naru.spec.oci.digest import digest_of, parse_digest
from naru.spec.oci.image import DOCKER_INDEX, OCI_INDEX, Descriptor, Index, Manifest, Platform
from naru.spec.oci.reference import Reference, check_name, parse_reference

MANIFEST_LIMIT_BYTES = 4 << 20
IMAGES_LIMIT = 1000
_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_DEPTH_LIMIT = 4

Read = Callable[[str, int], bytes]
T = TypeVar("T")


class ManifestItem(Struct, kw_only=True, rename="pascal"):
    """One image in manifest.json. `layers` are names of members, the lowest first."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None
    parent: str = ""
    layer_sources: dict[str, Descriptor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image in an archive: names of members, with the digests they must have where told."""

    config: str
    config_digest: str | None
    layers: tuple[str, ...]
    layer_digests: tuple[str | None, ...]
    layer_sizes: tuple[int | None, ...]
    references: tuple[Reference, ...]
    parent: str = ""


def read_layout(
    has: Callable[[str], bool], read: Read, platform: Platform | None
) -> list[ImageSource]:
    """The archive's images; those of another `platform` are left out of an index.

    Raises: InvalidParameter, when there is neither a manifest.json nor an index.json, or when one
    of them is wrong.
    """
    if has("manifest.json"):
        items = _decode(read("manifest.json", MANIFEST_LIMIT_BYTES), list[ManifestItem])
        sources = [_from_item(item) for item in items]
    elif has("index.json"):
        index = _decode(read("index.json", MANIFEST_LIMIT_BYTES), Index)
        sources = _Walk(read, platform).images(index)
    else:
        raise InvalidParameter(
            "invalid archive: it holds neither manifest.json (docker save) nor index.json "
            "(OCI image layout)"
        )
    if len(sources) > IMAGES_LIMIT:
        raise InvalidParameter(f"invalid archive: more than {IMAGES_LIMIT} images")
    return sources


def _decode(raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidParameter(f"invalid archive: broken manifest: {error}") from error


def _from_item(item: ManifestItem) -> ImageSource:
    references = []
    for text in item.repo_tags or ():
        ref = parse_reference(text)
        if ref.tag is None or ref.digest is not None:
            raise InvalidParameter(f"invalid tag {text!r}")
        check_name(ref)
        references.append(ref)
    layers = tuple(item.layers or ())
    return ImageSource(
        config=item.config,
        config_digest=_digest_in_name(item.config),
        layers=layers,
        layer_digests=tuple(_digest_in_name(name) for name in layers),
        layer_sizes=(None,) * len(layers),
        references=tuple(references),
        parent=item.parent,
    )


def _digest_in_name(name: str) -> str | None:
    """The digest that a member's name promises: `blobs/sha256/…`, or `….json` of old archives."""
    head, _, base = name.rpartition("/")
    promised = "sha256:" + base.removesuffix(".json")
    if head not in ("blobs/sha256", ""):
        return None
    try:
        return parse_digest(promised)
    except InvalidParameter:
        return None


def _blob_name(descriptor: Descriptor) -> str:
    return "blobs/sha256/" + parse_digest(descriptor.digest).removeprefix("sha256:")


def _blob(descriptor: Descriptor, read: Read) -> bytes:
    raw = read(_blob_name(descriptor), MANIFEST_LIMIT_BYTES)
    if digest_of(raw) != descriptor.digest:
        raise InvalidParameter(f"invalid archive: {descriptor.digest} has another digest")
    if len(raw) != descriptor.size:
        raise InvalidParameter(
            f"invalid archive: {descriptor.digest} has {len(raw)} bytes, not {descriptor.size}"
        )
    return raw


@dataclass(slots=True)
class _Walk:
    """A walk through indexes, which may name each other over and over: its steps are counted."""

    read: Read
    platform: Platform | None
    steps: int = 0

    def images(
        self, index: Index, references: tuple[Reference, ...] = (), depth: int = 0
    ) -> list[ImageSource]:
        if depth > _DEPTH_LIMIT:
            raise InvalidParameter("invalid archive: indexes within indexes without end")
        sources: list[ImageSource] = []
        for descriptor in index.manifests:
            self.steps += 1
            if self.steps > IMAGES_LIMIT:
                raise InvalidParameter(f"invalid archive: more than {IMAGES_LIMIT} images")
            if not _wanted(descriptor, self.platform):
                continue
            named = _references(descriptor) or references
            raw = _blob(descriptor, self.read)
            kinds = _decode(raw, _Kinds)
            if descriptor.media_type in (OCI_INDEX, DOCKER_INDEX):
                if kinds.layers is not None:
                    raise InvalidParameter("invalid archive: an index that is also a manifest")
                sources += self.images(_decode(raw, Index), named, depth + 1)
            else:
                if kinds.manifests is not None:
                    raise InvalidParameter("invalid archive: a manifest that is also an index")
                sources.append(_from_manifest(_decode(raw, Manifest), named))
        return sources


class _Kinds(Struct):
    """What tells a manifest from an index: one document is never both."""

    layers: list[msgspec.Raw] | None = None
    manifests: list[msgspec.Raw] | None = None


def _from_manifest(manifest: Manifest, references: tuple[Reference, ...]) -> ImageSource:
    return ImageSource(
        config=_blob_name(manifest.config),
        config_digest=manifest.config.digest,
        layers=tuple(_blob_name(layer) for layer in manifest.layers),
        layer_digests=tuple(layer.digest for layer in manifest.layers),
        layer_sizes=tuple(layer.size for layer in manifest.layers),
        references=references,
    )


def _wanted(descriptor: Descriptor, platform: Platform | None) -> bool:
    """Attestations are no images; other platforms are not for this machine."""
    found = descriptor.platform
    if not isinstance(found, Platform):
        return True
    if "unknown" in (found.architecture, found.os):
        return False
    if platform is None:
        return True
    return (found.os, found.architecture) == (platform.os, platform.architecture)


def _references(descriptor: Descriptor) -> tuple[Reference, ...]:
    notes = descriptor.annotations
    if not isinstance(notes, dict):
        return ()
    text = notes.get(_NAME)
    if text is None:
        text = notes.get(_REF_NAME, "")
        if ":" not in text.rpartition("/")[2]:
            return ()
    ref = parse_reference(text).with_default_tag()
    check_name(ref)
    return (ref,) if ref.digest is None else ()
