"""A runtime on a busybox root file system below a temporary exec root, and what it left behind."""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from naru.kernel import cgroup, mount
from naru.kernel.spawn import Spawner
from naru.runtime.attach import AttachSession
from naru.runtime.control import RuntimeSettings
from naru.runtime.crun import RuntimeBinary, detect_binary
from naru.runtime.exec import ExecRequest, ExecSession
from naru.runtime.runtime import Launch, Launched, Runtime

CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"]
COMMANDS = "sh sleep true false cat echo id ls grep head yes seq stty tty wc dd kill env pwd tail"
DEADLINE_S = 20


class Rig:
    """One engine's runtime. `prefix` is its cgroup, unique to the test."""

    def __init__(self, folder: Path, runtime: Runtime, spawner: Spawner, prefix: str) -> None:
        self.folder, self.runtime, self.spawner, self.prefix = folder, runtime, spawner, prefix

    @property
    def rootfs(self) -> Path:
        return self.folder / "rootfs"

    def spec(self, args: Sequence[str], container_id: str, **process: Any) -> dict[str, Any]:
        namespaces = ("pid", "ipc", "uts", "mount", "network")
        kinds = ("bounding", "effective", "permitted")
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": list(args),
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": {kind: CAPABILITIES for kind in kinds},
                **process,
            },
            "root": {"path": str(self.rootfs)},
            "hostname": "rig",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                },
            ],
            "linux": {
                "cgroupsPath": f"{self.prefix}/{container_id}",
                "namespaces": [{"type": kind} for kind in namespaces],
            },
        }

    def launch(
        self, container_id: str, *args: str, spec: dict[str, Any] | None = None, **fields: Any
    ) -> Launch:
        tty = bool(fields.get("tty"))
        spec = spec or self.spec(args, container_id, terminal=tty)
        return Launch(container_id, spec, f"{self.prefix}/{container_id}", **fields)

    async def started(self, container_id: str, *args: str, **fields: Any) -> Launched:
        launched = await self.runtime.create(self.launch(container_id, *args, **fields))
        await self.runtime.start(container_id)
        return launched

    async def finished(self, container_id: str, launched: Launched) -> int:
        """Waits for the end, deletes; the exit code."""
        async with asyncio.timeout(DEADLINE_S):
            ended = await self.runtime.wait_exit(container_id, launched.monitor, launched.process)
        await self.runtime.delete(container_id)
        return ended.code

    async def exec(self, container_id: str, *argv: str, **fields: Any) -> ExecSession:
        fields = {"env": ("PATH=/bin",), "cwd": "/", **fields}
        return await self.runtime.exec(ExecRequest(container_id, argv, **fields))

    async def exec_output(self, container_id: str, *argv: str, **fields: Any) -> tuple[int, str]:
        """(exit code, stdout and stderr)."""
        session = await self.exec(container_id, *argv, **fields)
        async with asyncio.timeout(DEADLINE_S):
            code = await session.wait()
            return code, b"".join((await drain(session)).values()).decode()

    def leftovers(self) -> list[str]:
        """Names of everything that a deleted container should have taken with it."""
        found = [str(item) for item in (self.folder / "exec/containers").iterdir()]
        found += [str(item) for item in (self.folder / "exec").glob("runtime/*/*")]
        for pattern in ("tty-*", "exec-*", "conmon-term.*"):
            found += [str(item) for item in (self.folder / "exec").glob(pattern)]
        for root, folders, _ in os.walk("/sys/fs/cgroup"):
            found += [f"{root}/{name}" for name in folders if root.endswith(self.prefix)]
            if self.prefix[1:] in folders:
                folders[:] = [self.prefix[1:]]
        return found + processes_mentioning(str(self.folder / "exec"))


def processes_mentioning(text: str) -> list[str]:
    """`NUMBER: WORDS` of the processes that `text` occurs in, ours excepted."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
                if text.encode() in line:
                    found.append(f"{name}: {line.decode(errors='replace')}")
    return found


async def drain(session: AttachSession | ExecSession) -> dict[int, bytes]:
    """Everything that comes until the end, by stream."""
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    async with asyncio.timeout(DEADLINE_S):
        while (frame := await session.read()) is not None:
            parts[frame[0]].append(frame[1])
    return {stream: b"".join(data) for stream, data in parts.items()}


async def read_until(session: AttachSession | ExecSession, wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(DEADLINE_S):
        while wanted not in seen:
            frame = await session.read()
            assert frame is not None, f"the output ended at {seen!r}, without {wanted!r}"
            seen += frame[1]
    return seen


def make_rootfs(path: Path) -> None:
    for name in ("bin", "proc", "dev", "sys", "etc", "tmp"):
        (path / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for name in COMMANDS.split():
        (path / "bin" / name).symlink_to("busybox")


def remove_cgroups(prefix: str) -> None:
    for root, folders, _ in os.walk("/sys/fs/cgroup", topdown=False):
        for name in folders:
            if f"/{name}" == prefix:
                with contextlib.suppress(OSError):
                    os.rmdir(f"{root}/{name}")


@contextlib.asynccontextmanager
async def rig(
    folder: Path, *, crun: RuntimeBinary | None = None, prefix: str | None = None
) -> AsyncIterator[Rig]:
    """A runtime below `folder`; at the end every container that is left is deleted.

    With the folder and prefix of an earlier one it is that engine, started again.
    """
    exec_root = folder / "exec"
    if not (folder / "rootfs").exists():
        make_rootfs(folder / "rootfs")
    exec_root.mkdir(exist_ok=True)
    prefix = prefix or f"/naru-test-{secrets.token_hex(4)}"
    mount.make_shared(str(exec_root))
    host = cgroup.detect()
    spawner = Spawner(hybrid=host.hybrid)
    try:
        binary = crun or await detect_binary(spawner, "/usr/bin/crun")
        settings = RuntimeSettings(str(exec_root), str(folder), "/usr/bin/conmon", {"crun": binary})
        made = Rig(folder, Runtime(settings, spawner, host), spawner, prefix)
        try:
            yield made
        finally:
            for state in made.runtime.states():
                await made.runtime.delete(state.container_id)
    finally:
        spawner.close()
        mount.unmount(str(exec_root))
        remove_cgroups(prefix)
