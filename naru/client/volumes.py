"""Volumes: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from naru.client.wire import filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from naru.client.engine import Engine


def list_volumes(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> list[Any]:
    return engine.get("/volumes", {"filters": filters(wanted)})["Volumes"] or []


def create(engine: Engine, body: Any) -> str:
    """The volume's name."""
    name: str = engine.post("/volumes/create", None, body)["Name"]
    return name


def remove(engine: Engine, name: str, force: bool) -> None:
    engine.delete(f"/volumes/{quote(name)}", {"force": True if force else None})


def prune(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> Any:
    return engine.post("/volumes/prune", {"filters": filters(wanted)})
