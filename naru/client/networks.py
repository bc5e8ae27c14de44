"""Networks: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from naru.client.engine import named
from naru.client.wire import filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from naru.client.engine import Engine


def _path(name: str, rest: str = "") -> str:
    return f"/networks/{quote(named('network', name))}{rest}"


def list_networks(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> list[Any]:
    return engine.get("/networks", {"filters": filters(wanted)}) or []


def inspect(engine: Engine, name: str, verbose: bool = False) -> Any:
    return engine.get(_path(name), {"verbose": "true" if verbose else None})


def create(engine: Engine, body: Any) -> tuple[str, str]:
    """The network's id and the engine's warning.

    Engines before 1.44 make a second network of the same name unless they are told not to.
    """
    if engine.is_older_than("1.44"):
        body = {**body, "CheckDuplicate": True}
    made = engine.post("/networks/create", None, body)
    return made["Id"], made.get("Warning") or ""


def remove(engine: Engine, name: str) -> None:
    engine.delete(_path(name))


def connect(engine: Engine, network: str, container: str, endpoint: Any) -> None:
    path = _path(network, "/connect")
    body = {"Container": named("container", container), "EndpointConfig": endpoint}
    engine.post(path, None, body)


def disconnect(engine: Engine, network: str, container: str, force: bool) -> None:
    path = _path(network, "/disconnect")
    engine.post(path, None, {"Container": named("container", container), "Force": force})


def prune(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> Any:
    return engine.post("/networks/prune", {"filters": filters(wanted)})


def ports(engine: Engine) -> list[Any]:
    """Every published port with who reaches it: Naru's own call, that other engines lack."""
    return engine.get("/networks/naru/ports") or []
