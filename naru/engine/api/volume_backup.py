"""Volumes out, in, copied and renamed: calls of Naru's own, below `/volumes/{name}/naru/`.

    GET  …/export?compression=zstd&pause=1    the archive
    POST …/import?replace=1                   an archive as the body
    POST …/clone, …/snapshot                  {"Name", "Pause", "Labels"}
    POST …/rename?name=NEW

A passphrase comes in the header `X-Naru-Passphrase`, in base64: it is in no log.
"""

import base64
import binascii
import time

from msgspec import Struct

from naru.base.errors import InvalidParameter
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.engine.api.streams import body_chunks, bytes_stream
from naru.engine.api.volumes import shown
from naru.http.message import Answer
from naru.storage.seal.service import check_passphrase
from naru.storage.volumes.copies import Cloned
from naru.storage.volumes.transfer import Wanted

SNAPSHOT_OF = "io.naru.volume.snapshot-of"
_ARCHIVE = b"Content-Type: application/octet-stream\r\n"


class CloneRequest(Struct, kw_only=True, rename="pascal"):
    """Body of …/clone and …/snapshot."""

    name: str = ""
    pause: bool = False
    labels: dict[str, str] | None = None


def _passphrase(call: Call) -> bytes:
    """Empty when none is given. Raises: InvalidParameter."""
    text = call.request.header(b"x-naru-passphrase")
    if not text:
        return b""
    try:
        passphrase = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter("the header X-Naru-Passphrase is not base64") from error
    check_passphrase(passphrase)
    return passphrase


async def export(call: Call) -> Answer:
    wanted = Wanted(
        form=call.text("compression") or "plain",
        passphrase=_passphrase(call),
        pause=call.flag("pause"),
    )
    return await bytes_stream(call.services.transfers.export(call.name, wanted), _ARCHIVE)


async def import_(call: Call) -> Answer:
    volume = await call.services.transfers.import_(
        call.name,
        body_chunks(call.stream()),
        passphrase=_passphrase(call),
        replace=call.flag("replace"),
    )
    return json_answer(shown(call.services.volumes, volume), 201)


def _cloned(call: Call, cloned: Cloned) -> Answer:
    copied = cloned.copied
    body = shown(call.services.volumes, cloned.volume)
    about = {"Method": cloned.method, "Sockets": copied.sockets}
    return json_answer({**body, "Naru": about}, 201)


async def clone(call: Call) -> Answer:
    body = await call.decode(CloneRequest)
    if not body.name:
        raise InvalidParameter(f"cannot clone volume {call.name}: name the new volume")
    cloned = await call.services.copies.clone(
        call.name, body.name, pause=body.pause, labels=body.labels
    )
    return _cloned(call, cloned)


async def snapshot(call: Call) -> Answer:
    """Without a name it is the volume's with the time."""
    body = await call.decode_optional(CloneRequest) or CloneRequest()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = body.name or f"{call.name[:200]}-{stamp}"
    labels = {**(body.labels or {}), SNAPSHOT_OF: call.name}
    cloned = await call.services.copies.clone(call.name, name, pause=body.pause, labels=labels)
    return _cloned(call, cloned)


async def rename(call: Call) -> Answer:
    await call.body()
    volume = await call.services.copies.rename(call.name, call.text("name"))
    return json_answer(shown(call.services.volumes, volume))


ROUTES = (
    Route("GET", "/volumes/{name}/naru/export", export),
    Route("POST", "/volumes/{name}/naru/import", import_),
    Route("POST", "/volumes/{name}/naru/clone", clone),
    Route("POST", "/volumes/{name}/naru/snapshot", snapshot),
    Route("POST", "/volumes/{name}/naru/rename", rename),
)
