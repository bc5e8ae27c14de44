"""Control groups: find out what the host has, then read, limit, freeze, kill and remove one group.

The OCI runtime makes a container's group and its device rules; Naru reads, changes and removes it.
Everything here blocks for moments only, except `remove` (1 s at most) and `freeze` (2 s).
"""

import asyncio
import contextlib
import errno
import os
import signal
import time

from naru.base.errors import Internal
from naru.kernel.cgroups import tree
from naru.kernel.cgroups.model import (
    BlkioEntry,
    BlkioStats,
    CgroupHost,
    CgroupLimits,
    CgroupStats,
    CpuStats,
    DeviceLimit,
    MemoryStats,
)
from naru.kernel.cgroups.v1 import V1
from naru.kernel.cgroups.v2 import V2
from naru.kernel.inotify import watch_file
from naru.kernel.mount import mount_table
from naru.kernel.process import wait_readable

__all__ = [
    "BlkioEntry", "BlkioStats", "Cgroup", "CgroupHost", "CgroupLimits", "CgroupStats", "CpuStats",
    "DeviceLimit", "MemoryStats", "OomWatch", "detect",
]  # fmt: skip

_ROOT = "/sys/fs/cgroup"
_V1_CONTROLLERS = {
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls",
    "net_prio", "perf_event", "hugetlb", "rdma", "misc",
}  # fmt: skip
_REMOVE_TIMEOUT_S = 1.0
_FREEZE_TIMEOUT_S = 2.0
_KILL_BATCH = 256


def detect() -> CgroupHost:
    """What this host mounts below /sys/fs/cgroup. Raises: Internal when it mounts nothing."""
    mounts: dict[str, str] = {}
    unified = ""
    for entry in mount_table():
        if entry.target != _ROOT and not entry.target.startswith(f"{_ROOT}/"):
            continue
        if entry.fstype == "cgroup2":
            unified = entry.target
        elif entry.fstype == "cgroup":
            for word in entry.super_options.split(","):
                if word in _V1_CONTROLLERS or word.startswith("name="):
                    mounts[word] = entry.target
    controllers = frozenset((tree.read(f"{unified}/cgroup.controllers") or "").split())
    named = {name for name in mounts if "=" in name}
    if set(mounts) - named:
        hybrid = bool(unified and controllers)
        return CgroupHost(1, hybrid, frozenset(set(mounts) - named), mounts, unified)
    if unified:
        return CgroupHost(2, False, controllers, {}, unified)
    raise Internal("no cgroup hierarchy is mounted below /sys/fs/cgroup: mount cgroup2 there")


class Cgroup:
    """One group, by its path in the hierarchy (`/naru/<id>`); it need not exist."""

    def __init__(self, host: CgroupHost, path: str) -> None:
        if not path.strip("/") or ".." in path.split("/"):
            raise ValueError(f"invalid cgroup path {path!r}")
        self.path = path
        self._files = V1(host, path) if host.version == 1 else V2(host, path)

    def exists(self) -> bool:
        return self._files.exists()

    def create(self) -> None:
        """Makes the group, with what its parents have, where it is missing. Raises: OSError."""
        self._files.create()

    def add(self, pid: int) -> None:
        """Moves a process here. Raises: OSError."""
        self._files.add(pid)

    def pids(self) -> list[int]:
        """The processes of this group and of those below it, in order."""
        return sorted(self._files.processes())

    def read_stats(self) -> CgroupStats:
        """Zeros when the group is gone."""
        return self._files.stats()

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for want of memory; 0 when it is gone."""
        return self._files.oom_kills()

    def update(self, limits: CgroupLimits) -> None:
        """Raises: OSError naming the file; ENOENT when this kernel has no such limit."""
        self._files.update(limits)

    @property
    def frozen(self) -> bool:
        return self._files.frozen()

    def freeze(self) -> None:
        """Stops every process of the group. Raises: OSError; Internal, thawed again, when the
        kernel could not within 2 s."""
        deadline = time.monotonic() + _FREEZE_TIMEOUT_S
        pause_s = 0.0005
        self._files.ask_freeze(True)
        while not self._files.frozen():
            if time.monotonic() > deadline:
                self._files.ask_freeze(False)
                raise Internal(f"the processes of cgroup {self.path} could not be frozen")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.02)
            self._files.ask_freeze(True)

    def thaw(self) -> None:
        """Lets them go on; nothing happens when the group is not frozen or gone."""
        try:
            self._files.ask_freeze(False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def kill_all(self) -> None:
        """SIGKILL to every process of the group, also to those that are just forking."""
        if not self.exists():
            return
        if self._files.kill_at_once():
            self.thaw()
            return
        with contextlib.suppress(OSError, Internal):
            self.freeze()
        try:
            for _ in range(16):
                alive = sorted(self._files.processes())
                for start in range(0, len(alive), _KILL_BATCH):
                    self._kill(alive[start : start + _KILL_BATCH])
                if not alive or self._files.frozen():
                    return
        finally:
            self.thaw()

    def _kill(self, pids: list[int]) -> None:
        """Kills those that are still here once they are held by a pidfd."""
        with contextlib.ExitStack() as held:
            fds = {}
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    fds[pid] = os.pidfd_open(pid)
                    held.callback(os.close, fds[pid])
            for pid in self._files.processes() & fds.keys():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fds[pid], signal.SIGKILL)

    def remove(self) -> None:
        """Removes the group and those below it; a missing one is fine. Waits up to 1 s until its
        killed processes are gone.

        Raises: Internal when a process stays.
        """
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        pause_s = 0.0005
        left = self._files.directories
        while left := [directory for directory in left if not tree.remove(directory)]:
            if time.monotonic() > deadline:
                raise Internal(
                    f"cgroup {self.path} cannot be removed: processes {self.pids()} stay"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.02)

    def watch_oom(self) -> "OomWatch":
        """Tells when the kernel kills for want of memory here. Raises: OSError when it is gone."""
        return OomWatch(self, self._files.oom_source())


class OomWatch:
    """Readable when the group ran out of memory (or was removed): an eventfd on version 1, an
    inotify of memory.events on version 2."""

    def __init__(self, group: Cgroup, source: str) -> None:
        self._group = group
        self._seen = group.oom_kills()
        self._fd = watch_file(source) if "memory.events" in source else _oom_eventfd(source)

    def fileno(self) -> int:
        return self._fd

    async def wait(self) -> int:
        """Returns at the next event with the number of kills since the last call; 0 for another
        event: look whether the group still exists."""
        await wait_readable(self._fd)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 4096)
        # Version 1 tells before it kills: the count follows.
        for pause_s in (0.001, 0.004, 0.02, 0.08, 0.2):
            if (fresh := self._fresh()) or not self._group.exists():
                return fresh
            await asyncio.sleep(pause_s)
        return self._fresh()

    def _fresh(self) -> int:
        now = self._group.oom_kills()
        fresh, self._seen = max(0, now - self._seen), max(now, self._seen)
        return fresh

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _oom_eventfd(source: str) -> int:
    control = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            directory = os.path.dirname(source)
            tree.write(f"{directory}/cgroup.event_control", f"{event} {control}")
        except BaseException:
            os.close(event)
            raise
        return event
    finally:
        os.close(control)
