"""Containers: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from binascii import a2b_base64

from naru.client.wire import decode, filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from naru.client.engine import Engine
    from naru.http.client import Hijacked, Response


def _path(name: str, rest: str = "") -> str:
    return f"/containers/{quote(name)}{rest}"


def list_containers(
    engine: Engine,
    every: bool = False,
    limit: int | None = None,
    size: bool = False,
    wanted: Mapping[str, Iterable[str]] | None = None,
) -> list[Any]:
    found = engine.get(
        "/containers/json",
        {
            "all": True if every else None,
            "limit": limit,
            "size": True if size else None,
            "filters": filters(wanted or {}),
        },
    )
    return found or []


def create(engine: Engine, name: str, platform: str, body: Any) -> tuple[str, list[str]]:
    """The new container's id and the engine's warnings.

    Raises: InvalidParameter for what an engine of this version would ignore.
    """
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    if any(endpoint.get("MacAddress") for endpoint in endpoints.values()):
        engine.require("1.44", "specify mac-address per network")
    answer = engine.post(
        "/containers/create", {"name": name or None, "platform": platform or None}, body
    )
    return answer["Id"], answer.get("Warnings") or []


def inspect(engine: Engine, name: str, size: bool = False) -> Any:
    return engine.get(_path(name, "/json"), {"size": True if size else None})


def start(engine: Engine, name: str, detach_keys: str = "") -> None:
    engine.post(_path(name, "/start"), {"detachKeys": detach_keys or None})


def stop(engine: Engine, name: str, timeout_s: int | None, signal: str) -> None:
    engine.post(_path(name, "/stop"), {"t": timeout_s, "signal": signal or None})


def restart(engine: Engine, name: str, timeout_s: int | None, signal: str) -> None:
    engine.post(_path(name, "/restart"), {"t": timeout_s, "signal": signal or None})


def kill(engine: Engine, name: str, signal: str) -> None:
    engine.post(_path(name, "/kill"), {"signal": signal or None})


def pause(engine: Engine, name: str) -> None:
    engine.post(_path(name, "/pause"))


def unpause(engine: Engine, name: str) -> None:
    engine.post(_path(name, "/unpause"))


def rename(engine: Engine, name: str, new_name: str) -> None:
    engine.post(_path(name, "/rename"), {"name": new_name})


def remove(
    engine: Engine, name: str, force: bool = False, volumes: bool = False, link: bool = False
) -> None:
    flags = {"force": force, "v": volumes, "link": link}
    engine.delete(_path(name), {flag: True for flag, on in flags.items() if on})


def update(engine: Engine, name: str, body: Any) -> list[str]:
    """The engine's warnings."""
    return (engine.post(_path(name, "/update"), None, body) or {}).get("Warnings") or []


def wait(engine: Engine, name: str, condition: str) -> Response:
    """The answer whose head says that the engine waits; its body comes when the wait is over."""
    return engine.call("POST", _path(name, "/wait"), {"condition": condition or None})


def top(engine: Engine, name: str, arguments: str) -> Any:
    return engine.get(_path(name, "/top"), {"ps_args": arguments or None})


def changes(engine: Engine, name: str) -> list[Any]:
    return engine.get(_path(name, "/changes")) or []


def stats(engine: Engine, name: str, stream: bool) -> Iterator[Any]:
    flags = {"stream": True} if stream else {"stream": False}
    return engine.documents(engine.call("GET", _path(name, "/stats"), flags))


def resize(engine: Engine, name: str, height: int, width: int) -> None:
    engine.post(_path(name, "/resize"), {"h": height, "w": width})


def attach(engine: Engine, name: str, parameters: Mapping[str, Any]) -> tuple[Hijacked, str]:
    return engine.hijack(_path(name, "/attach"), parameters)


def logs(engine: Engine, name: str, parameters: Mapping[str, Any]) -> Response:
    return engine.call("GET", _path(name, "/logs"), parameters)


def export(engine: Engine, name: str) -> Response:
    return engine.call("GET", _path(name, "/export"))


def prune(engine: Engine, wanted: Mapping[str, Iterable[str]]) -> Any:
    return engine.post("/containers/prune", {"filters": filters(wanted)})


def stat_path(engine: Engine, name: str, path: str) -> Any:
    """What the file at `path` in the container is: name, size, mode, linkTarget."""
    answer = engine.call("HEAD", _path(name, "/archive"), {"path": path})
    answer.close()
    return decode_stat(answer)


def decode_stat(answer: Response) -> Any:
    """The `X-Docker-Container-Path-Stat` of an answer."""
    return decode(a2b_base64(answer.headers.get("x-docker-container-path-stat", "")))


def get_archive(engine: Engine, name: str, path: str) -> Response:
    return engine.call("GET", _path(name, "/archive"), {"path": path})


def put_archive(
    engine: Engine, name: str, path: str, archive: Iterable[bytes], copy_owner: bool
) -> None:
    """Unpack a tar stream into the directory at `path`."""
    parameters = {"path": path, "noOverwriteDirNonDir": "true"}
    if copy_owner:
        parameters["copyUIDGID"] = "true"
    headers = {"Content-Type": "application/x-tar"}
    engine.call("PUT", _path(name, "/archive"), parameters, archive, headers).read()


def exec_create(engine: Engine, name: str, body: Any) -> str:
    created: str = engine.post(_path(name, "/exec"), None, body)["Id"]
    return created


def exec_start(engine: Engine, exec_id: str, body: Any) -> None:
    engine.post(f"/exec/{exec_id}/start", None, body)


def exec_attach(engine: Engine, exec_id: str, body: Any) -> tuple[Hijacked, str]:
    return engine.hijack(f"/exec/{exec_id}/start", None, body)


def exec_inspect(engine: Engine, exec_id: str) -> Any:
    return engine.get(f"/exec/{exec_id}/json")


def exec_resize(engine: Engine, exec_id: str, height: int, width: int) -> None:
    engine.post(f"/exec/{exec_id}/resize", {"h": height, "w": width})


def commit(engine: Engine, parameters: Mapping[str, Any]) -> str:
    """The new image's id."""
    image: str = engine.post("/commit", parameters, {})["Id"]
    return image
