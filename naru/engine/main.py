"""narud: the engine's process. Reads the configuration, claims the roots, serves, ends in order.

    claim → wire (open what lies on disk) → adopt what runs → listen → READY
    SIGTERM, SIGINT → STOPPING → no new clients → what is under way ends or is rolled back → exit 0
    SIGHUP → the reloadable options are read again

No container is ended by any of it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from naru.base.errors import NaruError
from naru.base.tasks import TaskRegistry
from naru.engine import logs, systemd
from naru.engine.api.app import Api
from naru.engine.api.router import Router
from naru.engine.api.routes import ROUTES
from naru.engine.claim import Claim
from naru.engine.config import (
    DEFAULT_HOST,
    HANDED_OVER,
    Config,
    ConfigError,
    help_text,
    load,
)
from naru.engine.listeners import open_listeners, remove_socket_files
from naru.engine.reload import reload_config
from naru.engine.version import API_VERSION, NARU_VERSION, SERVER
from naru.engine.wiring import Engine, wire
from naru.http.connection import Limits
from naru.http.encode import HeadEncoder
from naru.http.server import Server

log = logging.getLogger("naru.engine")

_BASE_HEADERS = (
    f"Api-Version: {API_VERSION}\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
    f"Server: {SERVER}\r\n"
).encode("ascii")
_DESCRIPTORS_KEPT = 512
_GRACE_S = 6
_DRAIN_S = 2.0
_CLOSE_S = 1.5


def run(argv: Sequence[str] | None = None) -> None:
    """The program `narud`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--help" in words or "-h" in words:
        print(help_text())
        sys.exit(0)
    if "--version" in words or "-v" in words:
        print(f"narud version {NARU_VERSION}, API version {API_VERSION}")
        sys.exit(0)
    begun = time.monotonic()
    try:
        handed = systemd.count_sockets(os.environ)
        config = load(words, HANDED_OVER if handed else DEFAULT_HOST)
        logs.set_up(config.log_format, level=config.log_level)
        os.umask(0o022)
        claim = Claim(config.data_root, config.exec_root, config.pidfile)
    except ConfigError as error:
        print(f"narud: {error.message}", file=sys.stderr)
        sys.exit(1)
    status = 1
    runner = asyncio.Runner()
    try:
        status = runner.run(_Narud(config, words, begun).main())
    except KeyboardInterrupt:
        status = 0
    except NaruError as error:
        log.error("%s", error.message)
    except Exception:
        log.exception("narud fails")
    finally:
        claim.release()
    _end(status)


def _end(status: int) -> NoReturn:
    """End here and now: no thread that hangs in the kernel, and no task, is waited for again."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


class _Narud:
    def __init__(self, config: Config, argv: Sequence[str], begun: float) -> None:
        self._config, self._argv, self._begun = config, argv, begun
        self._stopping = asyncio.Event()

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_loop_error)
        nofile = _raise_descriptors()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        tasks = TaskRegistry()
        engine = await wire(self._config, tasks, nofile)
        try:
            await engine.open()
            api = Api(Router(ROUTES), engine.services, _host_names(self._config))
            server = Server(api.handle, HeadEncoder(_BASE_HEADERS), tasks, _limits())
            for listener in open_listeners(self._config, os.environ):
                server.listen(listener)
            loop.add_signal_handler(signal.SIGHUP, self._reload, engine, api)
            self._ready()
            await self._stopping.wait()
            await self._stop(server, engine)
        finally:
            await tasks.drain(_DRAIN_S)
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await engine.close()
            except TimeoutError:
                log.warning("not everything could be closed in time; the next start puts it right")
        log.info("narud ended; containers go on")
        return 0

    def _ready(self) -> None:
        gc.collect()
        gc.freeze()
        systemd.notify("READY=1\nSTATUS=serving", os.environ)
        fields = {"hosts": ",".join(self._config.hosts), "pid": os.getpid()}
        took_ms = (time.monotonic() - self._begun) * 1000
        log.info("ready after %.0f ms", took_ms, extra={"fields": fields})

    def _reload(self, engine: Engine, api: Api) -> None:
        systemd.notify("RELOADING=1", os.environ)
        try:
            self._config = reload_config(self._config, self._argv)
        except ConfigError as error:
            log.error("the configuration stays as it was: %s", error.message)
        else:
            logs.set_level(self._config.log_level)
            engine.services.config = self._config
            api.host_names = _host_names(self._config)
            log.info("configuration read again")
            engine.services.events.emit("daemon", "reload", engine.services.engine_id, {})
        systemd.notify("READY=1", os.environ)

    async def _stop(self, server: Server, engine: Engine) -> None:
        log.info("stopping: no new clients, what is under way may end")
        systemd.notify("STOPPING=1", os.environ)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.abort_all)
        remove_socket_files(self._config)
        await server.shutdown(min(self._config.shutdown_timeout, _GRACE_S))


def _raise_descriptors() -> tuple[int, int]:
    """Take as many descriptors as we may have; what was the limit before is the containers'."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before


def _limits() -> Limits:
    """Connections for all descriptors but those kept for the containers' own work."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 16384 if soft == resource.RLIM_INFINITY else max(64, soft - _DESCRIPTORS_KEPT)
    return Limits(connections=min(16384, most), connections_per_peer=min(8192, most))


def _host_names(config: Config) -> frozenset[str]:
    own = {"localhost", "docker", "naru", os.uname().nodename.lower()}
    return frozenset(own.union(name.lower() for name in config.host_names))


def _loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    trace = error if isinstance(error, BaseException) else None
    log.error("on the event loop: %s", context.get("message"), exc_info=trace)


if __name__ == "__main__":
    run()
