"""A container's output and terminal: logs, attach, attach/ws, resize.

Spec: Engine API 1.51, ContainerLogs, ContainerAttach, ContainerAttachWebsocket, ContainerResize.
"""

from naru.base.clock import now_ns, parse_timestamp
from naru.base.errors import InvalidParameter
from naru.base.units import is_number
from naru.containers.log_options import log_details
from naru.containers.streams import AttachOptions
from naru.engine.api.attach import hijack, websocket
from naru.engine.api.call import Call
from naru.engine.api.exec import resize_query
from naru.engine.api.router import Route
from naru.engine.api.streams import forward
from naru.http.message import Answer, Response, Stream, Writer
from naru.http.stdcopy import MULTIPLEXED, RAW
from naru.runtime.logs.lines import LogQuery


def _tail(text: str) -> int | None:
    """How many lines; None for all of them, which is also what nonsense means to Docker."""
    return int(text) if is_number(text) else None


async def logs(call: Call) -> Answer:
    containers = call.services.containers
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not stdout and not stderr:
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    container = containers.store.find(call.name)
    now = now_ns()
    query = LogQuery(
        stdout=stdout,
        stderr=stderr,
        since_ns=parse_timestamp(call.text("since", "0") or "0", now),
        until_ns=parse_timestamp(call.text("until", "0") or "0", now),
        tail=_tail(call.text("tail", "all")),
        timestamps=call.flag("timestamps"),
        details=log_details(container) if call.flag("details") else None,
    )
    blocks = containers.streams.logs(call.name, query, follow=call.flag("follow"))
    framed = not container.config.tty and call.version >= 42

    async def produce(out: Writer) -> None:
        await forward(blocks, out)

    return Stream(produce, headers=b"Content-Type: %b\r\n" % (MULTIPLEXED if framed else RAW))


def _options(call: Call) -> AttachOptions:
    return AttachOptions(
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        stream=call.flag("stream"),
        logs=call.flag("logs"),
        detach_keys=call.text("detachKeys"),
    )


async def attach(call: Call) -> Answer:
    await call.body()
    stream = await call.services.containers.streams.attach(call.name, _options(call))
    return hijack(call.request, call.version, stream)


async def attach_ws(call: Call) -> Answer:
    stream = await call.services.containers.streams.attach(call.name, _options(call))
    return await websocket(call.request, stream)


async def resize(call: Call) -> Answer:
    height, width = resize_query(call)
    call.services.containers.streams.resize(call.name, height, width)
    return Response(200)


ROUTES = (
    Route("GET", "/containers/{name}/logs", logs),
    Route("POST", "/containers/{name}/attach", attach),
    Route("GET", "/containers/{name}/attach/ws", attach_ws),
    Route("POST", "/containers/{name}/resize", resize),
)
