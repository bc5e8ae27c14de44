"""`cp`: HEAD, GET and PUT of a path in a container.

Spec: Engine API 1.51, ContainerArchiveInfo, ContainerArchive, PutContainerArchive.
"""

from naru.base.errors import InvalidParameter
from naru.engine.api.call import Call
from naru.engine.api.router import Route
from naru.engine.api.streams import Body, bytes_stream
from naru.http.message import Answer, Response
from naru.storage.copy.stat import PathStat

_TAR = b"Content-Type: application/x-tar\r\n"


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidParameter("bad parameter: path: a NUL byte is not allowed")
    return path


def _header(stat: PathStat) -> bytes:
    return b"X-Docker-Container-Path-Stat: %b\r\n" % stat.header().encode("ascii")


async def head(call: Call) -> Answer:
    stat = await call.services.containers.copying.stat(call.name, _path(call))
    return Response(200, headers=_header(stat))


async def get(call: Call) -> Answer:
    stat, pieces = await call.services.containers.copying.get(call.name, _path(call))
    return await bytes_stream(pieces, _TAR + _header(stat))


async def put(call: Call) -> Answer:
    await call.services.containers.copying.put(
        call.name,
        _path(call),
        Body(call.stream()),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
        copy_owner=call.flag("copyUIDGID"),
    )
    return Response(200)


ROUTES = (
    Route("HEAD", "/containers/{name}/archive", head),
    Route("GET", "/containers/{name}/archive", get),
    Route("PUT", "/containers/{name}/archive", put),
)
