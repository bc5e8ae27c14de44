"""What is done with whole volumes from outside of them: counted, pruned, filled from an image."""

from collections.abc import Callable, Mapping, Sequence

from naru.base.errors import Conflict
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.base.ids import new_id
from naru.kernel.threads import offload_bulk
from naru.storage.disk import explained
from naru.storage.volumes import fill, local_options
from naru.storage.volumes.model import LOCAL
from naru.storage.volumes.service import Volumes

Emit = Callable[[str, str, str, dict[str, str]], None]


async def usage(volumes: Volumes) -> Mapping[str, int]:
    """Bytes of the files of each volume that lies on our disk."""
    return {
        volume.name: await offload_bulk(fill.tree_bytes, volumes.data_dir(volume.name))
        for volume in volumes.list({})
        if volume.driver == LOCAL and not local_options.mounts(volume.options)
    }


async def prune(volumes: Volumes, filters: Filters, emit: Emit) -> tuple[Sequence[str], int]:
    """Remove unused anonymous volumes (`all`: named ones too); their names, bytes freed.

    Those with options stay, as in Docker: what they mount is not ours to throw away.
    """
    everything = parse_bool(filters, "all") is True
    gone, freed = [], 0
    unwanted = filters.get("label!", ())
    for volume in volumes.list({"label": filters.get("label", ())}):
        if volume.driver != LOCAL or volume.options or not (everything or volume.is_anonymous):
            continue
        if unwanted and matches_labels(unwanted, volume.labels or {}):
            continue
        if volumes.users(volume.name):
            continue
        size = await offload_bulk(fill.tree_bytes, volumes.data_dir(volume.name))
        try:
            await volumes.remove(volume.name, force=True)
        except Conflict:
            continue  # somebody took it meanwhile
        gone.append(volume.name)
        freed += size
    emit("volume", "prune", "", {"reclaimed": str(freed)})
    return gone, freed


async def copy_up(volumes: Volumes, name: str, rootfs: str, destination: str) -> None:
    """Fill an empty volume with what the mounted root file system has at `destination`.

    Nothing happens when the volume holds something, or the image has no directory there.
    Raises: NotFound, Internal (disk full).
    """
    holder = f"copy-up-{new_id()}"
    path = await volumes.acquire(name, holder)
    try:
        with explained(f"fill volume {name} from the image"):
            await offload_bulk(fill.copy_up, path, rootfs, destination)
    finally:
        await volumes.release(name, holder)
