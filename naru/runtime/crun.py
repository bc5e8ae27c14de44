"""The OCI runtime (crun, or any other by path): its commands, and shortcuts around them.

Shortcuts use crun's internals: `start` is one byte into `<state>/exec.fifo`, `delete` is removing
cgroup and state folder. They are taken for the versions that were tested and for containers
without hooks; everything else goes through the runtime's own commands.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from naru.base.errors import Internal, StartFailed
from naru.kernel.files import remove_tree
from naru.kernel.spawn import Spawner

_SHORTCUT_VERSIONS = frozenset({"crun 1.8.1"})
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_CREATE_PREFIX = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: error during container init: "
)
_EXEC_PREFIX = "OCI runtime exec failed: exec failed: unable to start container process: "


@dataclass(frozen=True, slots=True)
class RuntimeBinary:
    """An OCI runtime: absolute path, and `crun 1.8.1` as its `--version` begins."""

    path: str
    version: str

    @property
    def has_shortcuts(self) -> bool:
        return self.version in _SHORTCUT_VERSIONS


async def detect_binary(spawner: Spawner, path: str) -> RuntimeBinary:
    """Asks `path --version`. Raises: Internal."""
    code, output = await spawner.run([path, "--version"], env=ENVIRONMENT)
    match = re.match(r"(\S+) version (\S+)", output.decode(errors="replace"))
    if code != 0 or match is None:
        raise Internal(f"{path} --version failed ({code}): {output[:200]!r}")
    return RuntimeBinary(path, f"{match[1]} {match[2]}")


class OciRuntime:
    """One runtime binary with one state root. Methods are safe for several containers at once."""

    def __init__(self, binary: RuntimeBinary, state_root: str, spawner: Spawner) -> None:
        self.binary = binary
        self.state_root = state_root
        self._spawner = spawner

    def state_dir(self, container_id: str) -> str:
        return f"{self.state_root}/{container_id}"

    def arguments(self, *command: str) -> list[str]:
        return [self.binary.path, "--root", self.state_root, *command]

    async def command(self, *command: str) -> tuple[int, str]:
        """Runs one command; (exit code, its output)."""
        code, output = await self._spawner.run(self.arguments(*command), env=ENVIRONMENT)
        return code, output.decode(errors="replace").strip()

    async def start(self, container_id: str, *, shortcut: bool) -> None:
        """Lets a created container's workload begin. Raises: StartFailed."""
        if shortcut and self.binary.has_shortcuts and self._start_by_fifo(container_id):
            return
        code, output = await self.command("start", container_id)
        if code != 0:
            raise StartFailed(f"{_CREATE_PREFIX}{output}", 128)

    def _start_by_fifo(self, container_id: str) -> bool:
        path = f"{self.state_dir(container_id)}/exec.fifo"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            os.unlink(path)
            os.write(fd, b"\0")
        finally:
            os.close(fd)
        return True

    async def delete(self, container_id: str, *, shortcut: bool) -> None:
        """Forgets a container whose processes are gone and whose cgroup the caller removes.

        Raises: Internal when the runtime's own command fails.
        """
        state_dir = self.state_dir(container_id)
        if not os.path.lexists(state_dir):
            return
        if not (shortcut and self.binary.has_shortcuts) and os.listdir(state_dir):
            code, output = await self.command("delete", "--force", container_id)
            if code != 0 and os.path.exists(f"{state_dir}/status"):
                raise Internal(f"{self.binary.path} delete {container_id}: {output}")
        remove_tree(state_dir)

    def ids(self) -> list[str]:
        """Containers of which the runtime has state."""
        try:
            return sorted(os.listdir(self.state_root))
        except FileNotFoundError:
            return []


def _explain(output: str, argv: Sequence[str], cwd: str) -> tuple[str, int]:
    """Docker's words, and the exit code, for crun's or runc's complaint about a workload."""
    name = argv[0] if argv else ""
    lines = [line for line in output.strip().splitlines() if line]
    text = lines[-1] if lines else "the runtime gave no reason"
    if match := re.search(r'\bmsg="((?:[^"\\]|\\.)*)"', text):  # runc's log
        text = re.sub(r"\\(.)", r"\1", match[1])
    if "not found in $PATH" in text:
        if "/" in name:
            return f'exec: "{name}": stat {name}: no such file or directory', 127
        return f'exec: "{name}": executable file not found in $PATH', 127
    if "open executable" in text:
        reason = (
            "permission denied"
            if "Permission denied" in text
            else ("is a directory: permission denied")
        )
        return f'exec: "{name}": {reason}', 126
    if text.startswith("chdir"):
        reason = text.rpartition(": ")[2].lower()
        return f'chdir to cwd ("{cwd}") set in config.json failed: {reason}', 127
    if re.search(r"exec: .*: (?:executable file not found|stat .*no such file)", text):
        return text[text.index("exec: ") :], 127
    if re.search(r"exec: .*(?:permission denied|is a directory)", text):
        return text[text.index("exec: ") :], 126
    return text, 128


def create_failure(output: str, argv: Sequence[str], cwd: str) -> StartFailed:
    """Why a container could not be created, in the words that Docker's clients know."""
    text, code = _explain(output, argv, cwd)
    return StartFailed(_CREATE_PREFIX + text, code)


def exec_failure(output: str, argv: Sequence[str], cwd: str) -> StartFailed:
    """Why an exec session could not begin, in the words that Docker's clients know."""
    text, code = _explain(output, argv, cwd)
    if "exec format error" in text.lower():
        return StartFailed(f"{_EXEC_PREFIX}exec {argv[0]}: exec format error", 255)
    return StartFailed(
        _EXEC_PREFIX + text, 127 if code == 128 and text.startswith("chdir") else code
    )
