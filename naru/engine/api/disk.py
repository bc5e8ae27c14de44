"""GET /system/df: what takes how much disk.

Spec: Engine API 1.51, SystemDataUsage. The sum of it agrees with what `du` says.
"""

from typing import Any

import msgspec

from naru.base.errors import InvalidParameter
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.engine.api.summary import entry
from naru.engine.api.volumes import shown as shown_volume
from naru.http.message import Answer
from naru.storage.volumes.upkeep import usage as usage_of_volumes

_KINDS = ("container", "image", "volume", "build-cache")


async def usage(call: Call) -> Answer:
    """What is not asked for (`type=`) is null, as in Docker's answer."""
    kinds = call.query.get("type") or list(_KINDS)
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidParameter(f"unknown object type: {kind}")
    body: dict[str, Any] = {
        "LayersSize": 0,
        "Images": None,
        "Containers": None,
        "Volumes": None,
        "BuildCache": None,
    }
    if "image" in kinds:
        images = call.services.images
        body["LayersSize"] = images.usage().layers_bytes
        body["Images"] = images.list({}, everything=False, shared_size=True)
    if "container" in kinds:
        body["Containers"] = await _containers(call)
    if "volume" in kinds:
        body["Volumes"] = await _volumes(call)
    if "build-cache" in kinds:
        body["BuildCache"] = []
    if call.version < 42:
        body["BuilderSize"] = 0
    return json_answer(body)


async def _containers(call: Call) -> list[Any]:
    services = call.services
    shown: list[Any] = []
    for container in services.summaries.newest_first():
        sizes = await services.containers.files.size(container)
        body = entry(container, services.shown_image(container), services.volumes.data_dir)
        body["Status"] = services.status_of(container)
        body.update({name: size for name, size in zip(_SIZES, sizes, strict=True) if size})
        shown.append(msgspec.to_builtins(body))
    return shown


_SIZES = ("SizeRw", "SizeRootFs")


async def _volumes(call: Call) -> list[dict[str, Any]]:
    services = call.services
    sizes = await usage_of_volumes(services.volumes)
    shown = []
    for name, size in sizes.items():  # as in Docker, only those that lie on our disk
        body = shown_volume(services.volumes, services.volumes.get(name))
        body["UsageData"] = {"RefCount": len(services.containers.volume_users(name)), "Size": size}
        shown.append(body)
    return shown


async def prune_builds(call: Call) -> Answer:
    """There is no build cache yet, so nothing to give back."""
    await call.body()
    return json_answer({"CachesDeleted": None, "SpaceReclaimed": 0})


ROUTES = (
    Route("GET", "/system/df", usage),
    Route("POST", "/build/prune", prune_builds),
)
