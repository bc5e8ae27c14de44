"""Docker's endpoints that Naru knows and does not offer: a 501 that names the thing."""

from naru.base.errors import NotFound, Unsupported
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
        Route(method, path, missing)
        for noun in _WHAT
        for method in _METHODS
        for path in (f"/{noun}", f"/{noun}/{{name}}")
        if (method, path) != ("GET", "/plugins")
    ),
)
