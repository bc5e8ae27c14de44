"""How much disk the images take, alone and together. Pure.

Spec: Engine API 1.51, SystemDataUsage: LayersSize, SharedSize, and the image's Size.
"""

from dataclasses import dataclass

from naru.images.store import ImageStore


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """`layers_bytes`: every layer once. `shared`: per image, of layers that another has too."""

    layers_bytes: int
    shared: dict[str, int]


def shared_bytes(store: ImageStore) -> dict[str, int]:
    """Per image id: the bytes of those of its layers that another image has too."""
    users: dict[str, int] = {}
    chains = {image_id: store.chain_of(image_id) for image_id in store.ids()}
    for chain in chains.values():
        for link in chain:
            users[link] = users.get(link, 0) + 1
    sizes = {link: layer.size_bytes for link, layer in store.layers().items()}
    return {
        image_id: sum(sizes.get(link, 0) for link in chain if users[link] > 1)
        for image_id, chain in chains.items()
    }


def layer_usage(store: ImageStore) -> LayerUsage:
    total = sum(layer.size_bytes for layer in store.layers().values())
    return LayerUsage(total, shared_bytes(store))
