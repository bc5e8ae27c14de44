"""What the store keeps of an image: its record, its tags, its layers, and who uses it.

An image's id is the digest of its configuration, which is kept as it came, byte for byte. Records:

- `image`, by id: `ImageRecord`; it becomes visible when its record is committed and not before.
- `tag`, by whole reference (`docker.io/library/busybox:latest`, or `…@sha256:…`): `TagRecord`.

Layers are kept by `storage.snapshots`. Reference counts are never stored: a layer is wanted while
an image names it, or a container's snapshot stands on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
from msgspec import Struct

from naru.base.clock import parse_rfc3339
from naru.base.errors import InvalidParameter
from naru.spec.oci.digest import chain_ids, digest_of
from naru.spec.oci.image import ImageConfig, RunConfig
from naru.spec.oci.reference import Reference

CONFIG_LIMIT_BYTES = 8 << 20
LAYERS_LIMIT = 500

Emit = Callable[[str, str, str, dict[str, str]], None]


class ImageRecord(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """`config` is the configuration's own text: its digest is `id`."""

    id: str
    config: str
    parent: str = ""
    last_tagged_ns: int = 0


class TagRecord(Struct, kw_only=True, frozen=True):
    image_id: str


class Image:
    """An image as the rest of Naru sees it; a value."""

    def __init__(
        self, record: ImageRecord, references: Sequence[Reference], size_bytes: int
    ) -> None:
        self.record = record
        self.id = record.id
        self.parent = record.parent
        self.last_tagged_ns = record.last_tagged_ns
        self.references = tuple(references)
        self.size_bytes = size_bytes

    @cached_property
    def config(self) -> ImageConfig:
        return decode_config(self.record.config.encode())

    @property
    def run_config(self) -> RunConfig:
        return self.config.config or RunConfig()

    @property
    def labels(self) -> Mapping[str, str]:
        return self.run_config.labels or {}

    @property
    def repo_tags(self) -> list[str]:
        return [ref.familiar for ref in self.references if ref.digest is None]

    @property
    def repo_digests(self) -> list[str]:
        return [ref.familiar for ref in self.references if ref.digest is not None]

    @cached_property
    def created_ns(self) -> int:
        """0 when the configuration does not say, or says what is no time."""
        try:
            return parse_rfc3339(self.config.created) if self.config.created else 0
        except InvalidParameter:
            return 0

    @cached_property
    def chain(self) -> tuple[str, ...]:
        """Chain ids of the layers, the lowest first."""
        return tuple(chain_ids(self.config.rootfs.diff_ids))

    @property
    def top_chain(self) -> str | None:
        return self.chain[-1] if self.chain else None


@dataclass(frozen=True, slots=True)
class ImageUse:
    """A container that was made from an image, or has it mounted."""

    container_id: str
    running: bool


UsersOf = Callable[[str], Sequence[ImageUse]]


def decode_config(raw: bytes) -> ImageConfig:
    """Raises: InvalidParameter, when `raw` is no image configuration that Naru can run."""
    if len(raw) > CONFIG_LIMIT_BYTES:
        raise InvalidParameter(
            f"invalid image configuration: {len(raw)} bytes, {CONFIG_LIMIT_BYTES} at most"
        )
    try:
        config = msgspec.json.decode(raw, type=ImageConfig)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidParameter(f"invalid image configuration: {error}") from error
    if len(config.rootfs.diff_ids) > LAYERS_LIMIT:
        raise InvalidParameter(
            f"invalid image configuration: {len(config.rootfs.diff_ids)} layers, "
            f"{LAYERS_LIMIT} at most"
        )
    return config


def encode_config(config: ImageConfig) -> tuple[str, str]:
    """The configuration's text and the image id that it makes."""
    raw = msgspec.json.encode(config)
    return raw.decode(), digest_of(raw)
