"""conmon: the process that keeps a container's stdio, log file and exit status when narud is gone.

    narud -- posix_spawn --> conmon --sync -- fork --> crun create
             sync pipe <---- {"data": PID} or {"data": -1, "message": TEXT} ----

With `--sync` conmon stays our child while we live, and init's after; its pidfd comes with it.

conmon 2.1.6 reads its fifos in blocks of up to 199 bytes, and of several lines in one block it
obeys the first one again and again. So every message is padded to exactly 199 bytes.

Spec: conmon(8); the fifo and pipe formats were read from its behaviour.
"""

import asyncio
import contextlib
import fcntl
import os
import sys
import termios

import msgspec

from naru.base.errors import Internal
from naru.base.failpoints import declare
from naru.base.undo import run_to_end
from naru.kernel.process import ProcessId, start_time
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload
from naru.runtime.bundle import Bundle, LaunchRecord
from naru.runtime.crun import OciRuntime

_FIFO_BLOCK_BYTES = 199
_REOPEN_LOG = "2 0 0"
_SYNC_FD = 3
_SYNC_LIMIT_BYTES = 65536
_SOCKET_FOLDER_LENGTH = 80
_WATCH_RUNTIME_S = 0.7
_KILLED = "the runtime was killed before the container was created"

SPAWNED = declare("runtime.conmon-spawned")


class _Report(msgspec.Struct):
    data: int
    message: str = ""


class CreateRefused(Exception):
    """conmon or the runtime ended without a container; `output` is what the runtime said."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


class Conmon:
    """Launches containers under one conmon binary."""

    def __init__(self, path: str, spawner: Spawner, exec_root: str) -> None:
        """conmon makes a socket for each terminal, in `exec_root` if its address is long enough."""
        self._path = path
        self._spawner = spawner
        self._socket_folder = exec_root if len(exec_root) <= _SOCKET_FOLDER_LENGTH else "/tmp"

    async def launch(
        self, bundle: Bundle, record: LaunchRecord, runtime: OciRuntime
    ) -> tuple[Child, ProcessId]:
        """conmon with a created container; (conmon, the workload's init).

        Raises: CreateRefused with the runtime's words.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(writing, True)
            try:
                child = self._spawner.spawn(
                    [self._path, *_arguments(bundle, record, runtime)],
                    env={
                        "_OCI_SYNCPIPE": str(_SYNC_FD),
                        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                        "TMPDIR": self._socket_folder,
                        "TZ": "UTC0",
                    },
                    fds={_SYNC_FD: writing},
                    cwd=bundle.path,
                )
            finally:
                os.close(writing)
            try:
                SPAWNED()
                report = await _report_of(child, reading)
            except BaseException:
                child.kill()
                await run_to_end(child.wait())
                raise
        finally:
            os.close(reading)
        if report.data <= 0:
            if report.message == _KILLED:
                child.kill()
            await run_to_end(child.wait())
            raise CreateRefused(report.message)
        start = start_time(report.data)
        if start is None:  # it was killed at once; nothing will ever match start 0
            start = 0
        return child, ProcessId(report.data, start)


def _arguments(bundle: Bundle, record: LaunchRecord, runtime: OciRuntime) -> list[str]:
    identifier = record.container_id
    arguments = [
        *("--api-version", "1", "--sync", "--full-attach", "--no-sync-log"),
        *("--cid", identifier, "--cuuid", identifier, "--bundle", bundle.path),
        *("--runtime", runtime.binary.path, "--runtime-arg", "--root"),
        *("--runtime-arg", runtime.state_root),
        *("--container-pidfile", bundle.file("pid"), "--persist-dir", bundle.path),
        *("--log-path", f"k8s-file:{record.log_path}" if record.log_path else "none"),
    ]
    if record.tty:
        arguments.append("--terminal")
    if record.stdin:
        arguments.append("--stdin")
    if record.tty or not record.stdin_once:
        arguments.append("--leave-stdin-open")
    return arguments


async def _report_of(child: Child, fd: int) -> _Report:
    """What conmon says on its sync pipe; a report without data when it or the runtime is killed.

    conmon 2.1.6 waits for ever on the stderr of a container whose runtime was killed when the
    container's first process was there already: so a runtime that is long in coming is watched.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    text = bytearray()

    def readable() -> None:
        with contextlib.suppress(BlockingIOError):
            part = os.read(fd, 16384)
            text.extend(part)
            if (not part or part.endswith(b"\n") or len(text) > _SYNC_LIMIT_BYTES) and (
                not done.done()
            ):
                done.set_result(bytes(text))

    loop.add_reader(fd, readable)
    try:
        missing = 0
        while not done.done() and missing < 2:
            await asyncio.wait([done], timeout=_WATCH_RUNTIME_S)
            missing = 0 if done.done() or await offload(_runtime_lives, child.pid) else missing + 1
    finally:
        loop.remove_reader(fd)
    return _decode(done.result()) if done.done() else _Report(data=-1, message=_KILLED)


def _runtime_lives(conmon_pid: int) -> bool:
    """Whether conmon has a child in its own session: the workload's init has one of its own."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as source:
                    fields = source.read().rpartition(b")")[2].split()
                if int(fields[1]) == conmon_pid == int(fields[3]):
                    return True
    return False


def _decode(line: bytes) -> _Report:
    if not line:
        return _Report(data=-1)
    try:
        return msgspec.json.decode(line, type=_Report)
    except msgspec.MsgspecError:
        return _Report(data=-1, message=line.decode(errors="replace"))


def _write_fifo(path: str, message: str) -> None:
    """One padded message. Raises: Internal when conmon does not read (it is gone or stuck)."""
    block = f"{message:>{_FIFO_BLOCK_BYTES - 1}}\n".encode()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, block)
        finally:
            os.close(fd)
    except OSError as error:
        raise Internal(f"conmon does not listen at {path}: {error.strerror}") from error


def _unread_bytes(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(fd)


def resize(bundle: Bundle, height: int, width: int) -> None:
    """Sets the size of the container's terminal. Raises: Internal."""
    _write_fifo(bundle.file("winsz"), f"{height} {width}")


def reopen_log(bundle: Bundle) -> None:
    """Makes conmon begin a new log file *in place of* whatever has the log's name now.

    The caller renamed the old one away: what still had the name would be lost. Nothing is sent
    while an earlier message waits, because two in a row would lose what came between them.
    Raises: Internal.
    """
    if _unread_bytes(bundle.file("ctl")) == 0:
        _write_fifo(bundle.file("ctl"), _REOPEN_LOG)
