"""Containers: list, create, inspect, and what changes their state.

Spec: Engine API 1.51, Container.
"""

import os
import time

from naru.base.errors import InvalidParameter, NotFound, Unsupported
from naru.containers import change, links
from naru.containers.model import Container
from naru.engine.api import selection
from naru.engine.api.call import NO_CONTENT, Call, json_answer
from naru.engine.api.decode import decode_json
from naru.engine.api.errors import JSON
from naru.engine.api.inspection import Surroundings, inspect_json
from naru.engine.api.router import Route
from naru.engine.api.summary import join, with_sizes
from naru.http.message import Answer, Response, Stream, Writer
from naru.spec.engine.container_config import CreateRequest, UpdateRequest

PRUNE_FILTERS = frozenset({"label", "label!", "until"})


def list_now(call: Call) -> Response | None:
    """The list without sizes: nothing is waited for. With sizes: None."""
    if call.flag("size"):
        return None
    services = call.services
    everything, limit = call.flag("all"), call.integer("limit") or 0
    text = call.text("filters")
    if not (text and text != "{}") and limit <= 0:
        return Response(200, services.summaries.list_all(everything, time.time_ns()), JSON)
    return Response(200, services.summaries.some(_chosen(call), time.time_ns()), JSON)


async def list_sizes(call: Call) -> Answer:
    """The list with sizes, which are measured."""
    services, now = call.services, time.time_ns()
    parts = []
    for container in _chosen(call):
        sizes = await services.containers.files.size(container)
        parts.append(with_sizes(services.summaries.fragment(container, now), *sizes))
    return Response(200, join(parts), JSON)


def _chosen(call: Call) -> list[Container]:
    services = call.services
    filters = call.filters(selection.LIST_FILTERS)
    selection.check(filters)
    find = services.containers.store.find
    since, before = (selection.boundary(filters, name, find) for name in ("since", "before"))
    ancestors = _descendants(call, filters["ancestor"]) if "ancestor" in filters else None
    wanted = selection.Wanted(
        filters, call.flag("all"), max(0, call.integer("limit") or 0), since, before, ancestors
    )
    return selection.select(services.summaries.newest_first(), wanted, services.health_of)


def _descendants(call: Call, names: tuple[str, ...]) -> frozenset[str]:
    """Ids of the used images that are, or descend from, one of `names`."""
    images = call.services.images
    roots = set()
    for name in names:
        try:
            roots.add(images.resolve(name).id)
        except (NotFound, InvalidParameter):
            continue
    found: set[str] = set()
    for image_id in {container.image_id for container in call.services.containers.store}:
        link = image_id
        while link and link not in roots:
            try:
                link = images.resolve(link).parent
            except NotFound:
                break
        else:
            if link:
                found.add(image_id)
    return frozenset(found)


async def create(call: Call) -> Answer:
    call.check_json()
    body = await call.body()
    if body.strip() == b"null":
        raise InvalidParameter("config cannot be empty in order to create a container")
    request = decode_json(body, CreateRequest)
    created = await call.services.containers.creator.create(
        call.text("name") or None, request, call.text("platform") or None
    )
    return json_answer({"Id": created.id, "Warnings": created.warnings or []}, 201)


async def inspect(call: Call) -> Answer:
    services = call.services
    container = services.containers.store.find(call.name)
    directory = services.containers.deps.settings.container_dir(container.id)
    has_log = container.host_config.log_config.type in ("json-file", "local")
    sizes = await services.containers.files.size(container) if call.flag("size") else None
    around = Surroundings(
        directory=directory,
        log_path=services.containers.streams.log_path(container) if has_log else "",
        graph_driver=services.graph_driver(container),
        exec_ids=services.containers.execs.of_container(container.id),
        health=services.containers.health.of(container.id),
        volume_path=services.volumes.data_dir,
        links=links.shown_links(services.containers.store, container),
        sizes=sizes,
    )
    return json_answer(inspect_json(container, around))


async def start(call: Call) -> Answer:
    if call.text("checkpoint"):
        raise Unsupported("checkpoint: starting from a checkpoint is not offered")
    if await call.body():
        raise InvalidParameter("starting container with non-empty request body is not supported")
    await call.services.containers.lifecycle.start(call.name)
    return NO_CONTENT


async def stop(call: Call) -> Answer:
    signal = call.text("signal") if call.version >= 42 else ""
    await call.services.containers.lifecycle.stop(call.name, call.integer("t"), signal or None)
    return NO_CONTENT


async def restart(call: Call) -> Answer:
    signal = call.text("signal") if call.version >= 42 else ""
    await call.services.containers.lifecycle.restart(call.name, call.integer("t"), signal or None)
    return NO_CONTENT


async def kill(call: Call) -> Answer:
    try:
        await call.services.containers.lifecycle.kill(call.name, call.text("signal") or "SIGKILL")
    except InvalidParameter as error:
        said = error.message[:1].lower() + error.message[1:]
        raise InvalidParameter(f"cannot kill container: {call.name}: {said}") from error
    except NotFound as error:
        raise NotFound(f"cannot kill container: {call.name}: {error.message}") from error
    return NO_CONTENT


async def pause(call: Call) -> Answer:
    await call.services.containers.lifecycle.pause(call.name)
    return NO_CONTENT


async def unpause(call: Call) -> Answer:
    await call.services.containers.lifecycle.unpause(call.name)
    return NO_CONTENT


async def rename(call: Call) -> Answer:
    await change.rename(call.services.containers.deps, call.name, call.text("name"))
    return NO_CONTENT


async def update(call: Call) -> Answer:
    request = await call.decode(UpdateRequest)
    warnings = await change.update(call.services.containers.deps, call.name, request)
    return json_answer({"Warnings": warnings or None})


async def remove(call: Call) -> Answer:
    if call.flag("link"):
        await links.remove_link(call.services.containers.deps, call.name)
        return NO_CONTENT
    await call.services.containers.remover.remove(
        call.name, force=call.flag("force"), volumes=call.flag("v")
    )
    return NO_CONTENT


async def prune(call: Call) -> Answer:
    ids, won_bytes = await call.services.containers.remover.prune(call.filters(PRUNE_FILTERS))
    return json_answer({"ContainersDeleted": ids or None, "SpaceReclaimed": won_bytes})


async def wait(call: Call) -> Answer:
    """The head is sent once the wait is registered: a client starts the container only then."""
    condition = call.text("condition") if call.version >= 30 else ""
    future = call.services.containers.waits.subscribe(call.name, condition or "not-running")

    async def produce(out: Writer) -> None:
        try:
            result = await future
        finally:
            future.cancel()
        body: dict[str, object] = {"StatusCode": result.exit_code}
        if result.error and call.version >= 30:
            body["Error"] = {"Message": result.error}
        await out.write(json_answer(body).body)

    return Stream(produce, headers=JSON)


async def top(call: Call) -> Answer:
    titles, rows = await call.services.containers.observe.top(call.name, call.text("ps_args"))
    return json_answer({"Processes": rows, "Titles": titles})


async def changes(call: Call) -> Answer:
    found = await call.services.containers.files.changes(call.name)
    return json_answer(
        [{"Path": _text(item.path), "Kind": int(item.kind)} for item in found] or None
    )


def _text(path: str) -> str:
    """A file's name for JSON; bytes that are no text become U+FFFD, as Go's encoder does it."""
    return os.fsencode(path).decode("utf-8", "replace")


ROUTES = (
    Route("GET", "/containers/json", list_sizes, list_now),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{name}/json", inspect),
    Route("GET", "/containers/{name}/top", top),
    Route("GET", "/containers/{name}/changes", changes),
    Route("POST", "/containers/{name}/start", start),
    Route("POST", "/containers/{name}/stop", stop),
    Route("POST", "/containers/{name}/restart", restart),
    Route("POST", "/containers/{name}/kill", kill),
    Route("POST", "/containers/{name}/pause", pause),
    Route("POST", "/containers/{name}/unpause", unpause),
    Route("POST", "/containers/{name}/rename", rename),
    Route("POST", "/containers/{name}/update", update),
    Route("POST", "/containers/{name}/wait", wait),
    Route("DELETE", "/containers/{name}", remove),
)
