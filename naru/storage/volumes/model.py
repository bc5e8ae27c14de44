"""A volume as it is recorded, what may be its name, and which of them a list shows. Pure."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from naru.base.clock import rfc3339
from naru.base.errors import InvalidParameter
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.base.ids import NAME_RULE, is_name

KIND = "volume"
LOCAL = "local"
ANONYMOUS = "com.docker.volume.anonymous"
LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})
_LONGEST_NAME = 255


class Volume(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """`pending_for`: the container for whose creation it was made, until that one is committed, or
    other work that is under way. `renamed_from`: while its directory is on the way to this name.
    `place`: where a plugin has mounted it.
    """

    name: str
    created_ns: int
    driver: str = LOCAL
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    pending_for: str = ""
    renamed_from: str = ""
    scope: str = LOCAL
    place: str = ""

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS in (self.labels or {})


def check_name(name: str) -> None:
    """Raises: InvalidParameter in Docker's words."""
    if len(name.encode(errors="replace")) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric "
            "characters"
        )
    if not is_name(name):
        raise InvalidParameter(
            f"create {name}: {json.dumps(name, ensure_ascii=False)} includes invalid characters "
            f'for a local volume name, only "{NAME_RULE}" are allowed. If you intended to pass a '
            "host directory, use absolute path"
        )
    if len(name) > _LONGEST_NAME:
        raise InvalidParameter(
            f"create {name}: the volume's name has {len(name)} characters: at most "
            f"{_LONGEST_NAME} are allowed"
        )


def select(
    volumes: Iterable[Volume], filters: Filters, in_use: Callable[[str], bool]
) -> tuple[Volume, ...]:
    """Those that all `filters` let through, by name. Raises: InvalidParameter."""
    dangling = parse_bool(filters, "dangling")
    names = [_pattern(text) for text in filters.get("name", ())]
    drivers = filters.get("driver", ())
    return tuple(
        volume
        for volume in sorted(volumes, key=lambda item: item.name)
        if (not drivers or volume.driver in drivers)
        and (not names or any(pattern.search(volume.name) for pattern in names))
        and matches_labels(filters.get("label", ()), volume.labels or {})
        and (dangling is None or dangling is not in_use(volume.name))
    )


def describe(volume: Volume, mount_point: str) -> dict[str, Any]:
    """The volume as the Engine API shows it. Spec: Engine API 1.51, `Volume`."""
    return {
        "CreatedAt": rfc3339(volume.created_ns // 10**9 * 10**9),
        "Driver": volume.driver,
        "Labels": volume.labels,
        "Mountpoint": mount_point,
        "Name": volume.name,
        "Options": volume.options,
        "Scope": volume.scope,
    }


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text))
