"""exec: a further process in a running container, what is asked for and what runs.

A session belongs to narud, not to its client: when the client goes, output is read and dropped and
the process goes on. How it is begun: exec_spawn.py.
"""

import asyncio
import contextlib
import errno
import os
import signal
import termios
from dataclasses import dataclass
from typing import Any

from naru.base.errors import Conflict
from naru.kernel.spawn import Child
from naru.runtime.output import STDOUT, Frame, OutputBuffer
from naru.runtime.stdin import StdinWriter

_READ_BYTES = 65536
_READS_PER_WAKEUP = 16
_STRAGGLERS_S = 2.0
EXEC_FAILED_CODE = 255


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """`env` is complete; `capabilities` None takes the container's, as everything not named here.

    `attach_stdin/out/err` False gives /dev/null; a terminal is always made when `tty` is set.
    `stdio_owner`: the host's ids of the process, where the container has ids of its own.
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
    stdio_owner: tuple[int, int] | None = None


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

    def __init__(
        self,
        child: Child,
        pid: int,
        status_fd: int | None,
        spill_dir: str,
        *,
        failed: bool = False,
    ) -> None:
        """`child`: the runtime, which ends with the process; `status_fd`: its reports (crun).

        `failed`: crun reported already that the program cannot be executed.
        """
        self.pid = pid
        self._child = child
        self._status_fd = status_fd
        self._failed = failed
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
        """Sets the terminal's size; without one nothing happens, as with Docker.

        Raises: Conflict when the terminal is gone.
        """
        if self._terminal is None:
            return
        if self._terminal not in self._open:
            raise Conflict("cannot resize a stopped exec session")
        termios.tcsetwinsize(self._terminal, (height, width))
        if self._status_fd is None:  # the terminal is the runtime's, which passes the size on
            self._child.kill(signal.SIGWINCH)

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
        if self._status_fd is not None:
            self._failed |= _says_failed(self._status_fd)
        if self._failed:
            code = EXEC_FAILED_CODE
        return 128 - code if code < 0 else code


def _says_failed(fd: int) -> bool:
    """Whether crun reported after all that the program could not be executed; closes `fd`."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 4096).startswith(b"{")
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
