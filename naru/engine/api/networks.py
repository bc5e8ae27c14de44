"""Networks: list and inspect; what changes them comes with user-defined networks.

Spec: Engine API 1.51, Network.
"""

import re
from typing import Any

from msgspec import Struct

from naru.base.errors import Forbidden, InvalidParameter, NotFound, Unsupported
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.http.message import Answer, Response
from naru.spec.engine.network import NetworkResource

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS = frozenset({"label", "label!", "until"})
_PREDEFINED = frozenset({"bridge", "host", "none"})


class NetworkCreate(Struct, kw_only=True, rename="pascal"):
    """As much of the body of POST /networks/create as decides the answer."""

    name: str = ""


class NetworkConnect(Struct, kw_only=True, rename="pascal"):
    """Body of connect and disconnect."""

    container: str = ""
    endpoint_config: dict[str, Any] | None = None
    force: bool = False


def matches(network: NetworkResource, filters: Filters) -> bool:
    """Whether the filters let a network through. Raises: InvalidParameter. Pure."""
    names, ids = filters.get("name"), filters.get("id")
    if names and not any(_found(pattern, network.name) for pattern in names):
        return False
    if ids and not any(network.id.startswith(value) for value in ids):
        return False
    if (drivers := filters.get("driver")) and network.driver not in drivers:
        return False
    if (scopes := filters.get("scope")) and "local" not in scopes:
        return False
    for kind in filters.get("type", ()):
        if kind not in ("custom", "builtin"):
            raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
        if (kind == "builtin") != (network.name in _PREDEFINED):
            return False
    if parse_bool(filters, "dangling") is True:
        return False
    return matches_labels(filters.get("label", ()), network.labels or {})


def _found(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return pattern == name


async def list_networks(call: Call) -> Answer:
    filters = call.filters(LIST_FILTERS)
    return json_answer([n for n in call.services.network.networks() if matches(n, filters)])


async def inspect(call: Call) -> Answer:
    return json_answer(call.services.network.inspect(call.name))


async def create(call: Call) -> Answer:
    body = await call.decode(NetworkCreate)
    if body.name in _PREDEFINED:
        raise Forbidden(f"operation is not permitted on predefined {body.name} network ")
    return json_answer({"Id": call.services.network.create(body.name), "Warning": ""}, 201)


async def remove(call: Call) -> Answer:
    call.services.network.remove(call.name)
    return Response(204)


async def prune(call: Call) -> Answer:
    call.filters(PRUNE_FILTERS)
    return json_answer({"NetworksDeleted": None})


async def connect(call: Call) -> Answer:
    body = await call.decode(NetworkConnect)
    call.services.containers.store.find(body.container)
    network = call.services.network.inspect(call.name)
    raise Unsupported(
        f"connecting a running container to network {network.name} comes with user-defined "
        "networks; choose the network when the container is created"
    )


async def disconnect(call: Call) -> Answer:
    body = await call.decode(NetworkConnect)
    container = call.services.containers.store.find(body.container)
    network = call.services.network.inspect(call.name)
    if network.name not in container.networks:
        raise NotFound(f"container {container.id} is not connected to network {network.name}")
    raise Unsupported(
        f"disconnecting a container from network {network.name} comes with user-defined networks"
    )


ROUTES = (
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/", list_networks),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{name}", inspect),
    Route("DELETE", "/networks/{name}", remove),
    Route("POST", "/networks/{name}/connect", connect),
    Route("POST", "/networks/{name}/disconnect", disconnect),
)
