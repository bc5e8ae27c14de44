"""Clients at a container's stdio: one connection to conmon, any number of sessions on it.

    workload <-pipes-> conmon <-SOCK_SEQPACKET-> AttachHub <-> AttachSession (one per client)

conmon writes to its socket and waits, so the hub always reads and each session buffers for its own
client (output.py). Packets from conmon are one byte that tells the stream (2 stdout, 3 stderr) and
up to 8 KiB of data; packets to it are stdin, which we use for terminals only (stdin.py says why).
When the hub's write side ends, conmon closes the workload's stdin if it was started without
--leave-stdin-open (StdinOnce): so a hub of such a container stays connected once it is.

A session may be opened before the container is launched: the hub then waits, and connects before
the workload starts, so that no byte is missed.
"""

import asyncio
import contextlib
import os
import socket

from naru.base.errors import Internal
from naru.runtime.bundle import Bundle, LaunchRecord
from naru.runtime.output import Frame, OutputBuffer
from naru.runtime.stdin import StdinWriter, open_pipe

_PACKET_BYTES = 32768
_PACKETS_PER_WAKEUP = 64
_PACKETS_LEFT = 4096  # more than a socket's buffer holds
_SEND_BYTES = 32768  # conmon cuts longer ones off


class AttachSession:
    """One client of a container's stdio. `read` gives frames until the container has ended."""

    def __init__(
        self, hub: "AttachHub", spill_dir: str, *, stdin: bool, stdout: bool, stderr: bool
    ) -> None:
        self._hub = hub
        self._stdin = stdin
        self._wanted = frozenset(number for number, wanted in ((1, stdout), (2, stderr)) if wanted)
        self._buffer = OutputBuffer(spill_dir)

    def push(self, stream: int, data: bytes) -> None:
        if stream in self._wanted:
            self._buffer.push(stream, data)

    def end(self) -> None:
        self._buffer.end()

    async def read(self) -> Frame | None:
        """(1 stdout or 2 stderr, bytes), None when the container has ended."""
        return await self._buffer.read()

    async def write(self, data: bytes) -> None:
        """To the workload's stdin; waits while the workload does not read."""
        if self._stdin:
            await self._hub.write(data)

    def close_stdin(self) -> None:
        """The client sends no more: EOF for the workload when the container is StdinOnce."""
        if self._stdin:
            self._hub.end_stdin()

    def close(self) -> None:
        """The client is gone. Idempotent."""
        if self._hub.launched:
            self.close_stdin()
        self._buffer.discard()
        self._hub.leave(self)


class AttachHub:
    """The sessions of one run of one container."""

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id
        self._sessions: set[AttachSession] = set()
        self._socket: socket.socket | None = None
        self._record: LaunchRecord | None = None
        self._launched = asyncio.Event()
        self._stdin_ended = False
        self._writer: StdinWriter | None = None
        self._stdin_fd: int | None = None
        self.ended = False

    @property
    def launched(self) -> bool:
        return self._launched.is_set()

    def join(self, spill_dir: str, *, stdin: bool, stdout: bool, stderr: bool) -> AttachSession:
        session = AttachSession(self, spill_dir, stdin=stdin, stdout=stdout, stderr=stderr)
        self._sessions.add(session)
        if self.ended:
            session.end()
        return session

    def leave(self, session: AttachSession) -> None:
        self._sessions.discard(session)
        keeps = self._record is not None and self._record.stdin_once and not self._record.tty
        if not self._sessions and self.launched and not keeps:
            self.finish()

    def connect(self, bundle: Bundle, record: LaunchRecord) -> None:
        """Joins the launched container. Raises: Internal when conmon does not listen."""
        self._record = record
        try:
            self._socket = _connect(bundle)
        except OSError as error:
            raise Internal(f"cannot attach to {self.container_id}: {error}") from error
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
        self._make_writer(self._socket, record)
        self._launched.set()
        if self._stdin_ended:
            self.end_stdin()

    def _readable(self) -> None:
        self._take(_PACKETS_PER_WAKEUP)

    def drain(self) -> None:
        """Take what conmon left before it ended."""
        self._take(_PACKETS_LEFT)

    def _take(self, packets: int) -> None:
        connection = self._socket
        for _ in range(packets):
            if connection is None:
                return
            try:
                packet = connection.recv(_PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self.finish()
                return
            stream = 1 if packet[0] == 2 else 2
            data = packet[1:]
            for session in self._sessions:
                session.push(stream, data)

    def finish(self) -> None:
        """The container ended, or nobody listens any more: sessions end after what they hold."""
        self.ended = True
        self._launched.set()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._close_writer()
            self._socket.close()
            self._socket = None
        for session in self._sessions:
            session.end()

    async def write(self, data: bytes) -> None:
        await self._launched.wait()
        if self._writer is not None:
            await self._writer.write(data)

    def end_stdin(self) -> None:
        """EOF for the workload, if the container's first client's end means that."""
        if self._record is None:
            self._stdin_ended = True
        elif self._record.stdin_once and not self._record.tty:
            self._close_writer()
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)

    def _make_writer(self, connection: socket.socket, record: LaunchRecord) -> None:
        if record.tty:
            self._writer = StdinWriter(
                connection.fileno(),
                lambda data: connection.send(data[:_SEND_BYTES], socket.MSG_NOSIGNAL),
            )
        elif record.stdin_pipe is not None and record.monitor is not None:
            fd = open_pipe(record.monitor, record.stdin_pipe)
            if fd is not None:
                self._stdin_fd = fd
                self._writer = StdinWriter(fd, lambda data: os.write(fd, data))

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._stdin_fd is not None:
            os.close(self._stdin_fd)
            self._stdin_fd = None


class AttachHubs:
    """The hubs of an engine. `spill_dir`: where a slow client's output waits."""

    def __init__(self, spill_dir: str) -> None:
        self._spill_dir = spill_dir
        self._hubs: dict[str, AttachHub] = {}

    def open(
        self,
        bundle: Bundle,
        running: LaunchRecord | None,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AttachSession:
        """A session at the running container, or at the next launch when `running` is None."""
        container_id = bundle.container_id
        hub = self._hubs.get(container_id)
        if hub is None or hub.ended:
            hub = self._hubs[container_id] = AttachHub(container_id)
        session = hub.join(self._spill_dir, stdin=stdin, stdout=stdout, stderr=stderr)
        if running is not None and not hub.launched:
            try:
                hub.connect(bundle, running)
            except Internal:  # conmon is at its end: so is the session
                hub.finish()
        return session

    def launched(self, bundle: Bundle, record: LaunchRecord) -> None:
        """The container was created: waiting sessions are connected before it starts."""
        hub = self._hubs.get(bundle.container_id)
        if hub is None:
            return
        if hub.launched:  # of an earlier run; it ends by itself
            self._hubs.pop(bundle.container_id)
            return
        hub.connect(bundle, record)

    def gone(self, container_id: str) -> None:
        """The container's processes and files are removed: whoever still waits is released."""
        hub = self._hubs.pop(container_id, None)
        if hub is not None:
            hub.drain()
            hub.finish()


def _connect(bundle: Bundle) -> socket.socket:
    """Through a descriptor of the folder: its path may be longer than a socket address."""
    folder = os.open(bundle.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            connection.connect(f"/proc/self/fd/{folder}/attach")
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(folder)
