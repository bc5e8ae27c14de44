"""A container's folder below exec root: OCI bundle, conmon's sockets and files, launch record.

    <exec_root>/containers/<id>/
        config.json    the OCI spec, written before the runtime is called
        launch.json    LaunchRecord: written before conmon (planned) and after (with processes)
        attach ctl winsz  conmon's socket and fifos         pid exit oom  conmon's files

The folder's existence means: something of this container may exist in the runtime. It is removed
last, so that a crash at any step leaves a name to clean up after.
"""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from naru.kernel.files import remove_tree, write_atomic
from naru.kernel.process import ProcessId


class LaunchRecord(msgspec.Struct, kw_only=True, frozen=True):
    """What adoption needs to know about a launched container; no field is a user's secret.

    `stdin_pipe`: inode of the workload's stdin, when that is a pipe. `note`: the caller's own.
    """

    container_id: str
    cgroup: str
    runtime: str
    log_path: str | None = None
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    stdin_pipe: int | None = None
    hooks: bool = False
    note: bytes = b""
    monitor: ProcessId | None = None
    process: ProcessId | None = None


class Bundle:
    """Paths of one container's folder, and the durable steps on it."""

    def __init__(self, containers_root: str, container_id: str) -> None:
        self.container_id = container_id
        self.path = os.path.join(containers_root, container_id)

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    def create(self, spec: Mapping[str, Any], record: LaunchRecord) -> None:
        """A fresh folder with spec and planned record; what an earlier run left is removed."""
        remove_tree(self.path)
        os.mkdir(self.path, 0o700)
        self.write_record(record)
        with open(self.file("config.json"), "wb") as out:
            out.write(msgspec.json.encode(spec))

    def write_record(self, record: LaunchRecord) -> None:
        write_atomic(self.file("launch.json"), msgspec.json.encode(record))

    def record(self) -> LaunchRecord | None:
        """The launch record; None when there is none or it is broken."""
        try:
            with open(self.file("launch.json"), "rb") as source:
                return msgspec.json.decode(source.read(65536), type=LaunchRecord)
        except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
            return None

    def exit_status(self) -> tuple[int, int] | None:
        """(exit code, nanoseconds at which it was written) from conmon's file, None without one."""
        try:
            with open(self.file("exit"), "rb") as source:
                text = source.read(16)
                written_ns = os.fstat(source.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None
        digits = text.strip()
        return (int(digits), written_ns) if digits.lstrip(b"-").isdigit() else None

    def launched_ns(self) -> int:
        """When the launch record was written, 0 without one."""
        try:
            return os.stat(self.file("launch.json")).st_mtime_ns
        except FileNotFoundError:
            return 0

    def saw_oom(self) -> bool:
        return os.path.exists(self.file("oom"))

    def remove(self) -> None:
        remove_tree(self.path)
