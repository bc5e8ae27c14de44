"""Volumes: list, create, inspect, remove, prune.

Spec: Engine API 1.51, Volume.
"""

from typing import Any

from msgspec import Struct, field

from naru.base.errors import NotFound, Unavailable
from naru.engine.api.call import NO_CONTENT, Call, json_answer
from naru.engine.api.missing import NO_SWARM
from naru.engine.api.router import Route
from naru.http.message import Answer
from naru.storage.volumes import upkeep
from naru.storage.volumes.model import (
    LIST_FILTERS,
    LOCAL,
    PRUNE_FILTERS,
    Volume,
    describe,
    select,
)
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
    filters = call.filters(LIST_FILTERS)
    remote, warnings = await volumes.plugins.list()
    found = {volume.name: shown(volumes, volume) for volume in volumes.list(filters)}
    for driver, theirs in remote.items():
        for item in theirs:
            known = volumes.records.get(item.name)
            if known is None:
                other = Volume(name=item.name, created_ns=0, driver=driver)
                if select((other,), filters, lambda name: False):
                    found[item.name] = describe(other, item.mountpoint)
            elif known.driver == driver and item.name in found:
                found[item.name]["Mountpoint"] = item.mountpoint
    bodies = [found[name] for name in sorted(found)]
    return json_answer({"Volumes": bodies, "Warnings": warnings or None})


async def create(call: Call) -> Answer:
    body = await call.decode_optional(VolumeCreate) or VolumeCreate()
    if body.cluster_volume_spec is not None:
        raise Unavailable(NO_SWARM)
    volumes = call.services.volumes
    volume = await volumes.create(body.name or None, body.driver, body.driver_opts, body.labels)
    return json_answer(shown(volumes, volume), 201)


async def inspect(call: Call) -> Answer:
    volumes = call.services.volumes
    volume = await volumes.discover(call.name) or volumes.get(call.name)
    body = shown(volumes, volume)
    if volume.driver != LOCAL:
        theirs = await volumes.plugins.get(volume.driver, volume.name)
        if theirs is None:
            raise NotFound(f"get {call.name}: no such volume")
        body["Mountpoint"] = theirs.mountpoint
        if theirs.status is not None:
            body["Status"] = theirs.status
    return json_answer(body)


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
