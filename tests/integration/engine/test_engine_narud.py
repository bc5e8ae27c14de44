"""narud as a process: start, one per root, signals, overload, hostile clients, live endpoints."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root

DEADLINE_S = 15.0
ASK = b"%b %b HTTP/1.1\r\nHost: d\r\nConnection: close\r\n%b\r\n"


class Narud:
    """A started engine with roots of its own."""

    def __init__(self, folder: Path, *flags: str, descriptors: int | None = None) -> None:
        self.folder = folder
        self.socket = str(folder / "s.sock")
        config = folder / "daemon.json"
        if not config.exists():
            config.write_text("{}")
        self.argv = [
            sys.executable, "-m", "naru.engine.main", "--data-root", str(folder / "data"),
            "--exec-root", str(folder / "run"), "--pidfile", str(folder / "pid"),
            "--bip", "172.30.41.1/24", "-H", f"unix://{self.socket}",
            "--config-file", str(config), *flags,
        ]  # fmt: skip
        self.log = open(folder / "log", "ab")  # noqa: SIM115 - closed in stop()

        def limit() -> None:
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.process = subprocess.Popen(
            self.argv, stderr=self.log, stdout=self.log, preexec_fn=limit, start_new_session=True
        )
        self._await_ready()

    def _await_ready(self) -> None:
        until = time.monotonic() + DEADLINE_S
        while b'msg="ready' not in (self.folder / "log").read_bytes():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "narud did not become ready"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE_S)
        sock.connect(self.socket)
        return sock

    def raw(self, data: bytes) -> bytes:
        with self.connect() as sock:
            sock.sendall(data)
            said = b""
            while piece := sock.recv(65536):
                said += piece
            return said

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        extra, payload = b"", b""
        if body is not None:
            payload = json.dumps(body).encode()
            extra = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(payload)
        said = self.raw(ASK % (method.encode(), path.encode(), extra) + payload)
        head, _, rest = said.partition(b"\r\n\r\n")
        if b"chunked" in head:
            rest = rest.partition(b"\r\n")[2]
        with contextlib.suppress(ValueError):
            return int(head.split()[1]), json.JSONDecoder().raw_decode(rest.decode())[0]
        return int(head.split()[1]), rest

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()
            subprocess.run(["umount", "-l", str(self.folder / "run")], check=False, stderr=-3)


@pytest.fixture
def narud(tmp_path: Path) -> Iterator[Narud]:
    engine = Narud(tmp_path)
    yield engine
    if engine.process.poll() is None:
        engine.stop()


def _remove_bridge(folder: Path) -> None:
    from naru.network.plan import bridge_name, engine_key, table_name  # noqa: PLC0415

    key = engine_key(str(folder / "data"))
    subprocess.run(["ip", "link", "del", bridge_name(key)], check=False, stderr=-3)
    for family in ("ip", "ip6", "inet", "arp", "bridge"):
        subprocess.run(["nft", "delete", "table", family, table_name(key)], check=False, stderr=-3)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[None]:
    yield
    _remove_bridge(tmp_path)


def test_ready_answers_and_ends_in_order(narud: Narud) -> None:
    said = narud.raw(ASK % (b"GET", b"/_ping", b""))
    head, _, body = said.partition(b"\r\n\r\n")
    assert body == b"OK" and b"\r\nApi-Version: 1.51\r\n" in head
    assert b"\r\nOstype: linux\r\n" in head and b"\r\nServer: Naru/" in head
    assert narud.raw(ASK % (b"HEAD", b"/v1.30/_ping", b"")).endswith(b"\r\n\r\n")
    status, version = narud.ask("GET", "/version")
    assert status == 200 and version["MinAPIVersion"] == "1.24"
    assert narud.ask("GET", "/info")[1]["ContainersRunning"] == 0
    memory = Path(f"/proc/{narud.process.pid}/status").read_text()
    rss_kib = int(memory.partition("VmRSS:")[2].split()[0])
    assert rss_kib < 60 * 1024
    begun = time.monotonic()
    assert narud.stop() == 0
    assert time.monotonic() - begun < 10
    assert not os.path.exists(narud.socket) and not (narud.folder / "pid").exists()


def test_a_second_engine_on_the_same_root_is_refused(narud: Narud) -> None:
    second = subprocess.run(narud.argv, capture_output=True, text=True, timeout=DEADLINE_S)
    assert second.returncode == 1
    assert f"another narud (process {narud.process.pid})" in second.stderr
    assert narud.ask("GET", "/_ping")[0] == 200


def test_versions_and_what_is_not_offered(narud: Narud) -> None:
    assert narud.ask("GET", "/v1.23/info")[0] == 400
    status, body = narud.ask("GET", "/v1.99/info")
    assert (status, body["message"]) == (
        400,
        "client version 1.99 is too new. Maximum supported API version is 1.51",
    )
    for method, path, text in (
        ("POST", "/auth", "registry"),
        ("POST", "/images/create?fromImage=busybox&tag=latest", "pulling busybox:latest"),
        ("POST", "/build", "building images"),
        ("POST", "/swarm/init", "swarm"),
    ):
        status, body = narud.ask(method, path)
        assert status == 501 and text in body["message"], path
    status, body = narud.ask("GET", "/services/x")
    assert status == 503 and "not a swarm manager" in body["message"]
    assert narud.ask("GET", "/nope") == (404, {"message": "page not found"})


def test_bodies_are_limited_and_strict(narud: Narud) -> None:
    status, body = narud.ask("POST", "/containers/create", {"Image": 5})
    assert status == 400 and "$.Image" in body["message"]
    said = narud.raw(
        ASK % (b"POST", b"/containers/create", b"Content-Length: 99999999\r\n"
               b"Content-Type: application/json\r\n")
    )  # fmt: skip
    assert b" 400 " in said and b"over its limit" in said


def test_reload_changes_labels_and_keeps_serving(narud: Narud) -> None:
    (narud.folder / "daemon.json").write_text('{"labels": ["a=b"], "log-level": "debug"}')
    narud.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + DEADLINE_S
    while narud.ask("GET", "/info")[1]["Labels"] != ["a=b"]:
        assert time.monotonic() < until
    assert narud.ask("GET", "/info")[1]["Debug"] is True
    (narud.folder / "daemon.json").write_text('{"nonsense": 1}')
    narud.process.send_signal(signal.SIGHUP)
    assert narud.ask("GET", "/info")[1]["Labels"] == ["a=b"]


def test_a_thousand_clients_leave_nothing(narud: Narud) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{narud.process.pid}/fd"))

    before = descriptors()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(narud.socket)
        if number % 2:
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            await reader.readuntil(b"OK")
        else:
            writer.write(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        held.append(writer)

    held: list[asyncio.StreamWriter] = []

    async def main() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(one(number) for number in range(1000)))
            assert descriptors() >= before + 1000
            for writer in held:
                writer.close()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this machine allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        asyncio.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until = time.monotonic() + DEADLINE_S
    while descriptors() > before + 8:
        assert narud.ask("GET", "/_ping")[0] == 200
        assert time.monotonic() < until


def test_out_of_descriptors_is_said_and_survived(tmp_path: Path) -> None:
    engine = Narud(tmp_path, descriptors=100)
    held: list[socket.socket] = []
    try:
        busy = False
        for _ in range(130):
            sock = engine.connect()
            held.append(sock)
            with contextlib.suppress(ConnectionError):  # it may be turned away before it asks
                sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                if b" 503 " in sock.recv(65536):
                    busy = True
                    break
        assert busy
        for sock in held:
            sock.close()
        until = time.monotonic() + DEADLINE_S
        answered = False
        while not answered:
            assert time.monotonic() < until
            with contextlib.suppress(ConnectionError):
                answered = engine.ask("GET", "/_ping")[0] == 200
        assert engine.stop() == 0
    finally:
        if engine.process.poll() is None:
            engine.stop(signal.SIGKILL)


def test_tcp_needs_leave_and_refuses_other_names(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused = subprocess.run(
        [sys.executable, "-m", "naru.engine.main", "-H", f"tcp://127.0.0.1:{port}",
         "--data-root", str(tmp_path / "d"), "--config-file", "/dev/null"],
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert refused.returncode == 1 and "--insecure" in refused.stderr
    engine = Narud(tmp_path, "-H", f"tcp://127.0.0.1:{port}", "--insecure")
    try:
        for host, status in ((b"127.0.0.1", b"200"), (b"localhost", b"200"), (b"evil.x", b"403")):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock:
                sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
                assert sock.recv(100).split()[1] == status
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock:
            sock.sendall(
                b"POST /containers/prune HTTP/1.1\r\nHost: localhost\r\nOrigin: http://e.x\r\n\r\n"
            )
            assert sock.recv(100).split()[1] == b"403"
        assert engine.stop() == 0
    finally:
        if engine.process.poll() is None:
            engine.stop(signal.SIGKILL)


def test_sockets_from_systemd(tmp_path: Path) -> None:
    """As systemd does it: the listening socket is descriptor 3, LISTEN_PID is the process's own."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.sock"))
        listening.listen(8)
        script = (
            "import os, sys\nos.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            "from naru.engine.main import run\nrun(sys.argv[2:])\n"
        )
        (tmp_path / "daemon.json").write_text("{}")
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listening.fileno()), "-H", "fd://",
             "--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run"),
             "--pidfile", str(tmp_path / "pid"), "--bip", "172.30.42.1/24",
             "--config-file", str(tmp_path / "daemon.json")],
            pass_fds=(listening.fileno(),), stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(DEADLINE_S)
                sock.connect(str(tmp_path / "s.sock"))
                sock.sendall(ASK % (b"GET", b"/_ping", b""))
                assert b" 200 OK" in sock.recv(4096)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.wait()
            subprocess.run(["umount", "-l", str(tmp_path / "run")], check=False, stderr=-3)
