"""The engines that are measured: a narud on a fresh ext4, and a reference by its socket."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client import Api

ROOT = Path(__file__).resolve().parent.parent
LOOP_BYTES = 12 << 30


@dataclass(frozen=True)
class Engine:
    """`pids`: the processes whose memory counts as the engine's."""

    name: str
    socket: str
    pids: tuple[int, ...]

    def api(self) -> Api:
        return Api(self.socket)


@contextlib.contextmanager
def fresh_ext4(directory: Path) -> Iterator[Path]:
    """A new file system in a loop file: some root file systems crawl after mass deletions."""
    image, target = directory / "data.img", directory / "data"
    target.mkdir()
    with image.open("wb") as file:
        file.truncate(LOOP_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=False)
        image.unlink()


@contextlib.contextmanager
def naru(bip: str = "172.29.0.1/16") -> Iterator[Engine]:
    """A narud with everything of its own, ended and removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="naru-bench-"))
    socket_path = directory / "naru.sock"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        data = stack.enter_context(fresh_ext4(directory))
        exec_root = directory / "exec"
        exec_root.mkdir()
        log = stack.enter_context((directory / "narud.log").open("wb"))
        process = subprocess.Popen(
            [
                str(ROOT / ".venv/bin/narud"),
                *("--data-root", str(data / "naru"), "--exec-root", str(exec_root)),
                *("--pidfile", str(directory / "pid"), "--bip", bip, "-H", f"unix://{socket_path}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_ready(str(socket_path), process)
            yield Engine("naru", str(socket_path), (process.pid,))
            _remove_everything(Api(str(socket_path)))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            subprocess.run(["umount", "-l", str(exec_root)], check=False, capture_output=True)
            _remove_network(bip)


def _remove_network(bip: str) -> None:
    """Bridge and table outlive an engine on purpose; a measured one's are removed."""
    rows = subprocess.run(
        ["ip", "-o", "-4", "addr", "show", "to", bip.replace(".0.1/16", ".0.1/32")],
        check=False, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    if len(rows) > 1 and rows[1].startswith("naru-"):
        subprocess.run(["ip", "link", "delete", rows[1]], check=False)
        table = rows[1].replace("-", "_")
        subprocess.run(["nft", "delete", "table", "inet", table], check=False)


def _remove_everything(api: Api) -> None:
    for item in api.json("GET", "/containers/json?all=1"):
        api.remove(item["Id"])


def _wait_ready(path: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while True:
        if process.poll() is not None:
            sys.exit(f"bench: narud ended with {process.returncode}")
        try:
            Api(path).call("GET", "/_ping")
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("bench: narud does not answer")
            time.sleep(0.02)
        else:
            return


def reference() -> Engine | None:
    """The engine that REFERENCE_DOCKER_HOST names (unix://…), None without."""
    host = os.environ.get("REFERENCE_DOCKER_HOST", "")
    if not host:
        return None
    path = host.removeprefix("unix://")
    Api(path).call("GET", "/_ping")
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().strip() in ("dockerd", "containerd"):
                    pids.append(int(entry.name))
    return Engine("docker", path, tuple(pids))
