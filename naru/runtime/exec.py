"""exec: a further process in a running container, spawned directly on the OCI runtime.

    narud -- posix_spawn --> crun exec --process FD4 --pid-file FD3 --log FD3
                               |  stdin, stdout, stderr: pipes, or a terminal sent over a socket
                               `- the process; crun waits for it and ends with its exit code

Descriptor 3 is a pipe on which crun reports: its error as a JSON line, the process's number once
the process is about to run, or nothing at all. Descriptor 4 is a memory file with the process spec.
crun closes both in the process. No directory is among the descriptors (cwd `/proc/self/fd/N`).

A session belongs to narud, not to its client: when the client goes, output is read and dropped and
the process goes on.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import termios
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.errors import Conflict, StartFailed
from naru.base.undo import run_to_end
from naru.kernel.process import wait_readable
from naru.kernel.spawn import Child, Spawner
from naru.runtime.bundle import Bundle
from naru.runtime.crun import ENVIRONMENT, OciRuntime, exec_failure
from naru.runtime.output import STDERR, STDOUT, Frame, OutputBuffer
from naru.runtime.stdin import StdinWriter

_STATUS_FD, _PROCESS_FD = 3, 4
_READ_BYTES = 65536
_READS_PER_WAKEUP = 16
_STRAGGLERS_S = 2.0
_STATUS_LIMIT_BYTES = 65536
EXEC_FAILED_CODE = 255


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """`env` is complete; `capabilities` None takes the container's, as everything not named here.

    `attach_stdin/out/err` False gives /dev/null; a terminal is always made when `tty` is set.
    """

    container_id: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    tty: bool = False
    console_size: tuple[int, int] | None = None
    capabilities: tuple[str, ...] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True


def process_spec(request: ExecRequest, container: dict[str, Any]) -> dict[str, Any]:
    """The OCI process: the container's own (`container`) with what `request` says changed."""
    process = dict(container)
    process.update(
        args=list(request.argv),
        env=list(request.env),
        cwd=request.cwd,
        terminal=request.tty,
        user={
            "uid": request.uid,
            "gid": request.gid,
            "additionalGids": list(request.additional_gids),
        },
    )
    process.pop("consoleSize", None)
    if request.console_size is not None:
        height, width = request.console_size
        process["consoleSize"] = {"height": height, "width": width}
    if request.capabilities is not None:
        names = list(request.capabilities)
        process["capabilities"] = {kind: names for kind in ("bounding", "effective", "permitted")}
    return process


class ExecSession:
    """A running exec process. `read` gives its output, `wait` its exit code."""

    def __init__(self, child: Child, pid: int, status_fd: int, spill_dir: str) -> None:
        self.pid = pid
        self._child = child
        self._status_fd = status_fd
        self._buffer = OutputBuffer(spill_dir)
        self._open: dict[int, int] = {}
        self._stdin: StdinWriter | None = None
        self._terminal: int | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    def add_output(self, fd: int, stream: int) -> None:
        """Reads `fd` to its end into the session's output; the session owns it."""
        os.set_blocking(fd, False)
        self._open[fd] = stream
        self._drained.clear()
        asyncio.get_running_loop().add_reader(fd, self._readable, fd)

    def set_stdin(self, fd: int) -> None:
        """Where `write` goes to; the session owns it."""
        os.set_blocking(fd, False)
        self._stdin = StdinWriter(fd, lambda data: os.write(fd, data))

    def set_terminal(self, fd: int) -> None:
        self._terminal = fd
        self.add_output(fd, STDOUT)
        self.set_stdin(fd)

    def _readable(self, fd: int) -> None:
        for _ in range(_READS_PER_WAKEUP):
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # EIO: nobody has the terminal open any more
                if error.errno != errno.EIO:
                    self._close_output(fd)
                    raise
                data = b""
            if not data:
                self._close_output(fd)
                return
            self._buffer.push(self._open[fd], data)

    def _close_output(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        del self._open[fd]
        if fd == self._terminal and self._stdin is not None:
            self._stdin.close()
        os.close(fd)
        if not self._open:
            self._drained.set()

    async def read(self) -> Frame | None:
        """(1 stdout or 2 stderr, bytes), None after the last byte."""
        return await self._buffer.read()

    async def write(self, data: bytes) -> None:
        """To the process's stdin; waits while it does not read, drops what it will never read."""
        if self._stdin is not None:
            await self._stdin.write(data)

    def close_stdin(self) -> None:
        """EOF for the process; a terminal has no such thing and stays as it is."""
        if self._stdin is not None and self._terminal is None and not self._stdin.closed:
            self._stdin.close()
            os.close(self._stdin.fd)

    def resize(self, height: int, width: int) -> None:
        """Sets the terminal's size. Raises: Conflict when there is no terminal (any more)."""
        if self._terminal is None or self._terminal not in self._open:
            raise Conflict("cannot resize a stopped exec session or one without a terminal")
        termios.tcsetwinsize(self._terminal, (height, width))

    def abandon(self) -> None:
        """The client is gone: its stdin ends, output is dropped, the process goes on."""
        self.close_stdin()
        self._buffer.discard()

    async def wait(self) -> int:
        """The exit code (128+N after signal N), after the last byte of output was taken in.

        To be awaited once by the session's owner. What background processes of the session still
        write is waited for 2 s at most, as Docker does.
        """
        code = await self._child.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STRAGGLERS_S):
                await self._drained.wait()
        for fd in list(self._open):
            self._close_output(fd)
        self.close_stdin()
        self._buffer.end()
        os.set_blocking(self._status_fd, False)
        with contextlib.suppress(BlockingIOError):
            if os.read(self._status_fd, 4096).startswith(b"{"):
                code = EXEC_FAILED_CODE  # the process's program could not be executed after all
        os.close(self._status_fd)
        return 128 - code if code < 0 else code


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

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.popitem()[1])

    def close(self) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.popitem()[1])


async def begin_exec(
    request: ExecRequest,
    bundle: Bundle,
    runtime: OciRuntime,
    spawner: Spawner,
    exec_root: str,
    spill_dir: str,
) -> ExecSession:
    """Spawns the process and returns when it runs.

    Raises: StartFailed with Docker's text and 126 or 127; Conflict when the container is gone.
    """
    stdio = _Stdio()
    terminal = _Terminal(exec_root) if request.tty else None
    try:
        stdio.pipe(_STATUS_FD, to_child=False)
        stdio.theirs[_PROCESS_FD] = _process_file(request, bundle)
        if terminal is None:
            _make_pipes(request, stdio)
        argv = _arguments(request.container_id, runtime, terminal)
        child = spawner.spawn(argv, env=ENVIRONMENT, fds=stdio.theirs, cwd="/")
        stdio.close_theirs()
        try:
            pid = await _started(stdio.ours[_STATUS_FD], request)
        except StartFailed:
            await run_to_end(child.wait())
            raise
        except BaseException:
            child.kill()
            await run_to_end(child.wait())
            raise
        return _session(child, pid, stdio, terminal, spill_dir)
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


def _process_file(request: ExecRequest, bundle: Bundle) -> int:
    """A memory file with the process spec. Raises: Conflict when the container is gone."""
    try:
        with open(bundle.file("config.json"), "rb") as source:
            spec = msgspec.json.decode(source.read())
    except FileNotFoundError as error:
        raise Conflict(f"container {request.container_id} is not running") from error
    fd = os.memfd_create("process", os.MFD_CLOEXEC)
    os.write(fd, msgspec.json.encode(process_spec(request, spec["process"])))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def _started(fd: int, request: ExecRequest) -> int:
    """The process's number from the status pipe. Raises: StartFailed when none comes."""
    text = bytearray()
    while len(text) < _STATUS_LIMIT_BYTES:
        await wait_readable(fd)
        part = os.read(fd, 4096)
        text += part
        if text[:1].isdigit():
            return int(text.split(b"{")[0])
        if not part:
            break
    raise exec_failure(_log_message(bytes(text)), request.argv, request.cwd)


def _log_message(text: bytes) -> str:
    """The last message of crun's JSON log lines; the text itself when it is none."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError):
            return str(msgspec.json.decode(line)["msg"])
    return text.decode(errors="replace")


def _session(
    child: Child, pid: int, stdio: _Stdio, terminal: _Terminal | None, spill_dir: str
) -> ExecSession:
    session = ExecSession(child, pid, stdio.ours.pop(_STATUS_FD), spill_dir)
    if terminal is not None:
        fd = terminal.take()
        if fd is not None:
            session.set_terminal(fd)
        return session
    if 0 in stdio.ours:
        session.set_stdin(stdio.ours.pop(0))
    for number, stream in ((1, STDOUT), (2, STDERR)):
        if number in stdio.ours:
            session.add_output(stdio.ours.pop(number), stream)
    return session
