"""What is done to a launched container beside its life cycle: signals, cgroup, terminal size."""

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from naru.base.errors import Conflict, Internal
from naru.kernel.cgroup import Cgroup, CgroupHost
from naru.kernel.process import ProcessHandle, ProcessId
from naru.kernel.spawn import Spawner
from naru.kernel.threads import offload
from naru.runtime import conmon
from naru.runtime.bundle import Bundle, LaunchRecord
from naru.runtime.crun import OciRuntime, RuntimeBinary


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """`binaries`: runtime name → binary. `spill_dir`: where output waits for slow clients.

    `exec_root` must be a shared mount on hybrid hosts (kernel.spawn says why).
    """

    exec_root: str
    spill_dir: str
    conmon: str
    binaries: Mapping[str, RuntimeBinary]
    default_runtime: str = "crun"


class Control:
    """The records of launched containers, and what only needs those."""

    def __init__(self, settings: RuntimeSettings, spawner: Spawner, cgroups: CgroupHost) -> None:
        self._settings = settings
        self._spawner = spawner
        self._cgroups = cgroups
        self._containers_root = os.path.join(settings.exec_root, "containers")
        os.makedirs(self._containers_root, mode=0o700, exist_ok=True)
        self._runtimes: dict[str, OciRuntime] = {}
        for name, binary in settings.binaries.items():
            folder = name.strip("/").replace("/", "-")  # a name may be a path
            state_root = os.path.join(settings.exec_root, "runtime", folder)
            os.makedirs(state_root, mode=0o700, exist_ok=True)
            self._runtimes[name] = OciRuntime(binary, state_root, spawner)
        self._records: dict[str, LaunchRecord] = {}

    def bundle(self, container_id: str) -> Bundle:
        return Bundle(self._containers_root, container_id)

    def _known(self, container_id: str) -> LaunchRecord | None:
        return self._records.get(container_id) or self.bundle(container_id).record()

    def _record(self, container_id: str) -> LaunchRecord:
        record = self._known(container_id)
        if record is None:
            raise Conflict(f"container {container_id} is not running")
        self._records[container_id] = record
        return record

    def _runtime_of(self, record: LaunchRecord) -> OciRuntime:
        runtime = self._runtimes.get(record.runtime)
        if runtime is None:
            raise Internal(f"unknown or invalid runtime name: {record.runtime}")
        return runtime

    def _cgroup_of(self, record: LaunchRecord) -> Cgroup:
        return Cgroup(self._cgroups, record.cgroup)

    def runtime_state_dir(self, container_id: str) -> str:
        """Where the OCI runtime keeps this container's state (crun: `seccomp.bpf` among it)."""
        return self._runtime_of(self._record(container_id)).state_dir(container_id)

    def kill(self, process: ProcessId, number: int = signal.SIGKILL) -> bool:
        """Signals exactly this process; False when it has ended."""
        try:
            with ProcessHandle.open(process) as handle:
                return handle.send_signal(number)
        except ProcessLookupError:
            return False

    async def kill_all(self, container_id: str) -> None:
        """SIGKILL to every process of the container, whichever namespaces it is in."""
        await offload(self.cgroup(container_id).kill_all)

    async def pause(self, container_id: str) -> None:
        """Freezes every process of the container. Raises: OSError, Internal, Conflict (ended)."""
        try:
            await offload(self.cgroup(container_id).freeze)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                raise Conflict(f"container {container_id} is not running") from error
            raise

    async def resume(self, container_id: str) -> None:
        await offload(self.cgroup(container_id).thaw)

    def processes(self, container_id: str) -> list[int]:
        """Numbers of the container's processes, as the host sees them."""
        return self.cgroup(container_id).pids()

    def cgroup(self, container_id: str) -> Cgroup:
        """The container's cgroup: statistics, limits, OOM events. Raises: Conflict."""
        return self._cgroup_of(self._record(container_id))

    def resize(self, container_id: str, height: int, width: int) -> None:
        """Sets the terminal's size; without one nothing happens, as with Docker.

        Raises: Conflict, and Internal when the container has just ended.
        """
        if self._record(container_id).tty:
            conmon.resize(self.bundle(container_id), height, width)

    async def run_on_host(self, argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, bytes]:
        """A short command outside every container: its status and output. Raises: OSError."""
        return await self._spawner.run(argv, env=env)
