"""`naru system df`: where the disk space went."""

from __future__ import annotations

import sys
import time

from naru.base.units import human_size
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT
from naru.cli.nouns_container import CONTAINER
from naru.cli.nouns_image import IMAGE, VOLUME, image_rows
from naru.cli.render import Noun, View, render, show
from naru.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("format", "", STRING_FORMAT, FORMAT_HELP),
    Flag("verbose", "v", BOOL, "Show detailed information on space usage"),
)
USAGE = Noun(
    "*formatter.diskUsageContext",
    {
        "Active": lambda item, view: str(item["active"]),
        "Reclaimable": lambda item, view: _reclaimable(item),
        "Size": lambda item, view: human_size(item["size"]),
        "TotalCount": lambda item, view: str(item["total"]),
        "Type": lambda item, view: item["type"],
    },
    {"TotalCount": "TOTAL"},
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)


def _reclaimable(item: Any) -> str:
    text = human_size(item["free"])
    return f"{text} ({item['free'] * 100 // item['size']}%)" if item["size"] > 0 else text


def _row(kind: str, total: int, active: int, size: int, free: int) -> dict[str, Any]:
    return {"type": kind, "total": total, "active": active, "size": size, "free": free}


def _image_row(usage: Any) -> dict[str, Any]:
    items = usage.get("Images") or []
    total = usage.get("LayersSize") or 0
    used = 0
    for item in items:
        if item.get("Containers", 0) > 0 and item["Size"] != -1 and item["SharedSize"] != -1:
            used += item["Size"] - item["SharedSize"]
    active = sum(item.get("Containers", 0) > 0 for item in items)
    free = total - used
    row = _row("Images", len(items), active, total, max(free, 0) if used or not active else free)
    row["percent"] = True
    return row


def _container_row(items: list[Any]) -> dict[str, Any]:
    alive = ("running", "paused", "restarting")
    active = sum(item["State"] in alive for item in items)
    size = sum(item.get("SizeRw") or 0 for item in items)
    free = sum(item.get("SizeRw") or 0 for item in items if item["State"] not in alive)
    return _row("Containers", len(items), active, size, free)


def _volume_row(items: list[Any]) -> dict[str, Any]:
    measured = [item["UsageData"] for item in items if item.get("UsageData")]
    known = [data for data in measured if data["Size"] != -1]
    size = sum(data["Size"] for data in known)
    free = sum(data["Size"] for data in known if data["RefCount"] == 0)
    active = sum(data["RefCount"] > 0 for data in measured)
    return _row("Local Volumes", len(items), active, size, free)


def _cache_row(items: list[Any]) -> dict[str, Any]:
    size = sum(item["Size"] for item in items if not item.get("Shared"))
    free = sum(item["Size"] for item in items if not item.get("InUse") and not item.get("Shared"))
    active = sum(bool(item.get("InUse")) for item in items)
    return _row("Build Cache", len(items), active, size, free)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    usage = system.disk_usage(session.engine)
    form: str = values["format"]
    if values["verbose"]:
        if form not in ("", "table"):
            raise CommandError("--format has no effect together with --verbose; leave one out")
        _details(usage)
        return
    rows = [
        _image_row(usage),
        _container_row(usage.get("Containers") or []),
        _volume_row(usage.get("Volumes") or []),
        _cache_row(usage.get("BuildCache") or []),
    ]
    show(USAGE, rows, View(), form)


def _details(usage: Any) -> None:
    view = View(size=True, now=time.time())
    out = ["Images space usage:\n\n"]
    columns = (
        "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize",
        "Containers",
    )  # fmt: skip
    rows = image_rows(usage.get("Images") or [], False)
    out.append(render(IMAGE, rows, view, "", columns))
    out.append("\nContainers space usage:\n\n")
    columns = (
        "ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names",
    )  # fmt: skip
    containers = [{**item, "SizeRootFs": 0} for item in usage.get("Containers") or []]
    out.append(render(CONTAINER, containers, view, "", columns))
    out.append("\nLocal Volumes space usage:\n\n")
    out.append(render(VOLUME, usage.get("Volumes") or [], view, "", ("Name", "Links", "Size")))
    cache = _cache_row(usage.get("BuildCache") or [])
    out.append(f"\nBuild cache usage: {human_size(cache['size'])}\n\n")
    sys.stdout.write("".join(out))


DF = Command(run, "[OPTIONS]", "Show disk usage", FLAGS)
