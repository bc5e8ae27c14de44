"""`_ping`, `version`, `info`, `events`, and `auth`.

Spec: Engine API 1.51, System.
"""

import asyncio
import platform
import time
from typing import Any

from naru.base.clock import NS, now_ns, parse_timestamp, rfc3339
from naru.base.errors import InvalidParameter, Unsupported
from naru.engine.api.call import Call, json_answer
from naru.engine.api.errors import JSON
from naru.engine.api.router import Route
from naru.engine.events import EVENT_FILTERS
from naru.engine.host import open_descriptors
from naru.engine.version import API_VERSION, MIN_API_VERSION, NARU_VERSION
from naru.http.message import Answer, Response, Stream, Writer

_PING = (
    b"Builder-Version: 1\r\nCache-Control: no-cache, no-store, must-revalidate\r\n"
    b"Pragma: no-cache\r\nSwarm: inactive\r\nContent-Type: text/plain; charset=utf-8\r\n"
)
_PONG = Response(200, b"OK", _PING)
_PONG_HEAD = Response(200, b"", _PING)


def ping(call: Call) -> Response:
    return _PONG


def ping_head(call: Call) -> Response:
    return _PONG_HEAD


def version(call: Call) -> Response:
    host = call.services.host
    details = {
        "ApiVersion": API_VERSION,
        "Arch": host.go_arch,
        "Experimental": "false",
        "KernelVersion": host.kernel,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    components: list[dict[str, Any]] = [
        {"Name": "Engine", "Version": NARU_VERSION, "Details": details}
    ]
    components += [
        {"Name": name, "Version": text, "Details": {"GitCommit": ""}}
        for name, text in host.programs.items()
    ]
    return json_answer(
        {
            "Platform": {"Name": "Naru"},
            "Components": components,
            "Version": NARU_VERSION,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": host.go_arch,
            "KernelVersion": host.kernel,
        }
    )


async def info(call: Call) -> Answer:
    services = call.services
    body = services.inventory.info(services.config)
    drivers = await services.volumes.plugins.names()
    body["Plugins"] = {**body["Plugins"], "Volume": ["local", *drivers]}
    body["NEventsListener"] = len(services.events)
    body["NFd"] = open_descriptors()
    body["NGoroutines"] = len(asyncio.all_tasks())
    body["SystemTime"] = rfc3339(now_ns())
    body["Warnings"] = await services.warnings() or None
    if call.version < 42:
        body["KernelMemory"] = False
    if call.version < 48:
        body["BridgeNfIptables"] = body["BridgeNfIp6tables"] = True
    return json_answer(body)


async def events(call: Call) -> Answer:
    now = now_ns()
    since = parse_timestamp(call.text("since"), now) if call.text("since") else None
    until = parse_timestamp(call.text("until"), now) if call.text("until") else None
    if since is not None and until is not None and since > until:
        raise InvalidParameter(
            f"`since` time ({since // NS}) cannot be after `until` time ({until // NS})"
        )
    filters = call.filters(EVENT_FILTERS)
    subscription = call.services.events.subscribe(filters, since, until)

    async def produce(out: Writer) -> None:
        try:
            if until is not None and until <= now:
                await out.write(subscription.pending())
                return
            wait_s = None if until is None else (until - time.time_ns()) / NS
            async with asyncio.timeout(wait_s):
                while (lines := await subscription.next()) is not None:
                    await out.write(lines)
        except TimeoutError:
            await out.write(subscription.pending())
        finally:
            subscription.close()

    return Stream(produce, headers=JSON)


async def auth(call: Call) -> Answer:
    await call.body()
    raise Unsupported(
        "auth: logging in to a registry is not offered yet; it comes with Naru's registry part"
    )


ROUTES = (
    Route("GET", "/_ping", now=ping),
    Route("HEAD", "/_ping", now=ping_head),
    Route("GET", "/version", now=version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
    Route("POST", "/auth", auth),
)
