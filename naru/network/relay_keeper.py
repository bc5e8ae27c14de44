"""Starts the relay (see `relay`) when the first IPv6 port is published, and keeps it alive.

The relay outlives narud: `relay.json` says where it listens, and the lock on `relay.lock`, which
it holds from its first instant, says that it lives. Its sockets are made here, so clients wait in
the kernel's queue for the few milliseconds until it reads.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

from naru.base.failpoints import declare
from naru.base.tasks import TaskRegistry
from naru.kernel import host
from naru.kernel.files import read_file_limited, write_atomic
from naru.kernel.netlink.client import Netlink
from naru.kernel.process import ProcessHandle, ProcessId, identify, is_alive, start_time
from naru.kernel.spawn import Child, Spawner
from naru.network import plan, relay
from naru.network.firewall import RelayRules
from naru.network.model import NetworkOptions

log = logging.getLogger("naru.network.relay")

STATE_WRITTEN = declare("network.relay.state-written")
SPAWNED = declare("network.relay.spawned")

DRAIN_S = 1.0
_PORT_ATTEMPTS = 16


class RelayKeeper:
    """One per engine. `ensure` blocks and is for threads; the rest is the event loop's."""

    def __init__(self, netlink: Netlink, spawner: Spawner, options: NetworkOptions) -> None:
        self._netlink = netlink
        self._spawner = spawner
        self._prefix = plan.relay_prefix(options.key)
        self._state = os.path.join(options.exec_root, "relay.json")
        self._lock = os.path.join(options.exec_root, "relay.lock")
        self._subnets = os.path.join(options.exec_root, "relay.subnets")
        self._process: ProcessId | None = None
        self._tasks = TaskRegistry()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._died: Callable[[], None] = lambda: None

    @staticmethod
    def available() -> bool:
        """Whether this host speaks IPv6 at all."""
        if not host.has_sysctl("net/ipv6/conf/lo/disable_ipv6"):
            return False
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return False
        return True

    def allow(self, subnets: Iterable[str]) -> None:
        """The IPv4 subnets that it carries clients to. Blocks; a full disk is told in the log."""
        text = "".join(f"{subnet}\n" for subnet in subnets).encode()
        with contextlib.suppress(OSError):
            if read_file_limited(self._subnets, len(text) + 1) == text:
                return
        try:
            write_atomic(self._subnets, text)
        except OSError as error:
            log.error("IPv6 clients are not carried to new networks: %s", error)

    def open(self, died: Callable[[], None]) -> RelayRules | None:
        """Adopt the relay of an earlier narud; None when there is none. `died` is called when it
        ends, on the event loop."""
        self._loop, self._died = asyncio.get_running_loop(), died
        state = self._read()
        lock = self._take_lock()
        if lock is not None:  # nobody lives that a state could speak of
            os.close(lock)
            return None
        if state is None:
            return None
        process = ProcessId(int(state.get("pid", 0)), int(state.get("start", 0)))
        if not is_alive(process):  # narud died before it could write this
            process = _holder_of(self._lock) or process
        self._netlink.ensure_local_prefix(f"{self._prefix}:/64")
        self._guard(process, None)
        return RelayRules(self._prefix, int(state["port"]))

    def ensure(self) -> RelayRules:
        """Start a relay. Blocks. Raises: OSError."""
        self._netlink.ensure_local_prefix(f"{self._prefix}:/64")
        lock = self._take_lock()
        if lock is None:
            raise OSError(errno.EBUSY, "another relay holds it", self._lock)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock)
            listener, datagrams = _sockets()
            stack.enter_context(listener)
            stack.enter_context(datagrams)
            port = listener.getsockname()[1]
            state = {"port": port}
            write_atomic(self._state, json.dumps(state).encode())
            STATE_WRITTEN()
            child = self._spawner.spawn(
                [sys.executable, "-I", "-S", relay.__file__, self._prefix, self._subnets],
                env={"LANG": "C.UTF-8"},
                fds={3: listener.fileno(), 4: datagrams.fileno(), 5: lock},
            )
        try:
            SPAWNED()
            process = ProcessId(child.pid, start_time(child.pid) or 0)
            state |= {"pid": process.pid, "start": process.start}
            write_atomic(self._state, json.dumps(state).encode())
        except BaseException:
            child.kill()
            child.wait_blocking(DRAIN_S)
            raise
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._guard, process, child)
        return RelayRules(self._prefix, port)

    async def close(self, *, needed: bool) -> None:
        """Let the relay live on if it is `needed`, else end it."""
        await self._tasks.drain(DRAIN_S)
        if not needed and self._process is not None:
            _end(self._process)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._state)

    def _guard(self, process: ProcessId, child: Child | None) -> None:
        self._process = process
        self._tasks.spawn("network-relay", self._watch(process, child))

    async def _watch(self, process: ProcessId, child: Child | None) -> None:
        if child is not None:
            await child.wait()
        else:
            try:
                with ProcessHandle.open(process) as handle:
                    await handle.wait()
            except ProcessLookupError:
                log.warning("the relay's process is not known: its end will not be noticed")
                return
        log.error("the relay for IPv6 (pid %s) ended: starting another", process.pid)
        self._process = None
        self._died()

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads(read_file_limited(self._state, 4096))
        except (OSError, ValueError):
            return None
        return state if isinstance(state, dict) and isinstance(state.get("port"), int) else None

    def _take_lock(self) -> int | None:
        """The lock's descriptor, None while a relay holds it."""
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        return lock


def _end(process: ProcessId) -> None:
    with contextlib.suppress(ProcessLookupError), ProcessHandle.open(process) as handle:
        handle.send_signal(signal.SIGTERM)


def _holder_of(lock: str) -> ProcessId | None:
    """The relay that has the lock's file open as its descriptor 5."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/5") == lock:
                return identify(int(pid))
    return None


def _sockets() -> tuple[socket.socket, socket.socket]:
    """TCP, listening, and UDP on the same free port of every IPv6 address."""
    for _ in range(_PORT_ATTEMPTS):
        listener = _socket(socket.SOCK_STREAM, 0)
        try:
            listener.listen(socket.SOMAXCONN)
            datagrams = _socket(socket.SOCK_DGRAM, listener.getsockname()[1])
        except OSError:
            listener.close()
            continue
        return listener, datagrams
    raise OSError(errno.EADDRINUSE, "no port is free for TCP and UDP alike", "relay")


def _socket(kind: int, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6, kind | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::", port))
    except BaseException:
        made.close()
        raise
    return made
