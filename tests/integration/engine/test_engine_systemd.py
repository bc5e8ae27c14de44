"""narud as a unit of systemd: sockets handed over, readiness told, clients wait and are served."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import DEADLINE_S, EngineLab, engine_lab

pytestmark = pytest.mark.root

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
# What systemd does between fork and exec: the sockets from number 3 on, and whose they are.
SHIM = 'exec 3<&"$0" && LISTEN_PID=$$ && export LISTEN_PID && exec "$@"'


class ServiceManager:
    """The part of systemd that a unit sees."""

    def __init__(self, lab: EngineLab) -> None:
        self.lab = lab
        self._folder = Path(tempfile.mkdtemp(prefix="naru-test-notify-"))
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.settimeout(DEADLINE_S)
        self.notify.bind(str(self._folder / "notify"))
        self.api = socket.socket(socket.AF_UNIX)
        self.api.bind(lab.socket)
        self.api.listen(128)

    def start(self, *flags: str, api: socket.socket | None = None) -> None:
        handed = (api or self.api).fileno()
        with self.lab.log.open("ab") as log:
            self.lab.process = subprocess.Popen(
                [
                    *("bash", "-c", SHIM, str(handed), sys.executable, "-m", "naru.engine.main"),
                    *("--data-root", str(self.lab.data_root), "--exec-root"),
                    *(str(self.lab.exec_root), "--pidfile", str(self.lab.directory / "pid")),
                    *("--bip", self.lab.bip, *flags),
                ],
                cwd=Path(__file__).resolve().parents[3],
                env={
                    "PATH": os.environ["PATH"],
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "api",
                    "NOTIFY_SOCKET": str(self._folder / "notify"),
                },
                pass_fds=[handed],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def told(self) -> list[str]:
        """The next message, line by line."""
        return self.notify.recv(4096).decode().splitlines()

    def close(self) -> None:
        self.notify.close()
        self.api.close()
        shutil.rmtree(self._folder)


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with engine_lab(20) as lab:
        service = ServiceManager(lab)
        with contextlib.closing(service):
            yield service


def ask(path: str) -> socket.socket:
    """A connection on which a ping was asked and not yet answered."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    sock.connect(path)
    sock.sendall(PING)
    return sock


def answer(sock: socket.socket) -> bytes:
    with sock:
        text = b""
        while part := sock.recv(4096):
            text += part
    return text


@pytest.mark.parametrize("flags", [(), ("-H", "fd://"), ("-H", "fd://api"), ("-H", "fd://3")])
def test_it_serves_the_socket_and_tells_its_life(
    manager: ServiceManager, flags: tuple[str, ...]
) -> None:
    manager.start(*flags)
    assert manager.told() == ["READY=1", "STATUS=serving"]
    assert answer(ask(manager.lab.socket)).startswith(b"HTTP/1.1 200 ")
    process = manager.lab.process
    assert process is not None
    process.send_signal(signal.SIGHUP)
    assert manager.told() == ["RELOADING=1"]
    assert manager.told() == ["READY=1"]
    process.send_signal(signal.SIGTERM)
    assert manager.told() == ["STOPPING=1"]
    assert process.wait(DEADLINE_S) == 0
    assert os.path.exists(manager.lab.socket), "the socket is systemd's"


def test_clients_wait_for_the_next_narud_and_containers_go_on(manager: ServiceManager) -> None:
    lab = manager.lab
    manager.start()
    manager.told()
    lab.make_busybox()
    container = lab.run("sh", "-c", "env >&2; while :; do echo tick; sleep 0.1; done")
    before = lab.inspect(container)["State"]["Pid"]
    assert lab.stop() == 0
    waiting = [ask(lab.socket) for _ in range(20)]
    assert Path(f"/proc/{before}").exists()
    manager.start()
    assert {answer(sock)[:13] for sock in waiting} == {b"HTTP/1.1 200 "}
    state = lab.inspect(container)["State"]
    assert (state["Status"], state["Pid"]) == ("running", before)
    printed = lab.logs(container)
    assert b"tick" in printed
    assert b"LISTEN_" not in printed
    assert b"NOTIFY_" not in printed


def test_a_socket_that_no_host_names_is_an_error(manager: ServiceManager) -> None:
    manager.start("-H", f"unix://{manager.lab.directory}/other.sock")
    assert manager.lab.process is not None
    assert manager.lab.process.wait(DEADLINE_S) == 1
    assert "add fd:// to hosts" in manager.lab.log.read_text()


def test_a_tcp_socket_without_tls_is_refused(manager: ServiceManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        manager.start(api=tcp)
        assert manager.lab.process is not None
        assert manager.lab.process.wait(DEADLINE_S) == 1
    assert "refusing a TCP socket without tlsverify" in manager.lab.log.read_text()


def test_fd_without_systemd_is_an_error() -> None:
    with engine_lab(20) as lab:
        lab.extra = ("-H", "fd://")
        process = lab.launch()
        assert process.wait(DEADLINE_S) == 1
        assert "no sockets were handed over by systemd" in lab.log.read_text()
