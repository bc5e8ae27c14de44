"""Attach and logs: what a client sees of a container's output, now and before."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from naru.base.errors import Conflict, InvalidParameter
from naru.containers import labels
from naru.containers.deps import Deps
from naru.containers.detach import DEFAULT_KEYS, parse_keys
from naru.containers.hijack import ClientStream
from naru.containers.log_options import LOG_FILE
from naru.containers.model import Container
from naru.containers.sessions import SessionStream, TextStream
from naru.runtime.logs.lines import LogQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions:
    """`logs`: first what was written before; `stream`: then what is written from now on."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = False
    logs: bool = False
    detach_keys: str = ""


class Streams:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def attach(self, ref: str, options: AttachOptions) -> ClientStream:
        """The stream's `frames` wait for the container when it does not run yet.

        Raises: NotFound, Conflict when it is paused or restarting, InvalidParameter (keys).
        """
        container = self._deps.store.find(ref)
        status = container.state.status
        if status == "paused":
            raise Conflict(
                f"container {container.id} is paused, unpause the container before attach"
            )
        if status == "restarting":
            raise Conflict(
                f"container {container.id} is restarting, wait until the container is running"
            )
        keys = parse_keys(options.detach_keys or DEFAULT_KEYS)
        past = self._past(container, options) if options.logs else None
        if not options.stream:
            return TextStream(past or _nothing(), tty=container.config.tty)
        session = self._deps.runtime.attach(
            container.id,
            stdin=options.stdin and container.config.open_stdin,
            stdout=options.stdout,
            stderr=options.stderr,
        )
        self._deps.emit("container", "attach", container.id, labels.of_event(container))

        def leave(detached: bool) -> None:
            session.close()
            if detached:
                self._deps.emit("container", "detach", container.id, labels.of_event(container))

        return SessionStream(session, tty=container.config.tty, keys=keys, leave=leave, first=past)

    async def _past(
        self, container: Container, options: AttachOptions
    ) -> AsyncIterator[tuple[int, bytes]]:
        """The log's lines as frames, each with its stream."""
        for number, wanted in ((1, options.stdout), (2, options.stderr)):
            if not wanted:
                continue
            query = LogQuery(stdout=number == 1, stderr=number == 2, multiplexed=False)
            async for block in self._deps.logs.read(container.id, self.log_path(container), query):
                yield number, block

    def log_path(self, container: Container) -> str:
        return os.path.join(self._deps.settings.container_dir(container.id), LOG_FILE)

    def logs(self, ref: str, query: LogQuery, *, follow: bool = False) -> AsyncIterator[bytes]:
        """Encoded blocks: frames, or raw text when the container has a terminal.

        Raises: NotFound, InvalidParameter when the container keeps no log or nothing is asked for.
        """
        container = self._deps.store.find(ref)
        if container.host_config.log_config.type == "none":
            raise InvalidParameter(
                "configured logging driver does not support reading: this container was started "
                "with the log driver none"
            )
        if not query.stdout and not query.stderr:
            raise InvalidParameter("Bad parameters: you must choose at least one stream")
        if container.config.tty:
            query = replace(query, multiplexed=False)
        running = container.state.status in ("running", "paused")
        return self._deps.logs.read(
            container.id, self.log_path(container), query, follow=follow and running
        )

    def resize(self, ref: str, height: int, width: int) -> None:
        """Raises: NotFound, Conflict when it does not run."""
        container = self._deps.store.find(ref)
        if container.state.status not in ("running", "paused"):
            raise Conflict(f"container {container.id} is not running")
        self._deps.runtime.resize(container.id, height, width)
        self._deps.emit(
            "container",
            "resize",
            container.id,
            labels.of_event(container, height=str(height), width=str(width)),
        )


async def _nothing() -> AsyncIterator[tuple[int, bytes]]:
    return
    yield
