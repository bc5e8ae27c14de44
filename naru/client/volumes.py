"""Volumes: every call of the Engine API that the command line makes about them."""

from __future__ import annotations

from binascii import b2a_base64

from naru.client.wire import decode, encode, filters, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from naru.client.engine import Engine
    from naru.http.client import Response


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


# -- Naru's own calls


def _own(name: str, call: str) -> str:
    return f"/volumes/{quote(name)}/naru/{call}"


def _sealed(passphrase: bytes) -> dict[str, str]:
    return {"X-Naru-Passphrase": b2a_base64(passphrase, newline=False).decode()}


def export(engine: Engine, name: str, form: str, pause: bool, passphrase: bytes | None) -> Response:
    """The archive as it comes."""
    parameters = {"compression": form, "pause": True if pause else None}
    headers = None if passphrase is None else _sealed(passphrase)
    return engine.call("GET", _own(name, "export"), parameters, None, headers)


def import_archive(
    engine: Engine,
    name: str,
    archive: Iterable[bytes],
    replace: bool,
    passphrase: bytes | None,
) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    if passphrase is not None:
        headers.update(_sealed(passphrase))
    parameters = {"replace": True if replace else None}
    engine.call("POST", _own(name, "import"), parameters, archive, headers).read()


def clone(engine: Engine, source: str, name: str, pause: bool) -> Any:
    return engine.post(_own(source, "clone"), None, {"Name": name, "Pause": pause})


def snapshot(engine: Engine, source: str, name: str, pause: bool) -> Any:
    return engine.post(_own(source, "snapshot"), None, {"Name": name, "Pause": pause})


def rename(engine: Engine, old: str, new: str) -> None:
    engine.post(_own(old, "rename"), {"name": new})


def left_out(engine: Engine, name: str, since: str, until: str) -> int:
    """How many sockets the exports of a volume in that time left out."""
    wanted = filters({"volume": [name], "event": ["export"]})
    parameters = {"since": since, "until": until, "filters": wanted}
    events = engine.documents(engine.call("GET", "/events", parameters))
    return max((int(event["Actor"]["Attributes"].get("sockets", 0)) for event in events), default=0)


def schedules(engine: Engine) -> list[Any]:
    return engine.get("/volumes/naru/schedules")["Schedules"] or []


def schedule(engine: Engine, name: str, body: Mapping[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    path = _own(name, "schedule")
    return decode(engine.call("PUT", path, None, encode(body).encode(), headers).read())


def unschedule(engine: Engine, name: str) -> None:
    engine.delete(_own(name, "schedule"))


def back_up(engine: Engine, name: str) -> Any:
    """A backup now; what was made."""
    return engine.post(_own(name, "backup"))
