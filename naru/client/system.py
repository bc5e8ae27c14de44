"""The engine itself: version, info, disk usage, events."""

from __future__ import annotations

from naru.client.wire import filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from naru.client.engine import Engine


def version(engine: Engine) -> Any:
    return engine.get("/version")


def info(engine: Engine) -> Any:
    return engine.get("/info")


def disk_usage(engine: Engine) -> Any:
    return engine.get("/system/df")


def events(
    engine: Engine,
    since: str | None,
    until: str | None,
    wanted: Mapping[str, Iterable[str]],
) -> Iterator[Any]:
    parameters = {"since": since, "until": until, "filters": filters(wanted)}
    return engine.documents(engine.call("GET", "/events", parameters))
