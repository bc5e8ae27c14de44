"""From what a person wrote to an image: a tag, a digest, an id or the beginning of one.

Spec: Engine API, "image name or ID"; a tag outweighs an id that looks the same.
"""

import re

from naru.base.errors import NotFound
from naru.images.model import Image
from naru.images.store import ImageStore
from naru.spec.oci.reference import Reference, parse_reference

_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})\Z")
_WHOLE = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")


def is_id_prefix(image_id: str, text: str) -> bool:
    """Whether `text` is the beginning of `image_id`, with or without the algorithm."""
    return bool(text) and (
        image_id.startswith(text) or image_id.removeprefix("sha256:").startswith(text)
    )


def is_whole_id(text: str) -> bool:
    return _WHOLE.match(text) is not None


def no_such_image(shown: str) -> NotFound:
    return NotFound(f"No such image: {shown}")


def resolve(store: ImageStore, text: str) -> Image:
    """Raises: NotFound (`No such image: x:latest`); InvalidParameter for what is no reference."""
    if is_whole_id(text):
        image_id = text if text.startswith("sha256:") else f"sha256:{text}"
        image = store.get(image_id)
        if image is None:
            raise no_such_image(image_id)
        return image
    ref = parse_short(text)
    if ref is not None:
        found = store.lookup(ref.with_default_tag())
        if found is not None and (image := store.get(found)) is not None:
            return image
    match = _HEX.match(text)
    if match is not None:
        ids = [known for known in store.ids() if is_id_prefix(known, match[1])]
        if len(ids) == 1 and (image := store.get(ids[0])) is not None:
            return image
    raise no_such_image(text if ref is None else ref.with_default_tag().familiar)


def parse_short(text: str) -> Reference | None:
    """`text` as a reference; None when it can only be the beginning of an id (`sha256:12ab`)."""
    if text.startswith("sha256:") and _HEX.match(text):
        return None
    return parse_reference(text)
