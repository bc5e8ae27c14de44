"""The containers of an engine: its parts, put together, and their start and end."""

import os
from dataclasses import dataclass

from naru.containers.copying import Copying
from naru.containers.create import Creator
from naru.containers.deps import Deps
from naru.containers.execs import Execs
from naru.containers.files import Files
from naru.containers.health import HealthMonitor
from naru.containers.image_mounts import keys_of
from naru.containers.lifecycle import Lifecycle
from naru.containers.model import Container
from naru.containers.observe import Observe
from naru.containers.reconcile import Reconciler
from naru.containers.remove import Remover
from naru.containers.start import Recipe
from naru.containers.store import ContainerStore
from naru.containers.streams import Streams
from naru.containers.waits import Waits
from naru.images.model import ImageUse
from naru.storage.copy.service import ContainerCopy

HEALTH_FILE = "health.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """What the API works with. `open` once before the first request, `close` at the end."""

    deps: Deps
    store: ContainerStore
    creator: Creator
    lifecycle: Lifecycle
    remover: Remover
    waits: Waits
    streams: Streams
    execs: Execs
    observe: Observe
    files: Files
    copying: Copying
    health: HealthMonitor
    reconciler: Reconciler

    async def open(self) -> None:
        """Adopt what runs, finish or clear what was interrupted, start what policies want up."""
        await self.health.load(self.store)
        wanted = await self.reconciler.reconcile()
        known = {item.id for item in self.store} | set(self.store.damaged)
        known.update(key for item in self.store for key in keys_of(item))
        await self.deps.images.collect_garbage(known)
        self.deps.tasks.spawn("restart policies", self.reconciler.start_wanted(wanted))

    def close(self) -> None:
        """End the helpers; containers go on."""
        self.copying.close()

    def image_users(self, image_id: str) -> list[ImageUse]:
        """The containers made from an image, or that mount it."""
        return [
            ImageUse(item.id, item.state.status in ("running", "paused", "restarting"))
            for item in self.store
            if item.image_id == image_id or any(m.image_id == image_id for m in item.mounts)
        ]

    def volume_users(self, name: str) -> list[str]:
        """Ids of the containers that mount a volume; those that are being removed are through."""
        users = (item for item in self.store if item.state.status != "removing")
        return [item.id for item in users if _mounts(item, name)]


def _mounts(container: Container, volume: str) -> bool:
    return any(mount.type == "volume" and mount.name == volume for mount in container.mounts)


def _is_paused(deps: Deps, identifier: str) -> bool:
    container = deps.store.get(identifier)
    return container is not None and container.state.status == "paused"


def build(deps: Deps) -> Containers:
    """The parts, connected; nothing is started. `deps.store` must be loaded."""
    waits = Waits(deps.store)
    recipe = Recipe(deps)
    lifecycle = Lifecycle(deps, recipe, waits)
    remover = Remover(deps, lifecycle, recipe, waits)
    execs = Execs(deps)
    health = HealthMonitor(
        execs.probe,
        lifecycle.health_changed,
        lambda identifier: os.path.join(deps.settings.container_dir(identifier), HEALTH_FILE),
        lambda identifier: _is_paused(deps, identifier),
    )
    lifecycle.health = health
    lifecycle.auto_remove = remover.auto_remove
    containers = Containers(
        deps=deps,
        store=deps.store,
        creator=Creator(deps),
        lifecycle=lifecycle,
        remover=remover,
        waits=waits,
        streams=Streams(deps),
        execs=execs,
        observe=Observe(deps),
        files=Files(deps),
        copying=Copying(deps, ContainerCopy(deps.spawner)),
        health=health,
        reconciler=Reconciler(deps, lifecycle, recipe, remover),
    )
    deps.images.bind_users(containers.image_users)
    deps.volumes.bind_users(containers.volume_users)
    return containers
