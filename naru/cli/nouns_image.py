"""How images, their history, volumes, networks and events read in a listing."""

from __future__ import annotations

from naru.base.units import human_duration, human_size
from naru.cli.render import Noun, View, ellipsis, utc_text, yes_no

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "<none>"
NOT_KNOWN = "N/A"


def short_id(identifier: str, view: View) -> str:
    return identifier if view.full else identifier.removeprefix("sha256:")[:12]


def _or_unknown(value: Any) -> str:
    return NOT_KNOWN if value is None or value < 0 else human_size(value)


def _count(value: Any) -> str:
    return NOT_KNOWN if value is None or value < 0 else str(value)


def _since(item: Any, view: View) -> str:
    created = item["Created"]
    return human_duration(view.now - created) + " ago" if created > 0 else NOT_KNOWN


def image_rows(items: list[Any], digests: bool) -> list[dict[str, Any]]:
    """One row for every tag of every image, or for every digest too."""
    rows = []
    for item in items:
        tags = [tag for tag in item.get("RepoTags") or () if tag != "<none>:<none>"]
        known = [text for text in item.get("RepoDigests") or () if text != "<none>@<none>"]
        by_repository: dict[str, list[str]] = {}
        for text in known:
            repository, _, digest = text.partition("@")
            by_repository.setdefault(repository, []).append(digest)
        for tag in tags:
            repository, _, name = tag.rpartition(":")
            found = by_repository.pop(repository, None) or [NONE]
            for digest in found if digests else found[:1]:
                rows.append({**item, "repository": repository, "tag": name, "digest": digest})
        for repository, found in by_repository.items():
            if tags and not digests:
                continue
            for digest in found:
                rows.append({**item, "repository": repository, "tag": NONE, "digest": digest})
        if not tags and not known:
            rows.append({**item, "repository": NONE, "tag": NONE, "digest": NONE})
    return rows


IMAGE = Noun(
    "*formatter.imageContext",
    {
        "Containers": lambda item, view: _count(item.get("Containers", -1)),
        "CreatedAt": lambda item, view: utc_text(item["Created"]),
        "CreatedSince": _since,
        "Digest": lambda item, view: item["digest"],
        "ID": lambda item, view: short_id(item["Id"], view),
        "Repository": lambda item, view: item["repository"],
        "SharedSize": lambda item, view: _or_unknown(item.get("SharedSize", -1)),
        "Size": lambda item, view: human_size(item["Size"], 3),
        "Tag": lambda item, view: item["tag"],
        "UniqueSize": lambda item, view: NOT_KNOWN
        if item.get("SharedSize", -1) < 0
        else human_size(item["Size"] - item["SharedSize"]),
        "VirtualSize": lambda item, view: human_size(item["Size"]),
    },
    {
        "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "ID": "IMAGE ID",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
    },
    ("Repository", "Tag", "ID", "CreatedSince", "Size"),
    raw=(
        "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\n"
        "created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    ),
)  # fmt: skip


def _history_time(item: Any, view: View) -> str:
    import time

    text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(item["Created"]))
    return text[:-5] + "Z" if text.endswith("+0000") else f"{text[:-2]}:{text[-2:]}"


def _created_by(item: Any, view: View) -> str:
    command: str = (item.get("CreatedBy") or "").replace("\t", " ")
    return command if view.full else ellipsis(command, 45)


HISTORY = Noun(
    "*image.historyContext",
    {
        "Comment": lambda item, view: item.get("Comment") or "",
        "CreatedAt": _history_time,
        "CreatedBy": _created_by,
        "CreatedSince": lambda item, view: _since(item, view)
        if view.human
        else _history_time(item, view),
        "ID": lambda item, view: item["Id"]
        if item["Id"] == "<missing>"
        else short_id(item["Id"], view),
        "Size": lambda item, view: human_size(item["Size"], 3)
        if view.human
        else str(item["Size"]),
    },
    {
        "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "CreatedSince": "CREATED",
        "ID": "IMAGE",
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)  # fmt: skip


def labels_text(item: Any, view: View) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((item.get("Labels") or {}).items()))


def label_of(item: Any, key: str) -> str:
    found: str = (item.get("Labels") or {}).get(key, "")
    return found


def _usage(item: Any, name: str) -> Any:
    return (item.get("UsageData") or {}).get(name, -1)


VOLUME = Noun(
    "*formatter.volumeContext",
    {
        "Availability": lambda item, view: NOT_KNOWN,
        "Driver": lambda item, view: item["Driver"],
        "Group": lambda item, view: NOT_KNOWN,
        "Labels": labels_text,
        "Links": lambda item, view: _count(_usage(item, "RefCount")),
        "Mountpoint": lambda item, view: item["Mountpoint"],
        "Name": lambda item, view: item["Name"],
        "Scope": lambda item, view: item["Scope"],
        "Size": lambda item, view: _or_unknown(_usage(item, "Size")),
        "Status": lambda item, view: NOT_KNOWN,
    },
    {"Name": "VOLUME NAME"},
    ("Driver", "Name"),
    label=label_of,
    raw="name: {{.Name}}\ndriver: {{.Driver}}\n",
)


def _short_fraction(clock: str) -> str:
    return clock.rstrip("0").rstrip(".") if "." in clock else clock


def _created_at(item: Any, view: View) -> str:
    """Docker shows Go's own form of a time here."""
    text: str = item["Created"]
    day, _, clock = text.partition("T")
    if clock.endswith("Z"):
        return f"{day} {_short_fraction(clock[:-1])} +0000 UTC"
    sign = "-" if "-" in clock else "+"
    clock, _, zone = clock.partition(sign)
    clock = _short_fraction(clock)
    return f"{day} {clock} {sign}{zone.replace(':', '')} {sign}{zone.replace(':', '')}"


NETWORK = Noun(
    "*network.networkContext",
    {
        "CreatedAt": _created_at,
        "Driver": lambda item, view: item["Driver"],
        "ID": lambda item, view: short_id(item["Id"], view),
        "IPv4": lambda item, view: yes_no(item.get("EnableIPv4", True)),
        "IPv6": lambda item, view: yes_no(item.get("EnableIPv6")),
        "Internal": lambda item, view: yes_no(item.get("Internal")),
        "Labels": labels_text,
        "Name": lambda item, view: item["Name"],
        "Scope": lambda item, view: item["Scope"],
    },
    {"CreatedAt": "CREATED AT", "ID": "NETWORK ID"},
    ("ID", "Name", "Driver", "Scope"),
    label=label_of,
    raw="network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
)
