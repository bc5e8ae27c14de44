"""Exec sessions: created, started, inspected; remembered for five minutes after their end."""

import asyncio
import dataclasses
import errno
import os
import signal
import time
from dataclasses import dataclass, field

from msgspec.structs import replace

from naru.base.errors import (
    Conflict,
    Internal,
    InvalidParameter,
    NaruError,
    NotFound,
    StartFailed,
)
from naru.base.ids import new_id
from naru.base.text import visible
from naru.containers import labels
from naru.containers.deps import Deps
from naru.containers.detach import DEFAULT_KEYS, parse_keys
from naru.containers.hijack import ClientStream
from naru.containers.links import linked
from naru.containers.model import Container
from naru.containers.preparation import host_ids
from naru.containers.sessions import SessionStream, StartingStream, TextStream, one_frame
from naru.kernel.process import ProcessId, start_time
from naru.kernel.threads import offload
from naru.runtime.exec import ExecRequest, ExecSession
from naru.runtime.links import environment_of
from naru.runtime.mountpoints import check_working_dir
from naru.runtime.ocispec import environment
from naru.runtime.user import ResolvedUser, resolve_user

KEPT_S = 300.0
_PROBE_OUTPUT_BYTES = 4096
_ENDED = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecConfig:
    cmd: tuple[str, ...]
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    tty: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    privileged: bool = False
    console_size: tuple[int, int] | None = None


@dataclass(slots=True, kw_only=True)
class Exec:
    """`exit_code` is None until it ended; `pid` 0 before the start."""

    id: str
    container_id: str
    config: ExecConfig
    pid: int = 0
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    ended_s: float = 0.0
    session: ExecSession | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Execs:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._execs: dict[str, Exec] = {}

    def create(self, ref: str, config: ExecConfig) -> str:
        """The new session's id. Raises: NotFound, Conflict (not running), InvalidParameter."""
        if config.working_dir:
            check_working_dir(config.working_dir)
        container = self._running(self._deps.store.find(ref))
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        parse_keys(config.detach_keys or DEFAULT_KEYS)
        self._expire()
        session = Exec(id=new_id(), container_id=container.id, config=config)
        self._execs[session.id] = session
        self._emit("exec_create", container, session)
        return session.id

    def inspect(self, identifier: str) -> Exec:
        """Raises: NotFound."""
        found = self._execs.get(identifier)
        if found is None:
            raise NotFound(f"No such exec instance: {identifier}")
        return found

    def of_container(self, container_id: str) -> list[str]:
        """Ids of the sessions that run in a container (`ExecIDs` of inspect)."""
        return [
            item.id
            for item in self._execs.values()
            if item.container_id == container_id and item.running
        ]

    async def start(
        self,
        identifier: str,
        *,
        detach: bool = False,
        console_size: tuple[int, int] | None = None,
    ) -> ClientStream | None:
        """The session's stream, None when detached.

        The process begins when the stream's frames are first asked for: by then the client has
        its answer's head, and knows that what follows is output. A command that cannot be executed
        is told on the stream, as Docker does; detached it raises StartFailed.
        Raises: NotFound, Conflict when it was started before or nothing runs.
        """
        session = self.inspect(identifier)
        if session.started:
            state = "is already running" if session.exit_code is None else "has already run"
            raise Conflict(f"exec command {identifier} {state}")
        container = self._running(self._deps.store.find(session.container_id))
        session.started = True
        config = session.config
        if console_size is not None:
            config = dataclasses.replace(config, console_size=console_size)
        if not detach:
            return StartingStream(lambda: self._attached(container, session, config), config.tty)
        running = await self._started(container, session, config, attached=False)
        running.abandon()
        return None

    async def _started(
        self, container: Container, session: Exec, config: ExecConfig, *, attached: bool
    ) -> ExecSession:
        try:
            running = await self._begin(container, session, config, attached=attached)
        except NaruError as error:
            self._ended(session, error.exit_code if isinstance(error, StartFailed) else 126)
            raise
        self._emit("exec_start", container, session)
        self._deps.tasks.spawn(f"exec {session.id[:12]}", self._supervise(container, session))
        return running

    async def _attached(
        self, container: Container, session: Exec, config: ExecConfig
    ) -> ClientStream:
        try:
            running = await self._started(container, session, config, attached=True)
        except NaruError as error:
            return TextStream(
                one_frame(1, f"{visible(error.message)}\r\n".encode()), tty=config.tty
            )

        def leave(detached: bool) -> None:
            running.abandon()
            if detached:
                self._emit("exec_detach", container, session)

        keys = parse_keys(config.detach_keys or DEFAULT_KEYS)
        return SessionStream(running, tty=config.tty, keys=keys, leave=leave)

    async def _begin(
        self, container: Container, session: Exec, config: ExecConfig, *, attached: bool
    ) -> ExecSession:
        try:
            user = await offload(self._user, container, config.user)
            request = self._request(container, config, user, attached=attached)
            running = await self._deps.runtime.exec(request)
        except OSError as error:
            if error.errno in _ENDED:
                raise Conflict(f"container {container.id} is not running") from error
            raise Internal(f"cannot execute in {container.name}: {error.strerror}") from error
        session.session, session.pid, session.running = running, running.pid, True
        return running

    def _request(
        self, container: Container, config: ExecConfig, user: ResolvedUser, *, attached: bool
    ) -> ExecRequest:
        own = replace(
            container.config, tty=config.tty, env=[*(container.config.env or ()), *config.env]
        )
        capabilities = None
        if config.privileged:
            capabilities = tuple(sorted(self._deps.facts.bounding))
        mapped = self._deps.roots.mapped(container.id)
        return ExecRequest(
            container_id=container.id,
            argv=config.cmd,
            env=environment(
                own,
                hostname=container.config.hostname,
                home=user.home,
                linked_env=environment_of(
                    linked(self._deps, container, alive_only=True), container.name
                ),
            ),
            cwd=config.working_dir or container.config.working_dir or "/",
            uid=user.uid,
            gid=user.gid,
            additional_gids=user.groups,
            tty=config.tty,
            console_size=config.console_size,
            capabilities=capabilities,
            attach_stdin=attached and config.attach_stdin,
            attach_stdout=attached and config.attach_stdout,
            attach_stderr=attached and config.attach_stderr,
            stdio_owner=None if mapped is None else host_ids(mapped.id_map, user),
        )

    def _user(self, container: Container, user: str) -> ResolvedUser:
        rootfs = self._deps.roots.path(container.id)
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return resolve_user(
                root_fd, user or container.config.user, container.host_config.group_add or ()
            )
        finally:
            os.close(root_fd)

    async def _supervise(self, container: Container, session: Exec) -> None:
        assert session.session is not None
        code = await session.session.wait()
        self._ended(session, code)
        self._emit("exec_die", container, session, exitCode=str(code))

    def _ended(self, session: Exec, code: int) -> None:
        session.running, session.exit_code = False, code
        session.ended_s = time.monotonic()
        session.session = None
        session.done.set()

    def resize(self, identifier: str, height: int, width: int) -> None:
        """Raises: NotFound, Conflict when it does not run or has no terminal."""
        session = self.inspect(identifier)
        if session.session is None:
            raise Conflict(f"exec process {identifier} is not running")
        session.session.resize(height, width)

    async def probe(
        self, container: Container, words: list[str], timeout_s: float
    ) -> tuple[int, str]:
        """Run a health check: (exit code, output). Raises: TimeoutError after killing it."""
        config = ExecConfig(cmd=tuple(words), attach_stdout=True, attach_stderr=True)
        session = Exec(id=new_id(), container_id=container.id, config=config, started=True)
        self._execs[session.id] = session
        try:
            self._emit("exec_create", container, session)
            running = await self._begin(container, session, config, attached=True)
            self._emit("exec_start", container, session)
            self._deps.tasks.spawn("health probe", self._supervise(container, session))
            try:
                async with asyncio.timeout(timeout_s):
                    output = await _read_some(running)
                    await session.done.wait()
            except TimeoutError:
                self._kill(running)
                raise
            return session.exit_code or 0, output
        except StartFailed as error:
            return error.exit_code, error.message
        finally:
            self._execs.pop(session.id, None)

    def _kill(self, running: ExecSession) -> None:
        start = start_time(running.pid)
        if start is not None:
            self._deps.runtime.kill(ProcessId(running.pid, start), signal.SIGKILL)
        running.abandon()

    def _running(self, container: Container) -> Container:
        status = container.state.status
        if status == "paused":
            raise Conflict(
                f"Container {container.name} is paused, unpause the container before exec"
            )
        if status == "restarting":
            raise Conflict(
                f"container {container.id} is restarting, wait until the container is running"
            )
        if status != "running":
            raise Conflict(f"container {container.id} is not running")
        return container

    def _expire(self) -> None:
        now = time.monotonic()
        for identifier, item in list(self._execs.items()):
            ended = item.exit_code is not None and now - item.ended_s > KEPT_S
            if ended or self._deps.store.get(item.container_id) is None:
                del self._execs[identifier]

    def _emit(self, action: str, container: Container, session: Exec, **more: str) -> None:
        shown = action
        if action in ("exec_create", "exec_start"):
            command, *arguments = session.config.cmd
            shown = f"{action}: {command} {' '.join(arguments)}"  # Docker's has that last space
        attributes = labels.of_event(container, execID=session.id, **more)
        self._deps.emit("container", shown, container.id, attributes)


async def _read_some(session: ExecSession) -> str:
    parts = bytearray()
    while (frame := await session.read()) is not None:
        if len(parts) < _PROBE_OUTPUT_BYTES:
            parts += frame[1]
    return bytes(parts[:_PROBE_OUTPUT_BYTES]).decode(errors="replace")
