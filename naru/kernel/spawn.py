"""Starting programs: posix_spawn, never a fork of narud, and a pidfd for every child.

A child gets exactly the descriptors it is given: all others are closed in it, whoever made them. It
starts with no signal blocked or ignored.

On a host with both cgroup versions crun refuses to work while the unified hierarchy is in sight.
There the Spawner spawns from a thread with a mount namespace of its own that lacks it. Mounts made
later by narud reach the child when it starts, and those below the exec root (a shared mount) also
the ones that run already.
"""

import asyncio
import contextlib
import ctypes
import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from naru.base.errors import Internal
from naru.kernel import mount, syscalls
from naru.kernel.process import wait_readable

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_ACTIONS_SIZE, _ATTR_SIZE, _SIGSET_SIZE = 256, 512, 256
_CGROUPS = "/sys/fs/cgroup"
_UNIFIED = f"{_CGROUPS}/unified"
_DEV_NULL = "/dev/null"
_OUTPUT_LIMIT = 1 << 20
_SETTLE_S = 1.0


@dataclass(slots=True)
class Child:
    """A child process; `wait` must be called once, or it stays a zombie."""

    pid: int
    pidfd: int
    status: int | None = None

    async def wait(self) -> int:
        """The exit code, or -N when signal N ended it; reaps the child and closes the pidfd."""
        while self.status is None:
            await wait_readable(self.pidfd)
            self.poll()
        return self.status

    def wait_blocking(self, timeout_s: float | None = None) -> int:
        """As `wait`, for a thread. Raises: TimeoutError."""
        if self.status is None:
            poller = select.poll()
            poller.register(self.pidfd, select.POLLIN)
            if not poller.poll(None if timeout_s is None else timeout_s * 1000):
                raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s")
            self.poll()
        assert self.status is not None
        return self.status

    def poll(self) -> int | None:
        """The status when the child has ended (it is reaped then), None while it runs."""
        if self.status is None:
            ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            if ended is not None:
                by_signal = ended.si_code != os.CLD_EXITED
                self.status = -ended.si_status if by_signal else ended.si_status
                os.close(self.pidfd)
                self.pidfd = -1
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal; nothing happens when the child has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)


class Spawner:
    """Starts programs; one per narud. `hybrid` (`CgroupHost.hybrid`): see the module. Thread safe.

    `make_shared(exec_root)` must have been called before the first spawn, whatever the host.
    """

    def __init__(self, *, hybrid: bool = False) -> None:
        self._private = _PrivateThread() if hybrid else None

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        fds: Mapping[int, int] | None = None,
        setsid: bool = True,
        cwd: str = "/",
    ) -> Child:
        """Starts `argv` (argv[0] an absolute path). `fds`: its number → our descriptor; 0, 1 and 2
        are /dev/null where not given.

        Raises: OSError (ENOENT, EACCES …) with argv[0] when it cannot be executed.
        """

        def start() -> Child:
            return _posix_spawn(argv, env, fds or {}, setsid, cwd)

        return start() if self._private is None else self._private.call(start)

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float = 30.0
    ) -> tuple[int, bytes]:
        """Runs a short command to its end: its status, and its stdout and stderr (1 MiB at most).

        Raises: TimeoutError after killing it.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC)
        output = _Output(reading)
        try:
            try:
                child = self.spawn(argv, env=env, fds={1: writing, 2: writing})
            finally:
                os.close(writing)
            try:
                async with asyncio.timeout(timeout_s):
                    status = await child.wait()
            finally:
                if child.status is None:
                    child.kill()
                    await asyncio.shield(child.wait())
            return status, output.rest()
        finally:
            output.close()

    def close(self) -> None:
        if self._private is not None:
            self._private.close()


class _Output:
    """Collects what comes out of a pipe; a grandchild that keeps it open keeps nobody waiting."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd, self._size, self._parts = fd, 0, list[bytes]()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> bool:
        """False when nothing more is there now."""
        try:
            part = os.read(self._fd, 65536)
        except BlockingIOError:
            return False
        if not part:
            self._loop.remove_reader(self._fd)
        elif self._size < _OUTPUT_LIMIT:
            self._parts.append(part)
            self._size += len(part)
        return bool(part)

    def rest(self) -> bytes:
        while self._read():
            continue
        return b"".join(self._parts)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class _PrivateThread:
    """The thread that sees no unified cgroup hierarchy.

    It spawns from a copy of narud's mount namespace, and takes a fresh one (0.1 ms) when narud's
    mounts changed since: mounts that do not propagate are right too. Shared mounts stay peers of
    narud's, so a container's `rshared` volume reaches the host as it should. When it idles it
    follows changes a second later, so that what the host unmounts is not kept busy.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Child], Future[Child]] | None]
        self._jobs = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._changes, self._events = select.poll(), select.poll()
        self._events.register(self._wake, select.POLLIN)
        self._home = self._table = -1
        self._behind = self._closed = False
        self._due = 0.0
        self._thread = threading.Thread(target=self._run, name="naru-spawn", daemon=True)
        self._thread.start()

    def call(self, job: Callable[[], Child]) -> Child:
        if self._closed:
            raise Internal("the spawner is closed")
        done: Future[Child] = Future()
        self._jobs.put((job, done))
        os.eventfd_write(self._wake, 1)
        return done.result()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            os.eventfd_write(self._wake, 1)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            job, done = item
            try:
                self._refresh()
                done.set_result(job())
            except BaseException as error:
                done.set_exception(error)
            del item, job, done
        for fd in {self._home, self._table, self._wake} - {-1}:
            os.close(fd)

    def _next(self) -> tuple[Callable[[], Child], Future[Child]] | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._jobs.get_nowait()
            left_ms = max(0.0, self._due - time.monotonic()) * 1000 if self._behind else None
            ready = [fd for fd, _ in self._events.poll(left_ms)]
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if self._table in ready and not self._behind:
                self._behind, self._due = True, time.monotonic() + _SETTLE_S
            if self._behind and time.monotonic() >= self._due:
                self._due += _SETTLE_S
                with contextlib.suppress(OSError):
                    self._refresh()

    def _refresh(self) -> None:
        if self._home < 0:
            syscalls.unshare(syscalls.CLONE_FS)
            self._table = os.open("/proc/thread-self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            self._changes.register(self._table, select.POLLPRI)
            self._events.register(self._table, select.POLLPRI)
            self._behind = True
        if self._changes.poll(0) or self._behind:
            self._behind, self._due = True, time.monotonic() + _SETTLE_S
            syscalls.setns(self._home, syscalls.CLONE_NEWNS)
            _hide_unified()
            self._behind = False


def _hide_unified() -> None:
    """Moves the calling thread to a copy of its mount namespace without the unified hierarchy."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, _CGROUPS, None, syscalls.MS_PRIVATE | syscalls.MS_REC)
    mount.unmount(_UNIFIED)


def _posix_spawn(
    argv: Sequence[str], env: Mapping[str, str], fds: Mapping[int, int], setsid: bool, cwd: str
) -> Child:
    libc = syscalls.libc
    wanted, lifted = _lift({0: -1, 1: -1, 2: -1, **fds})
    actions = ctypes.create_string_buffer(_ACTIONS_SIZE)
    attributes = ctypes.create_string_buffer(_ATTR_SIZE)
    libc.posix_spawn_file_actions_init(actions)
    libc.posix_spawnattr_init(attributes)
    try:
        for number, ours in sorted(wanted.items()):
            if ours < 0:
                libc.posix_spawn_file_actions_addopen(
                    actions, number, _DEV_NULL.encode(), os.O_RDWR, 0
                )
            else:
                libc.posix_spawn_file_actions_adddup2(actions, ours, number)
        _close_others(actions, sorted(wanted))
        libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(cwd))
        _set_attributes(attributes, setsid)
        pid = ctypes.c_int()
        code = libc.posix_spawn(
            ctypes.byref(pid),
            os.fsencode(argv[0]),
            actions,
            attributes,
            _strings([os.fsencode(word) for word in argv]),
            _strings([os.fsencode(f"{name}={value}") for name, value in env.items()]),
        )
    finally:
        libc.posix_spawn_file_actions_destroy(actions)
        libc.posix_spawnattr_destroy(attributes)
        for fd in lifted:
            os.close(fd)
    if code != 0:
        raise syscalls.failure(argv[0], code)
    try:
        return Child(pid.value, os.pidfd_open(pid.value))
    except OSError:
        os.kill(pid.value, signal.SIGKILL)
        os.waitpid(pid.value, 0)
        raise


def _lift(fds: Mapping[int, int]) -> tuple[dict[int, int], list[int]]:
    """The same map with every source that is also somebody's target copied out of the way."""
    wanted: dict[int, int] = {}
    lifted: list[int] = []
    above = max(fds) + 1
    for number, ours in fds.items():
        if 0 <= ours < above:
            try:
                ours = syscalls.duplicate_above(ours, above)
            except OSError:
                for fd in lifted:
                    os.close(fd)
                raise
            lifted.append(ours)
        wanted[number] = ours
    return wanted, lifted


def _close_others(actions: "ctypes.Array[ctypes.c_char]", kept: Sequence[int]) -> None:
    for number in range(3, kept[-1]):
        if number not in kept:
            syscalls.libc.posix_spawn_file_actions_addclose(actions, number)
    syscalls.libc.posix_spawn_file_actions_addclosefrom_np(actions, kept[-1] + 1)


def _set_attributes(attributes: "ctypes.Array[ctypes.c_char]", setsid: bool) -> None:
    libc = syscalls.libc
    nothing = ctypes.create_string_buffer(_SIGSET_SIZE)
    # Not sigfillset: it leaves out the C library's own 32 and 33, which would be ignored then.
    everything = ctypes.create_string_buffer(b"\xff" * _SIGSET_SIZE, _SIGSET_SIZE)
    libc.sigemptyset(nothing)
    libc.posix_spawnattr_setsigmask(attributes, nothing)
    libc.posix_spawnattr_setsigdefault(attributes, everything)
    flags = _SETSIGDEF | _SETSIGMASK | (_SETSID if setsid else 0)
    libc.posix_spawnattr_setflags(attributes, ctypes.c_short(flags))


def _strings(words: Sequence[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
