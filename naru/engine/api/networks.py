"""Networks: list, inspect, create, remove, connect, disconnect, prune; and the audit of ports.

Spec: Engine API 1.51, Network. `/networks/naru/ports` is Naru's own.
"""

import re
from collections.abc import Collection

from msgspec import Struct

from naru.base.errors import InvalidParameter, NotFound
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.containers import networking
from naru.engine.api.call import NO_CONTENT, Call, json_answer
from naru.engine.api.router import Route
from naru.http.message import Answer, Response
from naru.spec.engine.container_config import EndpointSettings
from naru.spec.engine.network import NetworkCreate, NetworkResource

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS = frozenset({"label", "label!", "until"})
_PREDEFINED = frozenset({"bridge", "host", "none"})


class NetworkConnect(Struct, kw_only=True, rename="pascal"):
    """Body of connect and disconnect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None
    force: bool = False


def matches(network: NetworkResource, filters: Filters, used: Collection[str] = ()) -> bool:
    """Whether the filters let a network through; `used`: ids of networks that somebody is on.

    Raises: InvalidParameter. Pure.
    """
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
    dangling = _dangling(filters)
    if dangling is not None and dangling != (
        network.name not in _PREDEFINED and network.id not in used
    ):
        return False
    return matches_labels(filters.get("label", ()), network.labels or {})


def _dangling(filters: Filters) -> bool | None:
    try:
        return parse_bool(filters, "dangling")
    except InvalidParameter as error:
        raise InvalidParameter(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        ) from error


def _found(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return pattern == name


async def list_networks(call: Call) -> Answer:
    filters = call.filters(LIST_FILTERS)
    network = call.services.network
    used = network.in_use() if "dangling" in filters else set()
    return json_answer([n for n in network.networks() if matches(n, filters, used)])


async def inspect(call: Call) -> Answer:
    scope = call.text("scope")
    if scope not in ("", "local"):
        raise NotFound(f"network {call.name} not found")
    return json_answer(call.services.network.inspect(call.name))


async def ports(call: Call) -> Answer:
    return json_answer(call.services.network.audit.ports())


async def create(call: Call) -> Answer:
    body = await call.decode(NetworkCreate)
    return json_answer({"Id": await call.services.network.create(body), "Warning": ""}, 201)


async def remove(call: Call) -> Answer:
    await call.services.network.remove(call.name)
    return NO_CONTENT


async def prune(call: Call) -> Answer:
    deleted = await call.services.network.prune(call.filters(PRUNE_FILTERS))
    return json_answer({"NetworksDeleted": deleted or None})


async def connect(call: Call) -> Answer:
    body = await call.decode(NetworkConnect)
    deps = call.services.containers.deps
    call.services.network.inspect(call.name)
    await networking.connect(deps, body.container, call.name, body.endpoint_config)
    return Response(200)


async def disconnect(call: Call) -> Answer:
    body = await call.decode(NetworkConnect)
    deps = call.services.containers.deps
    await networking.disconnect(deps, body.container, call.name, force=body.force)
    return Response(200)


ROUTES = (
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/", list_networks),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/naru/ports", ports),
    Route("GET", "/networks/{name}", inspect),
    Route("DELETE", "/networks/{name}", remove),
    Route("POST", "/networks/{name}/connect", connect),
    Route("POST", "/networks/{name}/disconnect", disconnect),
)
