"""What attacks on an engine are made of: archives, images, raw requests, a canary, a swapper."""

import contextlib
import ctypes
import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine_lab import ApiError, EngineLab, until

REG, LNK, SYM, DIR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
FIFO = tarfile.FIFOTYPE
Member = tuple[str, bytes, str | bytes]
DEADLINE_S = 20.0
_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("sh", "ls", "cat", "id", "sleep", "mount", "mkdir", "ln", "grep", "true", "pwd", "env")


def archive(*members: Member, headers: dict[str, str] | None = None) -> bytes:
    """A tar of (name, kind, content or link target); directories are 0755, files 0755 too."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            data = what if isinstance(what, bytes) else b""
            info.type, info.size, info.mode = kind, len(data), 0o755
            info.linkname = what if isinstance(what, str) else ""
            info.pax_headers = headers or {}
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def system(*members: Member, without: Sequence[str] = ()) -> bytes:
    """A root file system with busybox in it and `members`, without the directories named."""
    base: list[Member] = [
        (name, DIR, "")
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp")
        if name not in without
    ]
    base.append(("bin/busybox", REG, _BUSYBOX.read_bytes()))
    base += [(f"bin/{name}", LNK, "bin/busybox") for name in _APPLETS]
    return archive(*base, *members)


def make_image(lab: EngineLab, name: str, data: bytes, *changes: str) -> None:
    """Import `data` as the image `name`, with Dockerfile instructions."""
    words = "".join(f"&changes={quote(change)}" for change in changes)
    lab.call("POST", f"/images/create?fromSrc=-&repo={name}&tag=latest{words}", raw=data)


def connect(lab: EngineLab, timeout_s: float = DEADLINE_S) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout_s)
    sock.connect(lab.socket)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Everything until the engine closes; a reset is an end, too."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(65536):
            said += data
    return said


def raw(lab: EngineLab, data: bytes) -> bytes:
    """Send `data`, end our half, and give everything that is answered."""
    with connect(lab) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def descriptors(lab: EngineLab) -> list[str]:
    """What the engine's open descriptors lead to."""
    assert lab.process is not None
    folder = f"/proc/{lab.process.pid}/fd"
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"{folder}/{name}"))
    return found


class Canary:
    """A directory of the host that nothing may change or read. `check` raises AssertionError."""

    SECRET = b"alive and secret"

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir()
        (folder / "file").write_bytes(self.SECRET)
        self._before = self._state()

    def __str__(self) -> str:
        return str(self.path)

    def _state(self) -> list[Any]:
        paths = [self.path, *sorted(self.path.iterdir())]
        facts = [os.lstat(path) for path in paths]
        about = [(f.st_mode, f.st_mtime_ns, f.st_nlink, f.st_uid, f.st_ino) for f in facts]
        return [[str(path) for path in paths], about, (self.path / "file").read_bytes()]

    def check(self) -> None:
        assert self._state() == self._before
        assert not Path("/naru-canary").exists()


_SWAP = """
import ctypes, os, sys
swap = ctypes.CDLL(None).renameat2
first, second = map(os.fsencode, sys.argv[1:])
while True:
    swap(-100, first, -100, second, 2)
"""


@contextlib.contextmanager
def swapping(one: str | Path, other: str | Path) -> Iterator[None]:
    """Exchange two names all the time, as a program in the container would; in order at the end."""

    def is_link() -> bool:
        with contextlib.suppress(OSError):
            return os.path.islink(one)
        return before

    before = os.path.islink(one)
    process = subprocess.Popen([sys.executable, "-c", _SWAP, str(one), str(other)])
    try:
        until(lambda: is_link() != before, "the names are exchanged")
        yield
    finally:
        process.kill()
        process.wait()
        if is_link() != before:
            libc = ctypes.CDLL(None)
            libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)


def execute(lab: EngineLab, container: str, *command: str, **fields: Any) -> tuple[int, bytes]:
    """Run a command in a running container: exit code and output, both streams as they came."""
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **fields}
    session = lab.json("POST", f"/containers/{container}/exec", body)["Id"]
    tty = bool(fields.get("Tty"))
    data = lab.call("POST", f"/exec/{session}/start", {"Detach": False, "Tty": tty})
    text = data if tty else b""
    while data and not tty:
        size = int.from_bytes(data[4:8], "big")
        text += data[8 : 8 + size]
        data = data[8 + size :]
    code = until(
        lambda: (
            (about := lab.json("GET", f"/exec/{session}/json"))["ExitCode"] is not None
            and not about["Running"]
            and [about["ExitCode"]]
        ),
        "the exec session ends",
    )
    return int(code[0]), text


def outcome(lab: EngineLab, *command: str, **fields: Any) -> tuple[int, bytes]:
    """Run a container to its end: exit code and log; (-1, message) when it is refused."""
    try:
        container = lab.run(*command, **fields)
    except ApiError as error:
        return -1, error.message.encode()
    try:
        return lab.wait(container), lab.logs(container)
    finally:
        lab.call("DELETE", f"/containers/{container}?force=1&v=1")


def with_python() -> dict[str, Any]:
    """`Binds` that bring this host's Python into a container, and its path as the first word."""
    folders = {"/usr", "/lib", "/lib64", sys.base_prefix}
    binds = [f"{path}:{path}:ro" for path in sorted(folders) if os.path.isdir(path)]
    return {"Binds": binds}


PYTHON = os.path.realpath(sys.executable)
