"""Every request passes here: checks, version, route, handler, errors, log, audit."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Collection, Coroutine
from typing import Any

from naru.base.errors import InvalidParameter
from naru.engine import audit
from naru.engine.api.call import Call
from naru.engine.api.errors import error_answer, message_answer
from naru.engine.api.guard import check_origin
from naru.engine.api.router import Route, Router, TooOld, split_version
from naru.engine.services import Services
from naru.http.message import Answer, BadMessage, Request, Response
from naru.http.streams import ClientGone

log = logging.getLogger("naru.api")

_TEXT = b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
_READS = frozenset(("GET", "HEAD"))


class Api:
    """The handler that `http.Server` calls. `host_names`: see `guard`."""

    def __init__(self, router: Router, services: Services, host_names: Collection[str]) -> None:
        self._router = router
        self._services = services
        self.host_names = host_names
        self._boot = os.urandom(3).hex()
        self._count = 0

    def handle(self, request: Request) -> Response | Coroutine[Any, Any, Answer]:
        """Never raises: what goes wrong is the answer."""
        self._count += 1
        identifier = f"{self._boot}-{self._count:x}"
        try:
            if request.peer.kind != "unix" or b"origin" in request.headers:
                check_origin(request, self.host_names)
            version, path = split_version(request.path)
            found = self._router.find(request.method, path)
            if found is None:
                return message_answer(404, "page not found")
            route, name = found
            call = Call(request, self._services, version, name, identifier)
            if route.now is not None:
                answer = route.now(call)
                if answer is not None:
                    if log.isEnabledFor(logging.DEBUG):
                        self._log(call, answer.status, 0.0)
                    return answer
            return self._later(call, route)
        except TooOld as error:
            return Response(400, error.message.encode() + b"\n", _TEXT)
        except Exception as error:
            return error_answer(error, identifier)

    async def _later(self, call: Call, route: Route) -> Answer:
        begun = time.monotonic()
        assert route.handler is not None
        answer: Answer
        try:
            answer = await self._awaited(call, route.handler(call))
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception as error:
            answer = error_answer(error, call.id)
        took_ms = (time.monotonic() - begun) * 1000
        request = call.request
        if request.method not in _READS:
            audit.record(
                call.id, request.peer, request.method, request.path, request.query_text,
                answer.status, took_ms,
            )  # fmt: skip
        elif log.isEnabledFor(logging.DEBUG):
            self._log(call, answer.status, took_ms)
        return answer

    async def _awaited(self, call: Call, work: Awaitable[Answer]) -> Answer:
        try:
            return await work
        except BadMessage as error:
            raise InvalidParameter(error.message) from error

    def _log(self, call: Call, status: int, took_ms: float) -> None:
        request = call.request
        fields = {
            "request": call.id,
            "caller": audit.caller(request.peer),
            "call": f"{request.method} {request.path}",
            "query": audit.blank(request.query_text),
            "status": status,
            "ms": round(took_ms, 1),
        }
        log.debug("answered", extra={"fields": fields})
