"""Images: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from naru.client.wire import filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from naru.client.engine import Engine
    from naru.http.client import Response


def _path(name: str, rest: str = "") -> str:
    return f"/images/{quote(name, b'/')}{rest}"


def list_images(
    engine: Engine, every: bool, wanted: Mapping[str, Iterable[str]] | None = None
) -> list[Any]:
    parameters = {"all": True if every else None, "filters": filters(wanted or {})}
    return engine.get("/images/json", parameters) or []


def history(engine: Engine, name: str) -> list[Any]:
    return engine.get(_path(name, "/history")) or []


def tag(engine: Engine, source: str, repository: str, tag_name: str) -> None:
    engine.post(_path(source, "/tag"), {"repo": repository, "tag": tag_name or None})


def remove(engine: Engine, name: str, force: bool, keep_parents: bool) -> list[Any]:
    """What was untagged and deleted, in order."""
    parameters = {
        "force": True if force else None,
        "noprune": True if keep_parents else None,
    }
    return engine.delete(_path(name), parameters) or []


def prune(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> Any:
    return engine.post("/images/prune", {"filters": filters(wanted)})


def load(engine: Engine, archive: Iterable[bytes], quiet: bool) -> Iterator[Any]:
    headers = {"Content-Type": "application/x-tar"}
    parameters = {"quiet": quiet}
    return engine.documents(engine.call("POST", "/images/load", parameters, archive, headers))


def save(engine: Engine, names: list[str]) -> Response:
    return engine.call("GET", "/images/get", {"names": names})


def import_archive(
    engine: Engine, archive: Iterable[bytes] | None, parameters: Mapping[str, Any]
) -> Iterator[Any]:
    headers = {"Content-Type": "application/x-tar"} if archive is not None else {}
    return engine.documents(engine.call("POST", "/images/create", parameters, archive, headers))


def pull(engine: Engine, reference: str, platform: str) -> Iterator[Any]:
    """Progress of a pull; `reference` has its tag."""
    repository, _, tag_name = reference.rpartition(":")
    first, slash, _ = repository.partition("/")
    if not slash:
        repository = f"docker.io/library/{repository}"
    elif "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{repository}"
    parameters = {"fromImage": repository, "tag": tag_name, "platform": platform or None}
    return engine.documents(engine.call("POST", "/images/create", parameters, None))
