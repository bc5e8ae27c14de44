"""A narud of a test's own: started, killed, asked, and looked over for what it left behind."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naru.network.plan import bridge_name, engine_key, network_bridge_prefix, table_name

ROOT = Path(__file__).resolve().parent.parent.parent
# More than 1 where everything is slow, as in an emulated machine (tools/cgroup2-vm.sh).
PATIENCE = float(os.environ.get("NARU_TEST_PATIENCE", "1"))
DEADLINE_S = 30.0 * PATIENCE


class ApiError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("engine", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Ask again and again until `condition` holds. Raises: AssertionError naming `what`."""
    end = time.monotonic() + deadline_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.01)


@dataclass
class EngineLab:
    """One engine with roots, socket and addresses of its own; `start` it as often as needed."""

    directory: Path
    bip: str
    extra: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    log: Path = field(init=False)

    @property
    def port(self) -> int:
        """A port of the host for this engine's containers, another one for each address range."""
        second, third = (int(part) for part in self.bip.split(".")[1:3])
        return 39000 + (second - 200) * 640 + third // 4 * 10

    def __post_init__(self) -> None:
        self.log = self.directory / "narud.log"
        (self.directory / "exec").mkdir(exist_ok=True)

    @property
    def socket(self) -> str:
        return str(self.directory / "naru.sock")

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def data_root(self) -> Path:
        return self.directory / "data"

    @property
    def exec_root(self) -> Path:
        return self.directory / "exec"

    def launch(
        self,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "naru.engine.main"),
    ) -> "subprocess.Popen[bytes]":
        """Start narud; `ready` tells when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, *program),
                    *("--data-root", str(self.data_root), "--exec-root", str(self.exec_root)),
                    *("--pidfile", str(self.directory / "pid"), "--bip", self.bip),
                    *("-H", self.host, *self.extra),
                ],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def ready(self) -> None:
        process = self.process
        assert process is not None

        def answers() -> bool:
            assert process.poll() is None, f"narud ended: {self.log.read_text()[-3000:]}"
            with contextlib.suppress(OSError):
                self.call("GET", "/_ping")
                return True
            return False

        until(answers, "narud answers")

    def start(self, environment: Mapping[str, str] | None = None) -> "EngineLab":
        self.launch(environment)
        self.ready()
        return self

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        raw: bytes | None = None,
        timeout_s: float = 60 * PATIENCE,
    ) -> bytes:
        """One request on a fresh connection. Raises: ApiError; OSError when narud is away."""
        connection = _Connection(self.socket, timeout_s)
        try:
            data = raw if raw is not None else None if body is None else json.dumps(body).encode()
            kind = "application/x-tar" if raw is not None else "application/json"
            connection.request(method, url, data, {"Content-Type": kind})
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            with contextlib.suppress(ValueError, KeyError):
                raise ApiError(answer.status, json.loads(content)["message"])
            raise ApiError(answer.status, content.decode(errors="replace"))
        return content

    def json(self, method: str, url: str, body: Any = None) -> Any:
        return json.loads(self.call(method, url, body) or b"null")

    def make_busybox(self) -> None:
        tar = subprocess.run(
            [sys.executable, str(ROOT / "tools/busybox_image.py")], check=True, capture_output=True
        ).stdout
        url = "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD+%5B%22sh%22%5D"
        self.call("POST", url, raw=tar)

    def create(self, *command: str, name: str = "", **fields: Any) -> str:
        body = {"Image": "busybox", "Cmd": list(command), **fields}
        query = f"?name={name}" if name else ""
        return str(self.json("POST", f"/containers/create{query}", body)["Id"])

    def run(self, *command: str, name: str = "", **fields: Any) -> str:
        container = self.create(*command, name=name, **fields)
        self.call("POST", f"/containers/{container}/start")
        return container

    def wait(self, container: str) -> int:
        return int(self.json("POST", f"/containers/{container}/wait")["StatusCode"])

    def inspect(self, container: str) -> Any:
        return self.json("GET", f"/containers/{container}/json")

    def status(self, container: str) -> str:
        return str(self.inspect(container)["State"]["Status"])

    def logs(self, container: str) -> bytes:
        """The log's text, frames taken off."""
        data = self.call("GET", f"/containers/{container}/logs?stdout=1&stderr=1")
        text = bytearray()
        while data:
            size = int.from_bytes(data[4:8], "big")
            text += data[8 : 8 + size]
            data = data[8 + size :]
        return bytes(text)

    def remove_all(self) -> None:
        for item in self.json("GET", "/containers/json?all=1"):
            with contextlib.suppress(ApiError):
                self.call("DELETE", f"/containers/{item['Id']}?force=1&v=1")

    def remove_networks(self) -> None:
        """Those of users."""
        for item in self.json("GET", '/networks?filters={"type":["custom"]}'):
            self.call("DELETE", f"/networks/{item['Id']}")

    def links_inside(self, container: str) -> set[str] | None:
        """The interfaces of a running container; None when it has just ended."""
        inside = f"/proc/{self.inspect(container)['State']['Pid']}/net/dev"
        try:
            lines = Path(inside).read_text().splitlines()[2:]
        except (FileNotFoundError, ProcessLookupError):
            until(lambda: not self.inspect(container)["State"]["Running"], f"{inside} is gone")
            return None
        return {line.split(":")[0].strip() for line in lines}

    # -- what is left

    def bridge(self) -> str:
        """The name of this engine's bridge."""
        network = self.json("GET", "/networks/bridge")
        return str(network["Options"]["com.docker.network.bridge.name"])

    def leftovers(self) -> list[str]:
        """Whatever of containers exists outside of records while none runs: must be nothing."""
        found = [
            f"mount {line.split()[4]}"
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if line.split()[4].startswith(f"{self.exec_root}/")
        ]
        folders = ("containers", "mapped", "netns", "rootfs", "images", "shm", "subpaths", "userns")
        for folder in (*folders, "runtime/crun"):
            with contextlib.suppress(FileNotFoundError):
                found += [f"{folder}/{name}" for name in os.listdir(self.exec_root / folder)]
        bridge = self.bridge()
        own = network_bridge_prefix(bridge.removeprefix("naru-"))
        for path in Path("/sys/class/net").glob("*/master"):
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                master = os.path.basename(os.readlink(path))
                if master == bridge or master.startswith(own):
                    found.append(f"link {path.parent.name}")
        networks = {item["Id"][:6] for item in self.json("GET", "/networks")}
        found += [
            f"bridge {path.name}"
            for path in Path("/sys/class/net").glob(f"{own}*")
            if path.name.removeprefix(own) not in networks
        ]
        key = bridge.removeprefix("naru-")
        for group in control_groups(f"naru-{key}"):
            found += [f"cgroup {path}" for path in group.glob("*/")]
        known = {item["Id"] for item in self.json("GET", "/containers/json?all=1")}
        for folder in ("containers", "snapshots/snapshots"):
            with contextlib.suppress(FileNotFoundError):
                found += [
                    f"{folder}/{name}"
                    for name in os.listdir(self.data_root / folder)
                    if name.partition(".")[0] not in known
                ]
        return found

    def clean(self) -> None:
        """End everything of this engine, running or not, and remove its traces from the host."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError, ApiError, AssertionError):
                self.remove_all()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            self.kill()
        key = engine_key(str(self.data_root))
        groups = control_groups(bridge_name(key))
        for listed in (path for group in groups for path in group.glob("*/cgroup.procs")):
            with contextlib.suppress(OSError):
                for number in listed.read_text().split():
                    os.kill(int(number), signal.SIGKILL)
        self._kill_monitors()
        self._kill_lock_holders()
        bridges = Path("/sys/class/net").glob(f"{network_bridge_prefix(key)}*")
        for words in (
            *(("ip", "link", "delete", path.name) for path in bridges),
            ("ip", "link", "delete", bridge_name(key)),
            ("nft", "delete", "table", "inet", table_name(key)),
        ):
            subprocess.run(words, check=False, capture_output=True)
        for group in groups:
            for path in (*group.glob("*/"), group):
                with contextlib.suppress(OSError):
                    path.rmdir()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", target], check=False, capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _kill_lock_holders(self) -> None:
        """The relay and the name server of this engine, if a failed test left them."""
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            for fd in ("4", "5"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"{self.exec_root}/"):
                        os.kill(int(pid), signal.SIGKILL)

    def _kill_monitors(self) -> None:
        """conmon processes of this engine that a failed test left."""
        mark = str(self.exec_root).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes()
                    if mark in words and b"conmon" in words:
                        os.kill(int(entry.name), signal.SIGKILL)


def control_groups(path: str) -> list[Path]:
    """The control group `path` where it exists: one on version 2, one in each hierarchy on 1."""
    root = Path("/sys/fs/cgroup")
    return [root / path] if (root / path).is_dir() else list(root.glob(f"*/{path}"))


@contextlib.contextmanager
def engine_lab(number: int, *extra: str) -> Iterator[EngineLab]:
    """An engine that is not started yet; `number` (0…63) chooses its addresses."""
    directory = Path(tempfile.mkdtemp(prefix="naru-test-"))
    lab = EngineLab(directory, f"10.{200 + number // 64}.{number % 64 * 4}.1/22", extra)
    try:
        yield lab
    finally:
        lab.clean()
