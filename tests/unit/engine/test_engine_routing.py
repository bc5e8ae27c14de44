"""Versions, routes, origins, bodies and errors: what happens before a handler is reached."""

import errno

import msgspec
import pytest

from naru.base import errors
from naru.engine.api.decode import decode_json
from naru.engine.api.errors import error_answer
from naru.engine.api.guard import check_origin
from naru.engine.api.router import Route, Router, TooOld, split_version
from naru.engine.api.routes import ROUTES
from naru.http.message import Peer, Request
from naru.spec.engine.container_config import CreateRequest


def test_versions() -> None:
    assert split_version("/v1.24/info") == (24, "/info")
    assert split_version("/v1.51/containers/x/json") == (51, "/containers/x/json")
    assert split_version("/info") == (51, "/info")
    assert split_version("/volumes") == (51, "/volumes")
    assert split_version("/vabc/info") == (51, "/vabc/info")


@pytest.mark.parametrize("path", ["/v1.23/info", "/v1.0/info", "/v0.9/x"])
def test_too_old_versions(path: str) -> None:
    with pytest.raises(TooOld, match=r"is too old. Minimum supported API version is 1.24, please"):
        split_version(path)


@pytest.mark.parametrize("path", ["/v1.52/info", "/v2.0/info", "/v1.510/info"])
def test_too_new_versions(path: str) -> None:
    with pytest.raises(errors.InvalidParameter, match=r"is too new. Maximum supported .* is 1.51"):
        split_version(path)


@pytest.mark.parametrize(
    ("method", "path", "wanted", "name"),
    [
        ("GET", "/_ping", "/_ping", ""),
        ("GET", "/containers/json", "/containers/json", ""),
        ("GET", "/containers/web/json", "/containers/{name}/json", "web"),
        ("GET", "/containers/json/json", "/containers/{name}/json", "json"),
        ("GET", "/containers/web/attach/ws", "/containers/{name}/attach/ws", "web"),
        ("POST", "/containers/web/attach", "/containers/{name}/attach", "web"),
        ("DELETE", "/containers/web", "/containers/{name}", "web"),
        ("GET", "/images/team/app/json", "/images/{name}/json", "team/app"),
        ("DELETE", "/images/host:5000/team/app", "/images/{name}", "host:5000/team/app"),
        ("GET", "/images/get", "/images/get", ""),
        ("GET", "/images/a/b/get", "/images/{name}/get", "a/b"),
        ("POST", "/build/prune", "/build/prune", ""),
        ("GET", "/swarm", "/swarm", ""),
        ("GET", "/plugins", "/plugins", ""),
    ],
)
def test_routes(method: str, path: str, wanted: str, name: str) -> None:
    found = Router(ROUTES).find(method, path)
    assert found is not None
    assert (found[0].path, found[1]) == (wanted, name)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nope"), ("PUT", "/info"), ("GET", "/containers/"), ("GET", "/containers//json"),
     ("POST", "/containers/web/copy"), ("GET", "/"), ("GET", "")],
)  # fmt: skip
def test_no_such_page(method: str, path: str) -> None:
    assert Router(ROUTES).find(method, path) is None


def test_every_route_has_exactly_what_it_needs() -> None:
    assert all(route.handler or route.now for route in ROUTES)
    first = Route("GET", "/a", now=lambda call: None)
    found = Router((first, Route("GET", "/a"))).find("GET", "/a")
    assert found is not None and found[0] is first


def _request(kind: str, **headers: str) -> Request:
    encoded = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request("POST", "/", "", encoded, Peer(kind, "10.0.0.1"))


@pytest.mark.parametrize(
    "request_",
    [
        _request("tcp", host="evil.example"),
        _request("tcp", host="localhost", origin="http://evil.example"),
        _request("unix", host="d", origin="null"),
        _request("tcp", host="127.0.0.1", sec_fetch_site="cross-site"),
    ],
)
def test_strangers_pages_are_refused(request_: Request) -> None:
    with pytest.raises(errors.Forbidden):
        check_origin(request_, {"localhost"})


@pytest.mark.parametrize(
    "request_",
    [
        _request("unix", host="anything"),
        _request("tcp", host="localhost:2375"),
        _request("tcp", host="127.0.0.1:2375"),
        _request("tcp", host="[::1]:2375"),
        _request("tcp", host="localhost:2375", origin="http://localhost:2375"),
    ],
)
def test_own_clients_pass(request_: Request) -> None:
    check_origin(request_, {"localhost"})


def test_nulls_are_what_was_not_given() -> None:
    body = (
        b'{"Image":"b","Hostname":null,"Tty":null,"Env":null,"HostConfig":{"Memory":null,'
        b'"PortBindings":{"80/tcp":null},"Mounts":[{"Type":"bind","Source":null}]},'
        b'"NetworkingConfig":{"EndpointsConfig":{"a":{"Gateway":null},"b":null}}}'
    )
    request = decode_json(body, CreateRequest)
    assert request.hostname == "" and request.host_config is not None
    assert request.host_config.port_bindings == {"80/tcp": None}
    assert request.networking_config is not None
    endpoints = request.networking_config.endpoints_config
    assert endpoints is not None and endpoints["b"] is None and endpoints["a"] is not None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "got EOF while reading request body"),
        (b"{", "invalid JSON"),
        (b'{"Image":5}', "`$.Image`"),
        (b'{"HostConfig":{"Memory":"1g"}}', "`$.HostConfig.Memory`"),
        (b'{"HostConfig":{"Binds":[null]}}', "`$.HostConfig.Binds[0]`"),
        (b'{"Labels":{"a":null}}', "`$.Labels[...]`"),
        (b'{"Image":"a"}{}', "unexpected content after JSON"),
        (b"[" * 5000, "invalid JSON"),
        (b"\xff\xfe", "invalid JSON"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, text: str) -> None:
    with pytest.raises(errors.InvalidParameter) as caught:
        decode_json(body, CreateRequest)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotModified("x"), 304),
        (errors.InvalidParameter("x"), 400),
        (errors.Unauthorized("x"), 401),
        (errors.Forbidden("x"), 403),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.Unsupported("x"), 501),
        (errors.Unavailable("x"), 503),
        (errors.Internal("x"), 500),
        (errors.StartFailed("x", 127), 400),
        (errors.StartFailed("x", 128), 500),
        (OSError(errno.EMFILE, "x"), 503),
        (OSError(errno.ENOSPC, "x"), 500),
        (ValueError("x"), 500),
    ],
)
def test_table_of_errors(error: Exception, status: int) -> None:
    answer = error_answer(error, "id-7")
    assert answer.status == status
    if status != 304:
        assert "message" in msgspec.json.decode(answer.body)
    if isinstance(error, ValueError):
        assert b"id-7" in answer.body
