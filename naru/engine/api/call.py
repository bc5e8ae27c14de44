"""One API call as the handlers see it: parameters decoded, body read within its limit."""

import asyncio
from collections.abc import Collection
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from naru.base.errors import InvalidParameter
from naru.base.filters import parse_filters
from naru.engine.api.decode import decode_json
from naru.engine.api.errors import JSON
from naru.engine.services import Services
from naru.http.message import Request, Response
from naru.http.streams import Input

T = TypeVar("T")

BODY_LIMIT_BYTES = 4 << 20
BODY_DEADLINE_S = 30.0
MIN_VERSION, MAX_VERSION = 24, 51

NO_CONTENT = Response(204)
_FALSE = frozenset(("", "0", "no", "false", "none"))


def json_answer(value: object, status: int = 200) -> Response:
    """JSON with the newline that Go's encoder ends it with."""
    return Response(status, msgspec.json.encode(value) + b"\n", JSON)


class Call:
    """`version` is the minor number of the API version asked for; `name` the path's variable."""

    __slots__ = ("_query", "id", "name", "request", "services", "version")

    def __init__(
        self, request: Request, services: Services, version: int, name: str, identifier: str
    ) -> None:
        self.request, self.services, self.version = request, services, version
        self.name = unquote(name) if "%" in name else name
        self.id = identifier
        self._query: dict[str, list[str]] | None = None

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            self._query = self.request.query()
        return self._query

    def text(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's truth: anything but empty, 0, no, false, none."""
        values = self.query.get(name)
        return default if not values else values[0].strip().lower() not in _FALSE

    def integer(self, name: str) -> int | None:
        """None when absent or empty. Raises: InvalidParameter."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise InvalidParameter(
                f"invalid value {text!r} of parameter {name}: wanted a whole number"
            ) from error

    def filters(self, allowed: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Raises: InvalidParameter for broken JSON and for names outside `allowed`."""
        return parse_filters(self.text("filters"), allowed)

    async def body(self, limit_bytes: int = BODY_LIMIT_BYTES) -> bytes:
        """The whole body. Raises: InvalidParameter over the limit or when it does not come."""
        source = self.request.body
        if source is None:
            return b""
        over = InvalidParameter(f"the request body is over its limit of {limit_bytes} bytes")
        if (self.request.body_length or 0) > limit_bytes:
            raise over
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                while data := await source.read():
                    size += len(data)
                    if size > limit_bytes:
                        raise over
                    parts.append(data)
        except TimeoutError as error:
            raise InvalidParameter(
                f"the request body did not arrive within {BODY_DEADLINE_S:.0f} s"
            ) from error
        return b"".join(parts)

    def check_json(self) -> None:
        """Raises: InvalidParameter unless the body calls itself JSON (or nothing at all)."""
        kind = self.request.header(b"content-type")
        if kind and kind.partition(";")[0].strip().lower() != "application/json":
            raise InvalidParameter(
                f"unsupported Content-Type header ({kind}): must be 'application/json'"
            )

    async def decode(self, kind: type[T]) -> T:
        """The JSON body as a `kind`. Raises: InvalidParameter naming the field."""
        self.check_json()
        return decode_json(await self.body(), kind)

    async def decode_optional(self, kind: type[T]) -> T | None:
        """As `decode`; None when there is no body."""
        if self.request.body is None:
            return None
        body = await self.body()
        if not body.strip():
            return None
        self.check_json()
        return decode_json(body, kind)

    def stream(self) -> Input:
        """The body to be read piece by piece. Raises: InvalidParameter when there is none."""
        if self.request.body is None:
            raise InvalidParameter("the request has no body: wanted an archive")
        return self.request.body
