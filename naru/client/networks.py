"""Networks: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from naru.client.wire import filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from naru.client.engine import Engine


def list_networks(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> list[Any]:
    return engine.get("/networks", {"filters": filters(wanted)}) or []


def create(engine: Engine, body: Any) -> tuple[str, str]:
    """The network's id and the engine's warning."""
    made = engine.post("/networks/create", None, body)
    return made["Id"], made.get("Warning") or ""


def remove(engine: Engine, name: str) -> None:
    engine.delete(f"/networks/{quote(name)}")


def connect(engine: Engine, network: str, body: Any) -> None:
    engine.post(f"/networks/{quote(network)}/connect", None, body)


def disconnect(engine: Engine, network: str, body: Any) -> None:
    engine.post(f"/networks/{quote(network)}/disconnect", None, body)


def prune(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> Any:
    return engine.post("/networks/prune", {"filters": filters(wanted)})
