"""Clients that do not read, do nothing, hang up half-way or come by the thousand."""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import connect, descriptors, execute, raw
from engine_lab import ROOT, ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

SPEAKER = "yes 'a line that is long enough to fill the pipes and buffers of everybody' & wait"


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(34) as engine:
        engine.start()
        engine.make_busybox()
        box = engine.create("true")  # what is kept ready from the first use on is no leak
        for url in (f"containers/{box}/archive?path=/bin", f"containers/{box}/export"):
            engine.call("GET", f"/{url}")
        engine.call("GET", "/images/busybox/get")
        engine.remove_all()
        yield engine


@pytest.fixture(autouse=True)
def nothing_left(lab: EngineLab) -> Iterator[None]:
    """Connections end, and with them every descriptor that was opened for them."""
    before = len(descriptors(lab))
    yield
    lab.remove_all()
    until(
        lambda: len(descriptors(lab)) <= before + 8,
        f"descriptors are closed again: {before} before",
    )


def small_receiver(lab: EngineLab, request: str) -> socket.socket:
    """A client that asks and never reads."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(20)
    sock.connect(lab.socket)
    sock.sendall(request.encode())
    return sock


def timed(lab: EngineLab, method: str, url: str) -> float:
    begun = time.monotonic()
    lab.call(method, url)
    return time.monotonic() - begun


STREAMS = (
    "GET /containers/{0}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /containers/{0}/logs?stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /containers/{0}/stats HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /containers/{0}/export HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /containers/{0}/archive?path=/bin HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /images/busybox/get HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /events HTTP/1.1\r\nHost: d\r\n\r\n",
    "POST /containers/{0}/attach?stream=1&stdout=1&logs=1 HTTP/1.1\r\nHost: d\r\n"
    "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    "GET /containers/{0}/attach/ws?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
)


def test_clients_that_never_read_hold_nobody(lab: EngineLab) -> None:
    """kill in under a second, others are answered, the container goes on; as moby#41827 was."""
    box = lab.run("sh", "-c", SPEAKER)
    with contextlib.ExitStack() as stack:
        for stream in STREAMS:
            for _ in range(3):
                stack.enter_context(small_receiver(lab, stream.format(box)))
        body = json.dumps({"Cmd": ["sh", "-c", SPEAKER], "AttachStdout": True}).encode()
        session = json.loads(lab.call("POST", f"/containers/{box}/exec", json.loads(body)))["Id"]
        start = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST /exec/{session}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
            f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(start)}\r\n\r\n"
        )
        stack.enter_context(small_receiver(lab, head + start.decode()))
        until(lambda: b"long enough" in lab.call(
            "GET", f"/containers/{box}/logs?stdout=1&tail=1"), "the container speaks")  # fmt: skip
        slowest = max(timed(lab, "GET", "/containers/json?all=1") for _ in range(20))
        assert slowest < 1
        assert execute(lab, box, "echo", "others go on") == (0, b"others go on\n")
        assert lab.run("true")
        assert timed(lab, "POST", f"/containers/{box}/kill") < 1
        until(lambda: lab.status(box) == "exited", "the container ends")
        assert timed(lab, "DELETE", f"/containers/{box}?force=1&v=1") < 3


def test_stdin_that_nobody_reads(lab: EngineLab) -> None:
    """A client that writes on and on to a process that does not read."""
    box = lab.run("sleep", "1000", OpenStdin=True, AttachStdin=True)
    with connect(lab, 0.5) as sock:
        sock.sendall(
            f"POST /containers/{box}/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: d\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += sock.send(bytes(1 << 16))
        assert sent < 16 << 20, "the engine takes in what nobody reads"
        assert timed(lab, "POST", f"/containers/{box}/kill") < 1
        until(lambda: lab.status(box) == "exited", "the container ends")


def test_an_idle_thousand_and_half_closed_hijacks(lab: EngineLab) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this machine allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    box = lab.run("sleep", "1000", OpenStdin=True, AttachStdin=True)
    before = len(descriptors(lab))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(connect(lab))
            hijacked = []
            for number in range(60):
                sock = stack.enter_context(connect(lab))
                sock.sendall(
                    f"POST /containers/{box}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n"
                    "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
                )
                assert sock.recv(12) == b"HTTP/1.1 101"
                if number % 2:
                    sock.shutdown(socket.SHUT_WR)
                hijacked.append(sock)
            until(lambda: len(descriptors(lab)) > before + 1000, "all are accepted")
            begun = time.monotonic()
            assert lab.call("GET", "/_ping") == b"OK"
            assert time.monotonic() - begun < 1
            for sock in hijacked[::3]:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: len(descriptors(lab)) <= before + 4, "every descriptor is closed again")
        assert lab.status(box) == "running"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_that_hang_up_at_every_moment(lab: EngineLab) -> None:
    """Half requests and answers that are not waited for, from several clients at once."""
    box = lab.run("sh", "-c", SPEAKER)
    whole = [stream.format(box).encode() for stream in STREAMS]

    def client(number: int) -> None:
        for turn, data in enumerate(whole * 3):
            with contextlib.suppress(OSError), connect(lab, 0.1) as sock:
                sock.sendall(data[: len(data) - (turn * 7 + number) % 40])
                if (turn + number) % 3 == 0:
                    sock.shutdown(socket.SHUT_WR)
                if (turn + number) % 2:
                    sock.recv(100)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert lab.call("GET", "/_ping") == b"OK"
    assert b"Traceback" not in lab.log.read_bytes()


@pytest.mark.parametrize("held", ["idle", "streams"])
def test_out_of_descriptors(held: str) -> None:
    """Nothing is left for new clients: 503 or a polite refusal, containers live, recovery."""
    with engine_lab(35) as small:
        small.start()
        small.make_busybox()
        box = small.run("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
        small.kill()
        small.start()
        assert small.process is not None
        soft, hard = resource.prlimit(small.process.pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{small.process.pid}/fd"))
        resource.prlimit(small.process.pid, resource.RLIMIT_NOFILE, (open_now + 20, hard))
        events = b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n"
        said = b""
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                sock = stack.enter_context(connect(small, 0.1))
                with contextlib.suppress(OSError):
                    sock.sendall(events if held == "streams" else b"GET /_ping HTTP/1.1\r\n")
                with contextlib.suppress(OSError):
                    said += sock.recv(4096) if held == "streams" or b"503" not in said else b""
                with contextlib.suppress(ApiError, OSError):
                    small.call("POST", f"/containers/{box}/exec", {"Cmd": ["true"]}, timeout_s=1)
            assert b" 503 " in said
            assert small.process.poll() is None
        until(lambda: _answers(small), "it answers again")
        assert small.status(box) == "running"
        resource.prlimit(small.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert execute(small, box, "echo", "back") == (0, b"back\n")
        small.call("POST", f"/containers/{box}/stop?t=15")
        assert small.inspect(box)["State"]["ExitCode"] == 3
        assert small.stop() == 0


def _answers(lab: EngineLab) -> bool:
    with contextlib.suppress(OSError, ApiError):
        return lab.call("GET", "/_ping", timeout_s=2) == b"OK"
    return False


def test_a_second_engine_on_the_same_roots_is_refused(lab: EngineLab) -> None:
    """Also with another socket and pidfile, and when only one of the roots is the same."""
    box = lab.run("sleep", "1000")
    base = (sys.executable, "-m", "naru.engine.main", "--pidfile", f"{lab.directory}/pid2")
    other = f"unix://{lab.directory}/second.sock"
    for roots in (
        ("--data-root", str(lab.data_root), "--exec-root", f"{lab.directory}/exec2"),
        ("--data-root", f"{lab.directory}/data2", "--exec-root", str(lab.exec_root)),
        ("--data-root", f"{lab.data_root}/../data/", "--exec-root", f"{lab.directory}/exec2"),
    ):
        done = subprocess.run(
            [*base, *roots, "--bip", "10.250.9.1/24", "-H", other], cwd=ROOT,
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 1 and "another narud" in done.stderr, done.stderr
    assert not Path(f"{lab.directory}/second.sock").exists()
    assert lab.status(box) == "running"
    assert raw(lab, b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").endswith(b"OK")


def test_signals_while_clients_hold_on(lab: EngineLab) -> None:
    """SIGTERM with streams that nobody reads: it ends in time, and what runs goes on running."""
    box = lab.run("sh", "-c", SPEAKER)
    with contextlib.ExitStack() as stack:
        for stream in STREAMS:
            stack.enter_context(small_receiver(lab, stream.format(box)))
        assert lab.process is not None
        begun = time.monotonic()
        lab.process.send_signal(signal.SIGTERM)
        assert lab.process.wait(30) == 0
        assert time.monotonic() - begun < 10
    lab.start()
    assert lab.status(box) == "running"
