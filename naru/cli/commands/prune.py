"""The prune commands: remove what nothing uses, after asking."""

from __future__ import annotations

import sys

from naru.base.units import human_size
from naru.cli.command import Command, CommandError
from naru.cli.confirm import confirmed
from naru.cli.flags import BOOL, FILTER, Flag, Flags
from naru.cli.formats import grouped
from naru.client import containers, images, networks, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

_FORCE = Flag("force", "f", BOOL, "Do not prompt for confirmation")
_UNTIL = Flag("filter", "", FILTER, 'Provide filter values (e.g. "until=<timestamp>")')
_LABEL = Flag("filter", "", FILTER, 'Provide filter values (e.g. "label=<label>")')


def agreed(values: Values, warning: str) -> bool:
    """Whether the user wants it: `--force`, or a `y` to the question."""
    return values["force"] or confirmed(f"WARNING! {warning}")


def wanted_filters(session: Session, values: Values) -> dict[str, list[str]]:
    """The filters given, with those of the user's configuration (`pruneFilters`)."""
    chosen = grouped(values["filter"])
    configured = session.config.get("pruneFilters")
    for text in configured if isinstance(configured, list) else ():
        name, _, value = str(text).partition("=")
        opposite = {"label": "label!", "label!": "label"}.get(name, "")
        if name in ("label", "label!") and value not in chosen.get(opposite, ()):
            chosen.setdefault(name, []).append(value)
    return chosen


def _report(title: str, lines: list[str], freed: int | None) -> None:
    if lines:
        sys.stdout.write(f"{title}\n" + "".join(line + "\n" for line in lines) + "\n")
    if freed is not None:
        sys.stdout.write(f"Total reclaimed space: {human_size(freed, 4)}\n")


def _containers(session: Session, wanted: dict[str, list[str]]) -> tuple[list[str], int]:
    gone = containers.prune(session.engine, wanted)
    return gone.get("ContainersDeleted") or [], gone.get("SpaceReclaimed") or 0


def _images(session: Session, wanted: dict[str, list[str]], every: bool) -> tuple[list[str], int]:
    chosen = {**wanted, "dangling": ["false" if every else "true"]}
    gone = images.prune(session.engine, chosen)
    return [_image_line(step) for step in gone.get("ImagesDeleted") or ()], gone.get(
        "SpaceReclaimed"
    ) or 0


def _image_line(step: Any) -> str:
    if step.get("Untagged"):
        return f"untagged: {step['Untagged']}"
    return f"deleted: {step['Deleted']}"


def _volumes(session: Session, wanted: dict[str, list[str]], every: bool) -> tuple[list[str], int]:
    chosen = dict(wanted)
    if every:
        if "all" in chosen:
            raise CommandError("conflicting options: cannot specify both --all and --filter all=1")
        chosen["all"] = ["true"]
    gone = volumes.prune(session.engine, chosen)
    return gone.get("VolumesDeleted") or [], gone.get("SpaceReclaimed") or 0


def prune_containers(session: Session, values: Values, arguments: list[str]) -> None:
    if agreed(values, "This will remove all stopped containers."):
        gone, freed = _containers(session, wanted_filters(session, values))
        _report("Deleted Containers:", gone, freed)


def prune_images(session: Session, values: Values, arguments: list[str]) -> None:
    every: bool = values["all"]
    warning = "This will remove all dangling images."
    if every:
        warning = "This will remove all images without at least one container associated to them."
    if agreed(values, warning):
        gone, freed = _images(session, wanted_filters(session, values), every)
        _report("Deleted Images:", gone, freed)


def prune_volumes(session: Session, values: Values, arguments: list[str]) -> None:
    what = "all local volumes" if values["all"] else "anonymous local volumes"
    if agreed(values, f"This will remove {what} not used by at least one container."):
        gone, freed = _volumes(session, wanted_filters(session, values), values["all"])
        _report("Deleted Volumes:", gone, freed)


def prune_networks(session: Session, values: Values, arguments: list[str]) -> None:
    warning = "This will remove all custom networks not used by at least one container."
    if agreed(values, warning):
        gone = networks.prune(session.engine, wanted_filters(session, values))
        _report("Deleted Networks:", gone.get("NetworksDeleted") or [], None)


def prune_system(session: Session, values: Values, arguments: list[str]) -> None:
    wanted = wanted_filters(session, values)
    if values["volumes"] and "until" in wanted:
        raise CommandError('ERROR: The "until" filter is not supported with "--volumes"')
    parts = ["all stopped containers", "all networks not used by at least one container"]
    if values["volumes"]:
        parts.append("all anonymous volumes not used by at least one container")
    parts.append(
        "all images without at least one container associated to them"
        if values["all"]
        else "all dangling images"
    )
    warning = "This will remove:\n" + "".join(f"  - {part}\n" for part in parts)
    if not agreed(values, warning):
        return
    total = 0
    gone, freed = _containers(session, wanted)
    _report("Deleted Containers:", gone, None)
    total += freed
    found = networks.prune(session.engine, wanted)
    _report("Deleted Networks:", found.get("NetworksDeleted") or [], None)
    if values["volumes"]:
        gone, freed = _volumes(session, wanted, False)
        _report("Deleted Volumes:", gone, None)
        total += freed
    gone, freed = _images(session, wanted, values["all"])
    _report("Deleted Images:", gone, None)
    _report("", [], total + freed)


CONTAINER_PRUNE = Command(
    prune_containers, "[OPTIONS]", "Remove all stopped containers", Flags(_UNTIL, _FORCE)
)
IMAGE_PRUNE = Command(
    prune_images,
    "[OPTIONS]",
    "Remove unused images",
    Flags(
        Flag("all", "a", BOOL, "Remove all unused images, not just dangling ones"), _UNTIL, _FORCE
    ),
)
VOLUME_PRUNE = Command(
    prune_volumes,
    "[OPTIONS]",
    "Remove unused local volumes",
    Flags(
        Flag("all", "a", BOOL, "Remove all unused volumes, not just anonymous ones"),
        _LABEL,
        _FORCE,
    ),
)
NETWORK_PRUNE = Command(
    prune_networks, "[OPTIONS]", "Remove all unused networks", Flags(_UNTIL, _FORCE)
)
SYSTEM_PRUNE = Command(
    prune_system,
    "[OPTIONS]",
    "Remove unused data",
    Flags(
        Flag("all", "a", BOOL, "Remove all unused images not just dangling ones"),
        _LABEL,
        _FORCE,
        Flag("volumes", "", BOOL, "Prune anonymous volumes"),
    ),
)
