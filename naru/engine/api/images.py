"""Images: list, inspect, import, load, save, tag, delete, prune.

Spec: Engine API 1.51, Image.
"""

from typing import Any

import msgspec

from naru.base.errors import InvalidParameter, Unsupported
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.engine.api.streams import (
    Body,
    body_chunks,
    bytes_stream,
    failed_progress,
    progress_stream,
)
from naru.http.message import Answer, Response
from naru.images.archive import TruncatedArchive
from naru.images.listing import LIST_FILTERS, PRUNE_FILTERS
from naru.spec.engine.container_config import ContainerConfig
from naru.spec.oci.image import Platform

_EMPTY_CONFIG = ContainerConfig()
_OLD_CONFIG_DEFAULTS: dict[str, Any] = {
    "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Domainname": "",
    "Hostname": "", "Image": "", "OpenStdin": False, "StdinOnce": False, "Tty": False,
}  # fmt: skip


def platform_of(text: str) -> Platform | None:
    """`linux/arm64/v8` or, as newer clients send it, the OCI platform in JSON."""
    if not text:
        return None
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text, type=Platform)
        except msgspec.MsgspecError as error:
            raise InvalidParameter(f"invalid platform: {error}") from error
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidParameter(f"invalid platform {text!r}: wanted os[/architecture[/variant]]")
    if len(parts) == 1:
        parts = ["linux", *parts] if parts[0] != "linux" else ["linux", ""]
    if len(parts) == 3:
        return Platform(os=parts[0], architecture=parts[1], variant=parts[2])
    return Platform(os=parts[0], architecture=parts[1])


async def list_images(call: Call) -> Answer:
    text = call.text("filters")
    filters = dict(call.filters(LIST_FILTERS)) if text else {}
    if call.version < 25 and call.text("filter"):
        filters["reference"] = (call.text("filter"),)
    found = call.services.images.list(
        filters, everything=call.flag("all"), shared_size=call.flag("shared-size")
    )
    for entry in found:
        if call.version < 51:
            entry["Containers"] = -1
        if call.version < 44:
            entry["VirtualSize"] = entry["Size"]
        if call.version < 43 and not entry["RepoTags"] and not entry["RepoDigests"]:
            entry["RepoTags"], entry["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]
    return json_answer(found)


async def inspect(call: Call) -> Answer:
    body = call.services.images.inspect(call.name)
    if call.version < 50:
        body["Config"] = dict(sorted({**_OLD_CONFIG_DEFAULTS, **body["Config"]}.items()))
    if call.version < 45:
        body["ContainerConfig"] = _EMPTY_CONFIG
    if call.version < 44:
        body["VirtualSize"] = body["Size"]
    return json_answer(body)


async def history(call: Call) -> Answer:
    return json_answer(call.services.images.history(call.name))


async def create(call: Call) -> Answer:
    """Import (`fromSrc=-`); pulling comes with the registry part."""
    image = call.text("fromImage")
    if image:
        tag = call.text("tag")
        name = f"{image}:{tag}" if tag and ":" not in tag else image
        await call.body()
        raise Unsupported(
            f"pulling {name}: pulling images from a registry comes with Naru's registry part; "
            "until then use load or import"
        )
    source = call.text("fromSrc")
    if not source:
        raise InvalidParameter("one of fromImage and fromSrc must be named")
    if source != "-":
        raise Unsupported(f"fromSrc={source}: importing from a URL is not offered, only from '-'")
    messages = call.services.images.import_(
        Body(call.stream()),
        repository=call.text("repo"),
        tag=call.text("tag"),
        message=call.text("message"),
        changes=call.query.get("changes", []),
        platform=platform_of(call.text("platform")),
    )
    return await progress_stream(messages)


async def load(call: Call) -> Answer:
    messages = call.services.images.load(
        body_chunks(call.stream()),
        quiet=call.flag("quiet", True),
        platform=platform_of(call.text("platform")),
    )
    try:
        return await progress_stream(messages)
    except TruncatedArchive as error:  # clients look for it among the progress
        return failed_progress(error)


async def save_one(call: Call) -> Answer:
    return await _save(call, [call.name])


async def save_many(call: Call) -> Answer:
    names = call.query.get("names", [])
    if not names:
        raise InvalidParameter("no image was named: wanted the parameter names")
    return await _save(call, names)


async def _save(call: Call, names: list[str]) -> Answer:
    platform = platform_of(call.text("platform"))
    return await bytes_stream(call.services.images.save(names, platform=platform))


async def tag(call: Call) -> Answer:
    await call.services.images.tag(call.name, call.text("repo"), call.text("tag"))
    return Response(201)


async def remove(call: Call) -> Answer:
    done = await call.services.images.remove(
        call.name, force=call.flag("force"), prune=not call.flag("noprune")
    )
    return json_answer(done)


async def prune(call: Call) -> Answer:
    done, freed = await call.services.images.prune(call.filters(PRUNE_FILTERS))
    return json_answer({"ImagesDeleted": done or None, "SpaceReclaimed": freed})


async def search(call: Call) -> Answer:
    raise Unsupported("searching a registry is not offered yet; it comes with the registry part")


async def push(call: Call) -> Answer:
    await call.body()
    raise Unsupported(
        f"pushing {call.name}: pushing images to a registry comes with Naru's registry part"
    )


ROUTES = (
    Route("GET", "/images/json", list_images),
    Route("POST", "/images/create", create),
    Route("POST", "/images/load", load),
    Route("GET", "/images/get", save_many),
    Route("GET", "/images/search", search),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name}/json", inspect),
    Route("GET", "/images/{name}/history", history),
    Route("GET", "/images/{name}/get", save_one),
    Route("POST", "/images/{name}/tag", tag),
    Route("POST", "/images/{name}/push", push),
    Route("DELETE", "/images/{name}", remove),
)
