"""Removal: DELETE /containers/{id} and prune. Finished at the next start when it was interrupted.

The record goes last: until then it says `removing`, so that a new narud knows what to finish.
"""

import logging

from msgspec.structs import replace

from naru.base.clock import now_ns, parse_timestamp
from naru.base.errors import Conflict, NaruError, NotFound
from naru.base.failpoints import declare
from naru.base.filters import Filters, matches_labels
from naru.containers import labels, state
from naru.containers.deps import Deps
from naru.containers.lifecycle import Lifecycle, patiently
from naru.containers.model import Container
from naru.containers.start import Recipe
from naru.containers.waits import Waits
from naru.kernel.threads import offload

log = logging.getLogger("naru.containers")

REMOVE_MARKED = declare("remove.marked")
REMOVE_CLEARED = declare("remove.cleared")
REMOVE_SNAPSHOT = declare("remove.snapshot-gone")
REMOVE_FILES = declare("remove.files-gone")
REMOVE_RECORD = declare("remove.record-gone")

_AUTO_REMOVE_TRIES = 8
_ADVICE = {
    "running": "container is running: stop the container before removing or force remove",
    "paused": "container is paused and must be unpaused first",
    "restarting": "container is restarting: stop the container before removing or force remove",
}


class Remover:
    def __init__(self, deps: Deps, lifecycle: Lifecycle, recipe: Recipe, waits: Waits) -> None:
        self._deps, self._lifecycle = deps, lifecycle
        self._recipe, self._waits = recipe, waits

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """`volumes`: its anonymous volumes too. Raises: NotFound, Conflict."""
        store = self._deps.store
        container = store.find(ref)
        advice = _ADVICE.get(container.state.status)
        if advice is not None:
            if not force:
                raise Conflict(f'cannot remove container "{ref}": {advice}')
            await self._lifecycle.end(container)
        elif container.state.status == "removing" and store.lock(container.id).locked():
            if force:
                async with store.lock(container.id):
                    return
            raise Conflict(f"removal of container {ref} is already in progress")
        async with store.lock(container.id):
            now = store.get(container.id)
            if now is None:
                if force:
                    return
                raise NotFound(f"No such container: {ref}")
            await self._remove_locked(now, volumes)

    async def _remove_locked(self, container: Container, volumes: bool) -> None:
        store = self._deps.store
        marked = replace(state.apply(container, "remove"), remove_volumes=volumes)
        await store.put(marked)
        REMOVE_MARKED()
        try:
            await self.finish(marked)
        except (NaruError, OSError) as error:
            failed = state.apply(marked, "remove-failed")
            await store.put(failed)
            self._waits.removed(failed, str(error))
            raise
        self._waits.removed(marked)
        self._deps.emit("container", "destroy", container.id, labels.of_event(container))

    async def finish(self, container: Container) -> None:
        """Everything that removal takes away, the record last; may be run again."""
        deps = self._deps
        await self._recipe.clear(container.id)
        REMOVE_CLEARED()
        await deps.snapshots.remove(container.id)
        await deps.image_mounts.unpin(container)
        REMOVE_SNAPSHOT()
        await offload(deps.snapshots.trash.discard, deps.settings.container_dir(container.id))
        REMOVE_FILES()
        if container.remove_volumes:
            await self._remove_volumes(container)
        await deps.store.forget(container.id)
        REMOVE_RECORD()
        self._lifecycle.forget(container.id)

    async def _remove_volumes(self, container: Container) -> None:
        for mount in container.mounts:
            if mount.type != "volume" or not mount.anonymous:
                continue
            try:
                await self._deps.volumes.remove(mount.name, force=True)
            except (Conflict, NotFound) as error:
                log.info("volume %s stays: %s", mount.name[:12], error)

    def auto_remove(self, identifier: str) -> None:
        """`--rm`: remove in the background, with the anonymous volumes."""
        self._deps.tasks.spawn(f"auto-remove {identifier[:12]}", self._auto_remove(identifier))

    async def _auto_remove(self, identifier: str) -> None:
        async def remove() -> None:
            async with self._deps.store.lock(identifier):
                container = self._deps.store.get(identifier)
                if container is None or not state.allowed(container.state.status, "remove"):
                    return  # gone, or started again: its next end is the time
                await self._remove_locked(container, volumes=True)

        await patiently(f"automatic removal of {identifier[:12]}", remove, _AUTO_REMOVE_TRIES)

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove what does not run; (ids, bytes won). Filters: until, label, label!."""
        now = now_ns()
        before = [parse_timestamp(value, now) for value in filters.get("until", ())]
        removed: list[str] = []
        won_bytes = 0
        for container in self._deps.store:
            if container.state.status not in ("created", "exited", "dead"):
                continue
            if before and container.created_ns >= min(before):
                continue
            own = container.config.labels or {}
            unwanted = filters.get("label!", ())
            if not matches_labels(filters.get("label", ()), own) or (
                unwanted and matches_labels(unwanted, own)
            ):
                continue
            try:
                size = await self._deps.snapshots.usage(container.id)
                await self.remove(container.id)
            except (Conflict, NotFound) as error:
                log.info("prune leaves %s: %s", container.name, error)
                continue
            removed.append(container.id)
            won_bytes += size
        self._deps.emit("container", "prune", "", {"reclaimed": str(won_bytes)})
        return removed, won_bytes
