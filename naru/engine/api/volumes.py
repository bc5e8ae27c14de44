"""Volumes: list, create, inspect, remove, prune.

Spec: Engine API 1.51, Volume.
"""

from typing import Any

from msgspec import Struct, field

from naru.base.errors import Unavailable
from naru.engine.api.call import NO_CONTENT, Call, json_answer
from naru.engine.api.missing import NO_SWARM
from naru.engine.api.router import Route
from naru.http.message import Answer
from naru.storage.volumes import upkeep
from naru.storage.volumes.model import LIST_FILTERS, PRUNE_FILTERS, Volume, describe
from naru.storage.volumes.service import Volumes


class VolumeCreate(Struct, kw_only=True, rename="pascal"):
    """Body of POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = field(default=None)


def shown(volumes: Volumes, volume: Volume) -> dict[str, Any]:
    """Spec: Engine API 1.51, `Volume`."""
    return describe(volume, volumes.data_dir(volume.name))


async def list_volumes(call: Call) -> Answer:
    volumes = call.services.volumes
    found = volumes.list(call.filters(LIST_FILTERS))
    return json_answer({"Volumes": [shown(volumes, volume) for volume in found], "Warnings": None})


async def create(call: Call) -> Answer:
    body = await call.decode_optional(VolumeCreate) or VolumeCreate()
    if body.cluster_volume_spec is not None:
        raise Unavailable(NO_SWARM)
    volumes = call.services.volumes
    volume = await volumes.create(body.name or None, body.driver, body.driver_opts, body.labels)
    return json_answer(shown(volumes, volume), 201)


async def inspect(call: Call) -> Answer:
    volumes = call.services.volumes
    return json_answer(shown(volumes, volumes.get(call.name)))


async def remove(call: Call) -> Answer:
    await call.services.volumes.remove(call.name, force=call.flag("force"))
    return NO_CONTENT


async def update(call: Call) -> Answer:
    await call.body()
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


async def prune(call: Call) -> Answer:
    filters = dict(call.filters(PRUNE_FILTERS))
    if call.version < 42:
        filters["all"] = ("true",)
    services = call.services
    gone, freed = await upkeep.prune(services.volumes, filters, services.events.emit)
    return json_answer({"VolumesDeleted": list(gone), "SpaceReclaimed": freed})


ROUTES = (
    Route("GET", "/volumes", list_volumes),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("PUT", "/volumes/{name}", update),
    Route("DELETE", "/volumes/{name}", remove),
)
