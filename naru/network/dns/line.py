"""narud's end of the control socket: start a name server, find a living one, talk to it. Blocks."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from naru.base.errors import Internal
from naru.base.failpoints import declare
from naru.kernel.process import ProcessHandle, ProcessId, identify
from naru.kernel.spawn import Child, Spawner
from naru.network.dns import control

BOUND = declare("dns.bound")
SPAWNED = declare("dns.spawned")

REPLY_S = 5.0
_BOOT = "import sys; sys.path.append(sys.argv[1]); from naru.network.dns.server import main; main()"
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


class Line:
    """A connection to a living server. Raises OSError or ValueError once it is of no use."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(REPLY_S)

    def ask(self, fields: control.Fields, descriptors: list[int] | None = None) -> dict[str, Any]:
        """Raises: Internal with the server's words; OSError, ValueError."""
        data = control.frame(fields)
        sent = 0
        if descriptors:
            sent = socket.send_fds(self._socket, [data], descriptors)
        self._socket.sendall(data[sent:])
        reply = self._read()
        if "error" in reply:
            raise Internal(f"the name server refused: {reply['error']}")
        return reply

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (size := control.length(data)) is None or len(data) < size:
            part = self._socket.recv(1 << 16)
            if not part:
                raise ConnectionResetError("the name server went")
            data += part
        return control.parse(data)

    def close(self) -> None:
        self._socket.close()


class Post:
    """Where an engine's server is found: a socket and a lock below the exec root."""

    def __init__(self, spawner: Spawner, exec_root: str, key: str) -> None:
        self._spawner = spawner
        self._root = exec_root
        self._key = key
        self._lock = os.path.join(exec_root, "dns.lock")

    def adopt(self) -> tuple[Line, ProcessId, dict[str, int]] | None:
        """A living server of an earlier narud, and the namespaces it serves, by client. One that
        does not answer, or in other words, is ended."""
        line = None
        try:
            line = Line(self._connect())
            process = identify(int(line.ask({"do": "list"})["pid"]))
            told = line.ask({"do": "list"})  # by the same process: it was identified while it lived
            if process is not None and told["protocol"] == control.PROTOCOL:
                return line, process, told["clients"]
        except (OSError, ValueError, KeyError, Internal):
            pass
        if line is not None:
            line.close()
        self._evict()
        return None

    def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            made.settimeout(REPLY_S)
            with self._near() as path:
                made.connect(path)
        except BaseException:
            made.close()
            raise
        return made

    @contextlib.contextmanager
    def _near(self) -> Iterator[str]:
        """The socket's path, short enough for the kernel however long the exec root's is."""
        folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/dns.sock"
        finally:
            os.close(folder)

    def launch(self) -> tuple[Line, ProcessId, Child]:
        """Start a server. Raises: OSError, Internal."""
        with contextlib.ExitStack() as stack:
            lock = self._take_lock()
            stack.callback(os.close, lock)
            listener = stack.enter_context(self._listen())
            BOUND()
            child = self._spawner.spawn(
                [sys.executable, "-I", "-S", "-c", _BOOT, _PACKAGE_ROOT, self._key],
                env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"},
                fds={3: listener.fileno(), 4: lock},
            )
        try:
            SPAWNED()
            process = identify(child.pid) or ProcessId(child.pid, 0)
            return Line(self._connect()), process, child
        except BaseException:
            child.kill()
            child.wait_blocking(REPLY_S)
            raise

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before it has a name
            with self._near() as path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                listener.bind(path)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        return listener

    def _take_lock(self) -> int:
        """Raises: BlockingIOError while a server holds it."""
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _evict(self) -> None:
        """End whoever holds the lock: nobody could talk to it."""
        try:
            os.close(self._take_lock())
        except BlockingIOError:
            lock = os.path.realpath(self._lock)
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/4") == lock and int(pid) != os.getpid():
                        end(identify(int(pid)))

    def clear(self) -> None:
        """Nobody is to be found here any more. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._root, "dns.sock"))


def end(process: ProcessId | None, number: int = signal.SIGKILL) -> None:
    """A server has nothing to put in order: it may be killed at any time."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError), ProcessHandle.open(process) as handle:
            handle.send_signal(number)
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            poller.poll(REPLY_S * 1000)
