"""The runtime half of a container's life: create, start, signal, wait, delete, adopt.

    create ──> created ──start──> running ──(workload ends)──> stopped ──delete──> nothing
       └─(refused: everything removed again, StartFailed)

Everything that this module knows about a container lies below the exec root (bundle.py) and in the
OCI runtime's state folder, so that a new narud finds it again: `states()`.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.errors import Conflict, Internal
from naru.base.failpoints import declare
from naru.base.undo import Undo, run_to_end
from naru.kernel.cgroup import Cgroup, CgroupHost
from naru.kernel.process import ProcessHandle, ProcessId, is_alive, start_time
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload
from naru.runtime import conmon, exits
from naru.runtime.attach import AttachHubs, AttachSession
from naru.runtime.bundle import Bundle, LaunchRecord
from naru.runtime.conmon import Conmon, CreateRefused
from naru.runtime.crun import OciRuntime, RuntimeBinary, create_failure
from naru.runtime.exec import ExecRequest, ExecSession, begin_exec
from naru.runtime.exits import Exit
from naru.runtime.logs.service import LogLimits, LogService
from naru.runtime.stdin import pipe_inode

log = logging.getLogger("naru.runtime")

BUNDLE_WRITTEN = declare("runtime.bundle-written")
CREATED = declare("runtime.created")
RECORDED = declare("runtime.recorded")
KILLED = declare("runtime.delete-killed")
STATE_REMOVED = declare("runtime.delete-state-removed")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """`binaries`: runtime name → binary. `spill_dir`: where output waits for slow clients."""

    exec_root: str
    spill_dir: str
    conmon: str
    binaries: Mapping[str, RuntimeBinary]
    default_runtime: str = "crun"


@dataclass(frozen=True, slots=True)
class Launch:
    """`cgroup` is the spec's `linux.cgroupsPath`; `log_path` None keeps no log."""

    container_id: str
    spec: Mapping[str, Any]
    cgroup: str
    log_path: str | None = None
    log_limits: LogLimits = LogLimits()
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    process: ProcessId
    monitor: ProcessId


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What lies on disk for one container after narud was away.

    `status`: `created` (not started yet), `running`, `stopped`, or `broken` (its launch never
    came to an end: delete it).
    """

    container_id: str
    status: str
    process: ProcessId | None
    monitor: ProcessId | None


class Runtime:
    """All containers of one engine, as processes."""

    def __init__(self, settings: RuntimeSettings, spawner: Spawner, cgroups: CgroupHost) -> None:
        self._settings = settings
        self._spawner = spawner
        self._cgroups = cgroups
        self._conmon = Conmon(settings.conmon, spawner)
        self._containers_root = os.path.join(settings.exec_root, "containers")
        os.makedirs(self._containers_root, mode=0o700, exist_ok=True)
        self._runtimes: dict[str, OciRuntime] = {}
        for name, binary in settings.binaries.items():
            state_root = os.path.join(settings.exec_root, "runtime", name)
            os.makedirs(state_root, mode=0o700, exist_ok=True)
            self._runtimes[name] = OciRuntime(binary, state_root, spawner)
        self._records: dict[str, LaunchRecord] = {}
        self._children: dict[str, Child] = {}
        self._hubs = AttachHubs(settings.spill_dir)
        self.logs = LogService()

    def bundle(self, container_id: str) -> Bundle:
        return Bundle(self._containers_root, container_id)

    def runtime_state_dir(self, container_id: str) -> str:
        """Where the OCI runtime keeps this container's state (crun: `seccomp.bpf` among it)."""
        return self._runtime_of(self._record(container_id)).state_dir(container_id)

    def _record(self, container_id: str) -> LaunchRecord:
        record = self._records.get(container_id) or self.bundle(container_id).record()
        if record is None:
            raise Conflict(f"container {container_id} is not running")
        self._records[container_id] = record
        return record

    def _runtime_of(self, record: LaunchRecord) -> OciRuntime:
        runtime = self._runtimes.get(record.runtime)
        if runtime is None:
            raise Internal(f"unknown or invalid runtime name: {record.runtime}")
        return runtime

    def _cgroup(self, record: LaunchRecord) -> Cgroup:
        return Cgroup(self._cgroups, record.cgroup)

    async def create(self, launch: Launch) -> Launched:
        """conmon and a created container, whose workload waits for `start`.

        Raises: StartFailed (126/127/128) with Docker's text; nothing is left then.
        """
        container_id = launch.container_id
        record = LaunchRecord(
            container_id=container_id,
            cgroup=launch.cgroup,
            runtime=launch.runtime or self._settings.default_runtime,
            log_path=launch.log_path,
            log_max_bytes=launch.log_limits.max_bytes,
            log_max_files=launch.log_limits.max_files,
            tty=launch.tty,
            stdin=launch.stdin,
            stdin_once=launch.stdin_once,
            hooks=bool(launch.spec.get("hooks")),
        )
        runtime = self._runtime_of(record)
        bundle = self.bundle(container_id)
        async with Undo(f"create of {container_id}") as undo:
            undo.push("runtime", lambda: self.delete(container_id))
            self._records[container_id] = record
            bundle.create(launch.spec, record)
            BUNDLE_WRITTEN()
            try:
                child, process = await self._conmon.launch(bundle, record, runtime)
            except CreateRefused as error:
                workload = launch.spec.get("process") or {}
                raise create_failure(
                    error.output, workload.get("args") or (), workload.get("cwd") or "/"
                ) from error
            self._children[container_id] = child
            CREATED()
            monitor = ProcessId(child.pid, _start_of(child))
            pipe = pipe_inode(process.pid) if record.stdin and not record.tty else None
            record = msgspec.structs.replace(
                record, monitor=monitor, process=process, stdin_pipe=pipe
            )
            self._records[container_id] = record
            bundle.write_record(record)
            RECORDED()
            self._hubs.launched(bundle, record)
            self._track_log(record)
        return Launched(process, monitor)

    def _track_log(self, record: LaunchRecord) -> None:
        """A log that cannot be watched (limits of inotify) is no reason not to run."""
        if record.log_path is None:
            return
        limits = LogLimits(record.log_max_bytes, record.log_max_files)
        try:
            self.logs.track(self.bundle(record.container_id), record.log_path, limits)
        except OSError as error:
            log.warning("the log of %s cannot be rotated: %s", record.container_id, error)

    async def start(self, container_id: str) -> None:
        """Lets the created workload begin. Raises: StartFailed."""
        record = self._record(container_id)
        await self._runtime_of(record).start(container_id, shortcut=not record.hooks)

    async def wait_exit(self, container_id: str, monitor: ProcessId, process: ProcessId) -> Exit:
        """Waits until the workload has ended; may be called again after a cancellation."""
        bundle = self.bundle(container_id)
        ended = await exits.wait_exit(bundle, monitor, process, self._children.get(container_id))
        self._children.pop(container_id, None)
        return ended

    def kill(self, process: ProcessId, number: int) -> bool:
        """Signals the workload's first process; False when it has ended."""
        try:
            with ProcessHandle.open(process) as handle:
                return handle.send_signal(number)
        except ProcessLookupError:
            return False

    async def kill_all(self, container_id: str) -> None:
        """SIGKILL to every process of the container, whichever namespaces it is in."""
        cgroup = self._cgroup(self._record(container_id))
        await offload(cgroup.kill_all)

    async def pause(self, container_id: str) -> None:
        await offload(self._cgroup(self._record(container_id)).freeze)

    async def resume(self, container_id: str) -> None:
        await offload(self._cgroup(self._record(container_id)).thaw)

    def processes(self, container_id: str) -> list[int]:
        """Numbers of the container's processes, as the host sees them."""
        return sorted(self._cgroup(self._record(container_id)).pids())

    def cgroup(self, container_id: str) -> Cgroup:
        """The container's cgroup: statistics, limits, OOM events."""
        return self._cgroup(self._record(container_id))

    def resize(self, container_id: str, height: int, width: int) -> None:
        conmon.resize(self.bundle(container_id), height, width)

    def attach(
        self,
        container_id: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AttachSession:
        """A client at the container's stdio; when it is not launched yet, from its first byte."""
        record = self._records.get(container_id)
        running = record if record is not None and record.process is not None else None
        return self._hubs.open(
            self.bundle(container_id), running, stdin=stdin, stdout=stdout, stderr=stderr
        )

    async def exec(self, request: ExecRequest) -> ExecSession:
        """A further process in a running container. Raises: StartFailed (126/127) and its text."""
        record = self._record(request.container_id)
        bundle = self.bundle(request.container_id)
        runtime = self._runtime_of(record)
        return await begin_exec(
            request,
            bundle,
            runtime,
            self._spawner,
            self._settings.exec_root,
            self._settings.spill_dir,
        )

    async def delete(self, container_id: str) -> None:
        """Ends whatever still runs and removes cgroup, state and bundle. Idempotent."""
        bundle = self.bundle(container_id)
        record = self._records.get(container_id) or bundle.record()
        if record is not None:
            await self._end_processes(container_id, record)
            KILLED()
            runtime = self._runtimes.get(record.runtime)
            if runtime is not None:
                await runtime.delete(container_id, shortcut=not record.hooks)
            STATE_REMOVED()
        self._hubs.gone(container_id)
        self.logs.ended(container_id)
        await offload(bundle.remove)
        self._records.pop(container_id, None)

    async def _end_processes(self, container_id: str, record: LaunchRecord) -> None:
        if record.process is not None:
            self.kill(record.process, signal.SIGKILL)
        cgroup = self._cgroup(record)
        if cgroup.exists():
            await offload(_empty, cgroup)
        child = self._children.pop(container_id, None)
        if child is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await child.wait()
            if child.status is None:
                child.kill()
                await run_to_end(child.wait())
        elif record.monitor is not None:
            await self._end_monitor(record.monitor)

    async def _end_monitor(self, monitor: ProcessId) -> None:
        try:
            async with asyncio.timeout(5):
                await exits.wait_ended(monitor)
        except TimeoutError:
            self.kill(monitor, signal.SIGKILL)
            await exits.wait_ended(monitor)

    def states(self) -> list[ContainerState]:
        """Every container of which something is on disk: what adoption starts from."""
        found = []
        names = set(os.listdir(self._containers_root))
        for runtime in self._runtimes.values():
            names.update(runtime.ids())
        for container_id in sorted(names):
            found.append(self._state(container_id))
        return found

    def _state(self, container_id: str) -> ContainerState:
        bundle = self.bundle(container_id)
        record = bundle.record()
        if record is None or record.process is None or record.monitor is None:
            return ContainerState(container_id, "broken", None, None)
        self._records[container_id] = record
        if not is_alive(record.process):
            status = "stopped"
        elif os.path.lexists(f"{self._runtime_of(record).state_dir(container_id)}/exec.fifo"):
            status = "created"
        else:
            status = "running"
        return ContainerState(container_id, status, record.process, record.monitor)


def _start_of(child: Child) -> int:
    found = start_time(child.pid)
    return 0 if found is None else found


def _empty(cgroup: Cgroup) -> None:
    cgroup.kill_all()
    cgroup.remove()
