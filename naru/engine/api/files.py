"""A container's files and statistics: export, commit, stats. (`cp` is in `archive`.)

Spec: Engine API 1.51, ContainerExport, ImageCommit, ContainerStats.
"""

import msgspec

from naru.base.errors import InvalidParameter
from naru.engine.api.call import Call, json_answer
from naru.engine.api.decode import decode_json
from naru.engine.api.errors import JSON
from naru.engine.api.router import Route
from naru.engine.api.streams import bytes_stream, closed
from naru.http.message import Answer, Stream, Writer
from naru.spec.engine.container_config import ContainerConfig

_OCTETS = b"Content-Type: application/octet-stream\r\n"


async def export(call: Call) -> Answer:
    return await bytes_stream(call.services.containers.files.export(call.name), _OCTETS)


async def commit(call: Call) -> Answer:
    name = call.text("container")
    if not name:
        raise InvalidParameter('invalid name or ID supplied: ""')
    body = await call.body()
    config: ContainerConfig | None = None
    if body.strip() and body.strip() != b"null":
        call.check_json()
        config = decode_json(body, ContainerConfig)
        if config == ContainerConfig():  # `{}` says as little as no body
            config = None
    image_id = await call.services.containers.files.commit(
        name,
        repository=call.text("repo"),
        tag=call.text("tag"),
        comment=call.text("comment"),
        author=call.text("author"),
        pause=call.flag("pause", True),
        changes=[line for text in call.query.get("changes", ()) for line in text.split("\n")],
        config=config,
    )
    return json_answer({"Id": image_id}, 201)


async def stats(call: Call) -> Answer:
    observe = call.services.containers.observe
    call.services.containers.store.find(call.name)
    one_shot = call.flag("one-shot")
    if not call.flag("stream", True):

        async def once(out: Writer) -> None:
            sample = await observe.stats(call.name, one_shot=one_shot)
            await out.write(msgspec.json.encode(sample) + b"\n")

        return Stream(once, headers=JSON)
    if one_shot:
        raise InvalidParameter("cannot have stream=true and one-shot=true")
    samples = observe.stream(call.name)

    async def produce(out: Writer) -> None:
        try:
            async for sample in samples:
                await out.write(msgspec.json.encode(sample) + b"\n")
        finally:
            await closed(samples)

    return Stream(produce, headers=JSON)


ROUTES = (
    Route("GET", "/containers/{name}/export", export),
    Route("GET", "/containers/{name}/stats", stats),
    Route("POST", "/commit", commit),
)
