"""Beginning an exec session on the OCI runtime.

    narud -- posix_spawn --> crun exec --process FD4 --pid-file FD3 --log FD3
                               |  stdin, stdout, stderr: pipes, or a terminal sent over a socket
                               `- the process; crun waits for it and ends with its exit code

Descriptor 3 is a pipe on which crun reports: its error as a JSON line, the process's number once
the process is about to run, or nothing at all. Descriptor 4 is a pipe with the process spec: crun
reads it to its end, which comes when crun has the out-of-memory score that the process inherits.
crun closes both in the process. No directory is among the descriptors (cwd `/proc/self/fd/N`).

Other runtimes are given files instead, and are asked again and again whether the process runs.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import termios
import tty
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.errors import Conflict, StartFailed
from naru.base.undo import run_to_end
from naru.kernel.devices import open_null
from naru.kernel.process import set_oom_score_adj, wait_readable
from naru.kernel.spawn import Child, Spawner
from naru.runtime.bundle import Bundle
from naru.runtime.crun import ENVIRONMENT, OciRuntime, exec_failure
from naru.runtime.exec import ExecRequest, ExecSession, process_spec
from naru.runtime.output import STDERR, STDOUT

_STATUS_FD, _PROCESS_FD = 3, 4
_STATUS_LIMIT_BYTES = 65536
_PIPE_BYTES = 65536
_POLL_S = 0.003


class _Terminal:
    """A listening socket to which the runtime sends the terminal's controlling side."""

    def __init__(self, exec_root: str) -> None:
        self.path = f"{exec_root}/tty-{secrets.token_hex(8)}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(self.path)
            os.chmod(self.path, 0o600)
            self._listener.listen(1)
            self._listener.setblocking(False)
        except BaseException:
            self.close()
            raise

    def take(self) -> int | None:
        """The terminal, once the runtime has sent it (it has when the process runs)."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return None
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        return fds[0] if fds else None

    def close(self) -> None:
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class _Stdio:
    """The descriptors of one exec: `theirs` for the runtime, `ours` for the session."""

    def __init__(self) -> None:
        self.theirs: dict[int, int] = {}
        self.ours: dict[int, int] = {}

    def pipe(self, number: int, *, to_child: bool) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self.theirs[number] = reading if to_child else writing
        self.ours[number] = writing if to_child else reading

    def fill(self, owner: tuple[int, int] | None) -> None:
        """A null device for what is not connected; never the host's, see `open_null`.

        `owner` (the host's ids) owns all of it then; crun cannot see to that in a user namespace.
        """
        for number in (0, 1, 2):
            if number not in self.theirs:
                self.theirs[number] = open_null()
            if owner is not None:
                os.fchown(self.theirs[number], *owner)

    def close_ours(self, number: int) -> None:
        if number in self.ours:
            os.close(self.ours.pop(number))

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.popitem()[1])

    def close(self) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.popitem()[1])


@dataclass(frozen=True, slots=True)
class ExecPlace:
    """Where and with what a process is begun."""

    bundle: Bundle
    runtime: OciRuntime
    spawner: Spawner
    exec_root: str
    spill_dir: str


async def begin_exec(request: ExecRequest, place: ExecPlace) -> ExecSession:
    """Spawns the process and returns when it runs.

    Raises: StartFailed with Docker's text and 126 or 127; Conflict when the container is gone.
    """
    if place.runtime.binary.version.startswith("crun "):
        return await _by_descriptors(request, place)
    return await _by_files(request, place)


async def _by_descriptors(request: ExecRequest, place: ExecPlace) -> ExecSession:
    stdio = _Stdio()
    terminal = _Terminal(place.exec_root) if request.tty else None
    try:
        stdio.pipe(_STATUS_FD, to_child=False)
        process = _process(request, place.bundle)
        _offer_process(stdio, msgspec.json.encode(process))
        if terminal is None:
            _make_pipes(request, stdio)
        stdio.fill(request.stdio_owner)
        argv = _arguments(request.container_id, place.runtime, terminal)
        child = place.spawner.spawn(argv, env=ENVIRONMENT, fds=stdio.theirs, cwd="/")
        _give_oom_score(child.pid, process)
        stdio.close_ours(_PROCESS_FD)
        stdio.close_theirs()
        try:
            pid, failed = await _started(stdio.ours[_STATUS_FD], request)
        except StartFailed:
            await run_to_end(child.wait())
            raise
        except BaseException:
            child.kill()
            await run_to_end(child.wait())
            raise
        session = ExecSession(
            child, pid, stdio.ours.pop(_STATUS_FD), place.spill_dir, failed=failed
        )
        return _connected(session, stdio, terminal)
    finally:
        stdio.close()
        if terminal is not None:
            terminal.close()


def _make_pipes(request: ExecRequest, stdio: _Stdio) -> None:
    if request.attach_stdin:
        stdio.pipe(0, to_child=True)
    if request.attach_stdout:
        stdio.pipe(1, to_child=False)
    if request.attach_stderr:
        stdio.pipe(2, to_child=False)


def _arguments(container_id: str, runtime: OciRuntime, terminal: _Terminal | None) -> list[str]:
    status = f"/proc/self/fd/{_STATUS_FD}"
    arguments = runtime.arguments("--log", f"file:{status}", "--log-format", "json", "exec")
    arguments += ["--process", f"/proc/self/fd/{_PROCESS_FD}", "--pid-file", status]
    if terminal is not None:
        arguments += ["--tty", "--console-socket", terminal.path]
    return [*arguments, container_id]


def _process(request: ExecRequest, bundle: Bundle) -> dict[str, Any]:
    """The process spec. Raises: Conflict when the container is gone."""
    try:
        with open(bundle.file("config.json"), "rb") as source:
            spec = msgspec.json.decode(source.read())
    except FileNotFoundError as error:
        raise Conflict(f"container {request.container_id} is not running") from error
    return process_spec(request, spec["process"])


def _give_oom_score(crun_pid: int, process: dict[str, Any]) -> None:
    """crun's exec leaves `oomScoreAdj` out: the process would be as spared as the engine is."""
    score = process.get("oomScoreAdj")
    if score is not None:
        with contextlib.suppress(PermissionError):
            set_oom_score_adj(crun_pid, score)


def _offer_process(stdio: _Stdio, content: bytes) -> None:
    """Descriptor 4 with `content`; its end is seen when our side is closed."""
    stdio.pipe(_PROCESS_FD, to_child=True)
    try:
        if len(content) > _PIPE_BYTES:
            fcntl.fcntl(stdio.ours[_PROCESS_FD], fcntl.F_SETPIPE_SZ, len(content))
    except PermissionError:  # more than fs.pipe-max-size: a file then, which is there at once
        stdio.close_ours(_PROCESS_FD)
        os.close(stdio.theirs.pop(_PROCESS_FD))
        stdio.theirs[_PROCESS_FD] = fd = os.memfd_create("process", os.MFD_CLOEXEC)
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    else:
        os.write(stdio.ours[_PROCESS_FD], content)


async def _started(fd: int, request: ExecRequest) -> tuple[int, bool]:
    """The process's number from the status pipe, and whether an error came right behind it.

    Raises: StartFailed when no number comes.
    """
    text = bytearray()
    while len(text) < _STATUS_LIMIT_BYTES:
        await wait_readable(fd)
        part = os.read(fd, 4096)
        text += part
        if text[:1].isdigit():
            number, failure, _ = text.partition(b"{")
            return int(number), bool(failure)
        if not part:
            break
    raise exec_failure(_log_message(bytes(text)), request.argv, request.cwd)


def _log_message(text: bytes) -> str:
    """The last message of crun's JSON log lines; the text itself when it is none."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError):
            return str(msgspec.json.decode(line)["msg"])
    return text.decode(errors="replace")


async def _by_files(request: ExecRequest, place: ExecPlace) -> ExecSession:
    """For other runtimes (runc), which might leave a descriptor of ours open in the process."""
    stem = f"{place.exec_root}/exec-{secrets.token_hex(8)}"
    process, pid_file, log = f"{stem}.json", f"{stem}.pid", f"{stem}.log"
    stdio = _Stdio()
    try:
        with open(process, "xb") as out:
            out.write(msgspec.json.encode(_process(request, place.bundle)))
        if request.tty:
            _make_terminal(request, stdio)
        else:
            _make_pipes(request, stdio)
        stdio.fill(request.stdio_owner)
        argv = place.runtime.arguments("--log", log, "exec", "--process", process)
        argv += ["--pid-file", pid_file, request.container_id]
        child = place.spawner.spawn(argv, env=ENVIRONMENT, fds=stdio.theirs, cwd="/")
        stdio.close_theirs()
        try:
            pid = await _pid_of(child, pid_file)
        except BaseException:
            child.kill()
            await run_to_end(child.wait())
            raise
        if pid is None:
            raise exec_failure(_text_of(log), request.argv, request.cwd)
        session = ExecSession(child, pid, None, place.spill_dir)
        if request.tty:
            session.set_terminal(stdio.ours.pop(0))
        else:
            _take_pipes(session, stdio)
        return session
    finally:
        stdio.close()
        for name in (process, pid_file, log):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _make_terminal(request: ExecRequest, stdio: _Stdio) -> None:
    """A terminal for the runtime itself, which copies between it and the process's own."""
    stdio.ours[0], slave = os.openpty()
    tty.setraw(slave)
    if request.console_size is not None:
        termios.tcsetwinsize(slave, request.console_size)
    stdio.theirs = {0: slave, 1: os.dup(slave), 2: os.dup(slave)}


async def _pid_of(child: Child, pid_file: str) -> int | None:
    """The process's number once the runtime has written it; None when it ended before."""
    while True:
        ended = child.poll() is not None
        text = _text_of(pid_file)
        if text.isdigit():
            return int(text)
        if ended:
            return None
        await asyncio.sleep(_POLL_S)


def _text_of(path: str) -> str:
    try:
        with open(path, "rb") as source:
            return source.read(_STATUS_LIMIT_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _connected(session: ExecSession, stdio: _Stdio, terminal: _Terminal | None) -> ExecSession:
    if terminal is not None:
        fd = terminal.take()
        if fd is not None:
            session.set_terminal(fd)
        return session
    _take_pipes(session, stdio)
    return session


def _take_pipes(session: ExecSession, stdio: _Stdio) -> None:
    if 0 in stdio.ours:
        session.set_stdin(stdio.ours.pop(0))
    for number, stream in ((1, STDOUT), (2, STDERR)):
        if number in stdio.ours:
            session.add_output(stdio.ours.pop(number), stream)
