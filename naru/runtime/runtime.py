"""The runtime half of a container's life: create, start, signal, wait, delete, adopt.

    create ──> created ──start──> running ──(workload ends)──> stopped ──delete──> nothing
       └─(refused: everything removed again, StartFailed)

Everything that this module knows about a container lies below the exec root (bundle.py) and in the
OCI runtime's state folder, so that a new narud finds it again: `states()`.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.failpoints import declare
from naru.base.undo import Undo
from naru.kernel.cgroup import Cgroup, CgroupHost
from naru.kernel.process import ProcessId, is_alive, start_time
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload
from naru.runtime import exits
from naru.runtime.attach import AttachHubs, AttachSession
from naru.runtime.bundle import Bundle, LaunchRecord
from naru.runtime.conmon import Conmon, CreateRefused
from naru.runtime.control import Control, RuntimeSettings
from naru.runtime.crun import create_failure
from naru.runtime.exec import ExecRequest, ExecSession
from naru.runtime.exec_spawn import ExecPlace, begin_exec
from naru.runtime.exits import Exit
from naru.runtime.stdin import give_pipes, pipe_inode

BUNDLE_WRITTEN = declare("runtime.bundle-written")
CREATED = declare("runtime.created")
RECORDED = declare("runtime.recorded")
KILLED = declare("runtime.delete-killed")
STATE_REMOVED = declare("runtime.delete-state-removed")


@dataclass(frozen=True, slots=True)
class Launch:
    """`cgroup` is the spec's `linux.cgroupsPath`; `log_path` None keeps no log.

    `note` is given back at adoption: what the caller must know of a launch that it could not
    record. `stdio_owner`: the host's ids of whoever shall own the workload's pipes, None for as
    they are.
    """

    container_id: str
    spec: Mapping[str, Any]
    cgroup: str
    log_path: str | None = None
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    runtime: str | None = None
    note: bytes = b""
    stdio_owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    process: ProcessId
    monitor: ProcessId


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What lies on disk for one container after narud was away.

    `status`: `created` (not started yet), `running`, `stopped`, or `broken` (its launch never
    came to an end: delete it). `launched_ns`: when it was created; `finished_ns`: when its monitor
    noted its end, 0 when it did not. `note`: the launch's. `let_go`: its workload surely began.
    """

    container_id: str
    status: str
    process: ProcessId | None
    monitor: ProcessId | None
    launched_ns: int = 0
    finished_ns: int = 0
    note: bytes = b""
    let_go: bool = False


class Runtime(Control):
    """All containers of one engine, as processes."""

    def __init__(self, settings: RuntimeSettings, spawner: Spawner, cgroups: CgroupHost) -> None:
        super().__init__(settings, spawner, cgroups)
        self._conmon = Conmon(settings.conmon, spawner, settings.exec_root)
        self._children: dict[str, Child] = {}
        self._hubs = AttachHubs(settings.spill_dir)

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
            tty=launch.tty,
            stdin=launch.stdin,
            stdin_once=launch.stdin_once,
            hooks=bool(launch.spec.get("hooks")),
            note=launch.note,
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
            if launch.stdio_owner is not None:
                give_pipes(process.pid, launch.stdio_owner)
            monitor = ProcessId(child.pid, _start_of(child))
            pipe = pipe_inode(process.pid) if record.stdin and not record.tty else None
            record = msgspec.structs.replace(
                record, monitor=monitor, process=process, stdin_pipe=pipe
            )
            self._records[container_id] = record
            bundle.write_record(record)
            RECORDED()
            self._hubs.launched(bundle, record)
        return Launched(process, monitor)

    async def start(self, container_id: str) -> None:
        """Lets the created workload begin. Raises: StartFailed."""
        record = self._record(container_id)
        await self._runtime_of(record).start(container_id, shortcut=not record.hooks)

    async def wait_exit(self, container_id: str, monitor: ProcessId, process: ProcessId) -> Exit:
        """Waits until the workload has ended; may be called again after a cancellation."""
        bundle = self.bundle(container_id)
        record = self._known(container_id)
        cgroup = None if record is None else self._cgroup_of(record)
        ended = await exits.wait_exit(
            bundle, monitor, process, self._children.get(container_id), cgroup
        )
        self._children.pop(container_id, None)
        return ended

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
        place = ExecPlace(
            bundle=self.bundle(request.container_id),
            runtime=self._runtime_of(self._record(request.container_id)),
            spawner=self._spawner,
            exec_root=self._settings.exec_root,
            spill_dir=self._settings.spill_dir,
        )
        return await begin_exec(request, place)

    async def delete(self, container_id: str) -> None:
        """Ends whatever still runs and removes cgroup, state and bundle. Idempotent.

        Raises: Internal when something cannot be ended or removed; call it again then.
        """
        bundle = self.bundle(container_id)
        record = self._known(container_id)
        if record is not None:
            await self._end_processes(bundle, record)
        KILLED()
        for runtime in self._runtimes.values():
            await runtime.delete(container_id, shortcut=record is not None and not record.hooks)
        STATE_REMOVED()
        self._hubs.gone(container_id)
        await offload(bundle.remove)
        self._records.pop(container_id, None)

    def release_clients(self, container_id: str) -> None:
        """The container is gone without a run: whoever waits for its first byte is told."""
        self._hubs.gone(container_id)

    async def _end_processes(self, bundle: Bundle, record: LaunchRecord) -> None:
        cgroup = self._cgroup_of(record)
        if record.process is not None:
            self.kill(record.process, signal.SIGKILL)
            cgroup.thaw()
        else:  # its number never came to be known
            await exits.end_strays(bundle)
            await offload(cgroup.kill_all)
        child = self._children.pop(bundle.container_id, None)
        if child is not None:
            await exits.end_child(child)
        elif record.monitor is not None:
            await exits.end_monitor(record.monitor)
        await offload(_empty, cgroup)

    def states(self) -> list[ContainerState]:
        """Every container of which something is on disk: what adoption starts from.

        To be called before the first create: what a killed narud was in the middle of is removed.
        """
        for name in os.listdir(self._settings.exec_root):
            if name.startswith(("tty-", "exec-", "conmon-term.")):
                os.unlink(os.path.join(self._settings.exec_root, name))
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
        state_dir = self._runtime_of(record).state_dir(container_id)
        begun = not os.path.lexists(f"{state_dir}/exec.fifo")
        alive = is_alive(record.process)
        return ContainerState(
            container_id,
            ("running" if begun else "created") if alive else "stopped",
            record.process,
            record.monitor,
            bundle.launched_ns(),
            0 if alive else (bundle.exit_status() or (0, 0))[1],
            record.note,
            begun and os.path.lexists(state_dir),
        )


def _start_of(child: Child) -> int:
    found = start_time(child.pid)
    return 0 if found is None else found


def _empty(cgroup: Cgroup) -> None:
    """Removes the group with what is left in it: processes outside the workload's namespace."""
    if cgroup.pids():
        cgroup.kill_all()
    cgroup.remove()
