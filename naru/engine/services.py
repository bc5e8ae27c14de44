"""What the API's handlers work with: one value, made by `wiring`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from naru.base.errors import NaruError
from naru.containers.model import Container
from naru.containers.service import Containers
from naru.engine import limits
from naru.engine.api.summary import Summaries, status_text
from naru.engine.config import Config
from naru.engine.events import EventBus
from naru.engine.host import Host
from naru.engine.inventory import Inventory
from naru.images.service import ImageService
from naru.network.service import NetworkService
from naru.storage.snapshots import Snapshots
from naru.storage.volumes.backups import Backups
from naru.storage.volumes.copies import Copies
from naru.storage.volumes.service import Volumes
from naru.storage.volumes.transfer import Transfers


@dataclass(slots=True, kw_only=True)
class Services:
    """`config` is replaced at a reload; everything else stays as long as the engine."""

    config: Config
    engine_id: str
    host: Host
    events: EventBus
    inventory: Inventory
    containers: Containers
    images: ImageService
    volumes: Volumes
    transfers: Transfers
    copies: Copies
    backups: Backups
    network: NetworkService
    snapshots: Snapshots
    summaries: Summaries

    async def warnings(self) -> list[str]:
        """What `info` and `naru system doctor` tell: limits that this kernel does not have,
        obstacles, and records that were set aside."""
        deps = self.containers.deps
        damaged = (
            f"container {identifier[:12]}: its record is damaged and was set aside ({reason})"
            for identifier, reason in deps.store.damaged.items()
        )
        obstacles = await self.network.obstacles()
        told = (
            *limits.warnings(deps.facts),
            *obstacles,
            *deps.db.set_aside,
            *self.snapshots.set_aside,
            *damaged,
        )
        return [f"WARNING: {text}" for text in told]

    def health_of(self, container_id: str) -> str | None:
        """`healthy`, `unhealthy`, `starting`; None without a health check."""
        health = self.containers.health.of(container_id)
        return None if health is None else health.status

    def shown_image(self, container: Container) -> str:
        """What a list shows as the container's image: its name as long as that still leads there.

        Spec: Engine API, `Image` of a container's summary.
        """
        return shown_image(self.images, container)

    def status_of(self, container: Container) -> str:
        return status_text(container, self.health_of(container.id), time.time_ns())[0]

    def graph_driver(self, container: Container) -> Mapping[str, Any]:
        """`GraphDriver` of inspect."""
        snapshots, identifier = self.snapshots, container.id
        data = {
            "ID": identifier,
            "LowerDir": ":".join(snapshots.lower_dirs(identifier)),
            "MergedDir": self.containers.deps.roots.path(identifier),
            "UpperDir": snapshots.upper_dir(identifier),
            "WorkDir": snapshots.work_dir(identifier),
        }
        return {"Data": data, "Name": "overlay2"}


def shown_image(images: ImageService, container: Container) -> str:
    name = container.config.image
    try:
        return name if images.resolve(name).id == container.image_id else container.image_id
    except NaruError:
        return container.image_id if name == container.image_id else name
