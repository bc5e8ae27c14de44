"""An image as the Engine API shows it: inspect, the list's summary, history. Pure.

Spec: Engine API 1.51, `ImageInspect`, `ImageSummary`, `HistoryResponseItem`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from naru.base.clock import NS, ZERO_TIME, parse_rfc3339, rfc3339
from naru.base.errors import InvalidParameter
from naru.images.model import Image
from naru.spec.oci.image import History, RunConfig

LayerSize = Callable[[str], int]


def inspect_image(image: Image, graph_driver: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `GET /images/{name}/json`."""
    config = image.config
    extra = msgspec.json.decode(image.record.config, type=_Extra)
    history = config.history or []
    answer: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": extra.comment or (history[-1].comment if history else ""),
        "Created": rfc3339(image.created_ns) if image.created_ns else ZERO_TIME,
        "DockerVersion": extra.docker_version,
        "Author": config.author,
        "Config": run_config_json(image.run_config),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "OsVersion": config.os_version,
        "Size": image.size_bytes,
        "GraphDriver": dict(graph_driver),
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {
            "LastTagTime": rfc3339(image.last_tagged_ns) if image.last_tagged_ns else ZERO_TIME
        },
    }
    if not config.rootfs.diff_ids:
        del answer["RootFS"]["Layers"]
    for optional in ("Variant", "OsVersion"):
        if not answer[optional]:
            del answer[optional]
    return answer


class _Extra(msgspec.Struct):
    comment: str = ""
    docker_version: str = ""


def run_config_json(config: RunConfig) -> dict[str, Any]:
    """The image's `Config`: what has no value is shown as null, or left out where Docker does."""
    shown: dict[str, Any] = {
        "Cmd": config.cmd or None,
        "Entrypoint": config.entrypoint or None,
        "Env": config.env or None,
        "Labels": config.labels or None,
        "OnBuild": config.on_build or None,
        "User": config.user,
        "Volumes": config.volumes or None,
        "WorkingDir": config.working_dir,
    }
    optional = {
        "ArgsEscaped": config.args_escaped,
        "ExposedPorts": config.exposed_ports,
        "Healthcheck": config.healthcheck,
        "Shell": config.shell,
        "StopSignal": config.stop_signal,
    }
    shown.update({name: value for name, value in optional.items() if value})
    return {name: msgspec.to_builtins(shown[name]) for name in sorted(shown)}


def summarize(image: Image, containers: int, shared_bytes: int) -> dict[str, Any]:
    """One entry of `GET /images/json`; `shared_bytes` -1: not asked for."""
    return {
        "Containers": containers,
        "Created": image.created_ns // NS if image.created_ns else -62135596800,
        "Id": image.id,
        "Labels": image.run_config.labels,
        "ParentId": image.parent,
        "RepoDigests": image.repo_digests,
        "RepoTags": image.repo_tags,
        "SharedSize": shared_bytes,
        "Size": image.size_bytes,
    }


def history_of(
    image: Image, layer_size: LayerSize, parent_of: Callable[[str], Image | None]
) -> list[dict[str, Any]]:
    """`GET /images/{name}/history`, the newest step first.

    A step's id is known where the image of that step is in the store (it was committed or built
    here); every other is `<missing>`.
    """
    steps: list[dict[str, Any]] = []
    chains = iter(image.chain)
    entries = image.config.history or [History() for _ in image.chain]
    for entry in entries:
        size = 0
        if not entry.empty_layer:
            chain = next(chains, None)
            size = layer_size(chain) if chain is not None else 0
        steps.append(
            {
                "Comment": entry.comment,
                "Created": _seconds(entry.created),
                "CreatedBy": entry.created_by,
                "Id": "<missing>",
                "Size": size,
                "Tags": None,
            }
        )
    steps.reverse()
    step_image: Image | None = image
    for step in steps:
        if step_image is None:
            break
        step["Id"] = step_image.id
        step["Tags"] = step_image.repo_tags or None
        step_image = parent_of(step_image.parent) if step_image.parent else None
    return steps


def _seconds(text: str) -> int:
    try:
        return parse_rfc3339(text) // NS if text else -62135596800
    except InvalidParameter:
        return -62135596800
