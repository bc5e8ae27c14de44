"""Streams to and from real containers: hijacked stdio, WebSockets, logs, events, TLS."""

import base64
import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import EngineLab, engine_lab
from tls_files import certificates

from naru.http.stdcopy import FrameReader
from naru.http.websocket import BINARY, CLOSE, unmask

pytestmark = pytest.mark.root

DEADLINE_S = 15.0
UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(40) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()


def connect(lab: EngineLab) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    sock.connect(lab.socket)
    return sock


def hijack(lab: EngineLab, path: str, early: bytes = b"", body: bytes = b"") -> socket.socket:
    sock = connect(lab)
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    head = b"POST %b HTTP/1.1\r\nHost: d\r\n%b%b\r\n" % (path.encode(), UPGRADE, kind)
    sock.sendall(head + body + early)
    return sock


def everything(sock: socket.socket) -> tuple[bytes, bytes]:
    """Head and rest until the server closes."""
    said = b""
    while data := sock.recv(65536):
        said += data
    head, _, rest = said.partition(b"\r\n\r\n")
    return head, rest


def head_of(sock: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += sock.recv(1)
    return said


def test_attach_takes_early_bytes_and_half_close(lab: EngineLab) -> None:
    container = lab.create(
        "sh", "-c", "cat; echo end >&2", OpenStdin=True, StdinOnce=True, AttachStdin=True
    )
    query = "stream=1&stdin=1&stdout=1&stderr=1"
    with hijack(lab, f"/containers/{container}/attach?{query}", b"early ") as sock:
        head = head_of(sock)
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"application/vnd.docker.multiplexed-stream" in head
        lab.call("POST", f"/containers/{container}/start")
        sock.sendall(b"late")
        sock.shutdown(socket.SHUT_WR)
        _, rest = everything(_Replay(sock))
        frames = list(FrameReader().feed(rest))
    assert b"".join(data for number, data in frames if number == 1) == b"early late"
    assert b"".join(data for number, data in frames if number == 2) == b"end\n"
    assert lab.wait(container) == 0


class _Replay(socket.socket):
    """A socket whose head was read: `everything` finds an empty one before the rest."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=os.dup(sock.fileno()))
        self.settimeout(DEADLINE_S)
        self._first = True

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._first:
            self._first = False
            return b"\r\n\r\n"
        data = super().recv(size, flags)
        if not data:
            self.close()
        return data


def test_exec_carries_both_directions_and_its_exit_code(lab: EngineLab) -> None:
    container = lab.run("sleep", "60")
    body = {"Cmd": ["sh", "-c", "cat; exit 5"], "AttachStdin": True, "AttachStdout": True}
    session = lab.json("POST", f"/containers/{container}/exec", body)["Id"]
    start = json.dumps({"Detach": False, "Tty": False}).encode()
    with hijack(lab, f"/exec/{session}/start", b"abc", start) as sock:
        head_of(sock)
        sock.shutdown(socket.SHUT_WR)
        _, rest = everything(_Replay(sock))
    assert list(FrameReader().feed(rest)) == [(1, b"abc")]
    until = time.monotonic() + DEADLINE_S
    while lab.json("GET", f"/exec/{session}/json")["Running"]:
        assert time.monotonic() < until
    assert lab.json("GET", f"/exec/{session}/json")["ExitCode"] == 5


def test_a_websocket_is_a_containers_stdio(lab: EngineLab) -> None:
    container = lab.run("cat", OpenStdin=True, StdinOnce=True)
    key = base64.b64encode(os.urandom(16))
    with connect(lab) as sock:
        sock.sendall(
            b"GET /containers/%b/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: %b\r\n\r\n" % (container.encode(), key)
        )
        assert b"Sec-WebSocket-Accept: " in head_of(sock)
        mask = b"abcd"
        sock.sendall(b"\x82\x86" + mask + unmask(b"hello\n", mask))
        assert sock.recv(100) == bytes([0x80 | BINARY, 6]) + b"hello\n"
        sock.sendall(b"\x88\x82" + mask + unmask(b"\x03\xe8", mask))
        assert sock.recv(100)[0] == 0x80 | CLOSE
        assert sock.recv(100) == b""
    assert lab.status(container) in ("running", "exited")


def test_a_client_that_does_not_read_never_holds_up_kill(lab: EngineLab) -> None:
    container = lab.run(
        "sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done"
    )
    clients = [hijack(lab, f"/containers/{container}/attach?stream=1&stdout=1") for _ in range(3)]
    follower = connect(lab)
    follower.sendall(
        b"GET /containers/%b/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n"
        % container.encode()
    )
    for sock in clients:
        head_of(sock)
    begun = time.monotonic()
    lab.call("POST", f"/containers/{container}/kill")
    assert time.monotonic() - begun < 1.0
    assert lab.wait(container) == 137
    for sock in (*clients, follower):
        sock.close()


def test_events_are_told_live_and_again(lab: EngineLab) -> None:
    since = time.time()
    with connect(lab) as sock:
        query = b'filters={"type":["container"]}'.replace(b'"', b"%22")
        sock.sendall(b"GET /events?" + query + b" HTTP/1.1\r\nHost: d\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head_of(sock)
        container = lab.run("true")
        lab.wait(container)
        lab.call("DELETE", f"/containers/{container}")
        said = b""
        while b'"destroy"' not in said:
            said += sock.recv(65536)
    for action in (b'"create"', b'"start"', b'"die"'):
        assert action in said
    again = lab.call("GET", f"/events?since={since:.6f}&until={time.time():.6f}")
    assert again.count(b'"Action":"die"') == 1
    assert b'"Type":"network"' in again


def test_a_wait_is_registered_before_its_head_is_sent(lab: EngineLab) -> None:
    container = lab.create("sh", "-c", "exit 9")
    with connect(lab) as sock:
        path = f"/containers/{container}/wait?condition=next-exit".encode()
        sock.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        head_of(sock)
        lab.call("POST", f"/containers/{container}/start")
        assert b'{"StatusCode":9}' in sock.recv(1000)


def test_tls_demands_the_clients_certificate(tmp_path: Path) -> None:
    certificates(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "server", "client", "key")}
    flags = ("-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", files["ca"],
             "--tlscert", files["server"], "--tlskey", files["key"])  # fmt: skip
    with engine_lab(41, *flags) as engine:
        engine.start()
        context = ssl.create_default_context(cafile=files["ca"])
        context.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ping(context, port)
        context.load_cert_chain(files["client"], files["key"])
        assert b"200 OK" in ping(context, port)
        assert engine.stop() == 0


def ping(context: ssl.SSLContext, port: int) -> bytes:
    raw = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    with contextlib.closing(raw), context.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = sock.recv(4096)
        if not said:
            raise ConnectionError("closed")
        return said
