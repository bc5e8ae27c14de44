"""Docker's endpoints that Naru knows and does not offer: a 501 that names the thing.

There is no swarm to be in, so swarm's nouns answer as Docker does outside of one; `swarm init` and
`swarm join` say that they are missing.
"""

from naru.base.errors import NotFound, Unavailable, Unsupported
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.http.message import Answer, Response

_WHAT = {
    "swarm": "swarm mode",
    "nodes": "swarm mode (nodes)",
    "services": "swarm mode (services)",
    "tasks": "swarm mode (tasks)",
    "secrets": "swarm mode (secrets)",
    "configs": "swarm mode (configs)",
    "plugins": "plugins",
    "build": "building images",
    "session": "BuildKit sessions",
    "grpc": "BuildKit's gRPC endpoint",
    "distribution": "asking a registry about an image",
}
_METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD")


NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
_SWARM_NOUNS = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
_BEGIN = ("init", "join")


async def no_swarm(call: Call) -> Answer:
    """What Docker answers while it is not part of a swarm; scripts ask for just that."""
    if call.name == "leave":
        raise Unavailable("This node is not part of a swarm")
    if call.name in _BEGIN:
        return await missing(call)
    raise Unavailable(NO_SWARM)


async def missing(call: Call) -> Answer:
    path = call.request.path
    noun = next((part for part in path.split("/") if part in _WHAT), path)
    raise Unsupported(f"{_WHAT.get(noun, path)} is not offered by Naru yet: {path}")


def no_plugins(call: Call) -> Response:
    return json_answer([])


async def no_plugin(call: Call) -> Answer:
    """`docker inspect` asks for a plugin of the name when nothing else has it."""
    raise NotFound(f'plugin "{call.name}" not found')


ROUTES = (
    Route("GET", "/plugins", now=no_plugins),
    Route("GET", "/plugins/{name}/json", no_plugin),
    *(
        Route(method, path, no_swarm if noun in _SWARM_NOUNS else missing)
        for noun in _WHAT
        for method in _METHODS
        for path in (f"/{noun}", f"/{noun}/{{name}}")
        if (method, path) != ("GET", "/plugins")
    ),
)
