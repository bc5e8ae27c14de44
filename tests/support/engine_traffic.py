"""Clients of an engine that keep going while a test does something to it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from engine_lab import PATIENCE, EngineLab, until

from naru.http.stdcopy import FrameReader

PAUSE_S = 0.01
_TIMEOUT_S = 20.0 * PATIENCE


class Hammer:
    """Asks a page on loopback again and again, each time on a new connection."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._url = f"http://{host}:{port}/"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._hammer)
        self.served = 0
        self.failed: list[str] = []

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def await_more(self, what: str) -> None:
        before = self.served + len(self.failed)
        until(lambda: self.served + len(self.failed) > before + 20, what)

    def _hammer(self) -> None:
        while not self._end.is_set():
            try:
                with urllib.request.urlopen(self._url, timeout=_TIMEOUT_S) as answer:
                    answer.read()
                self.served += 1
            except OSError as error:
                self.failed.append(repr(error))
            self._end.wait(PAUSE_S)


class Follower:
    """A streamed answer read by a thread: `data` grows until the engine closes the connection."""

    def __init__(
        self, lab: EngineLab, method: str, path: str, body: Any = None, *, hijack: bool = False
    ) -> None:
        self.sock = connect(lab)
        content = b"" if body is None else json.dumps(body).encode()
        extra = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if hijack else "Connection: close\r\n"
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: d\r\n{extra}Content-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.sock.sendall(head.encode() + content)
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            piece = self.sock.recv(1)
            assert piece, self.head
            self.head += piece
        self.data = bytearray()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self.sock.recv(65536):
                self.data += piece
        self.ended.set()

    def body(self) -> bytes:
        """The bytes of a chunked answer, as far as they came."""
        data = bytes(self.data)
        if b"chunked" not in self.head.lower():
            return data
        whole = bytearray()
        while b"\r\n" in data:
            size, _, data = data.partition(b"\r\n")
            length = int(size, 16)
            whole += data[:length]
            data = data[length + 2 :]
        return bytes(whole)

    def text(self) -> bytes:
        """What the workload wrote, frames taken off."""
        return b"".join(piece for _, piece in FrameReader().feed(self.body()))

    def objects(self) -> list[Any]:
        """The whole JSON lines so far."""
        return [json.loads(line) for line in self.body().split(b"\n")[:-1] if line.strip()]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.sock.close()


def connect(lab: EngineLab) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_TIMEOUT_S * 3)
    sock.connect(lab.socket)
    return sock


@contextlib.contextmanager
def follow(
    lab: EngineLab, path: str, method: str = "GET", body: Any = None, *, hijack: bool = False
) -> Iterator[Follower]:
    follower = Follower(lab, method, path, body, hijack=hijack)
    try:
        yield follower
    finally:
        follower.close()


def web(lab: EngineLab, address: str = "127.0.0.1", **host: Any) -> tuple[str, int]:
    """A container that serves a page, on a port that the engine chose."""
    container = lab.run(
        "sh", "-c", "mkdir -p /www && echo page > /www/index.html && exec httpd -f -h /www",
        ExposedPorts={"80/tcp": {}},
        HostConfig={"PortBindings": {"80/tcp": [{"HostIp": address, "HostPort": ""}]}, **host},
    )  # fmt: skip
    port = int(lab.inspect(container)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    end = time.monotonic() + _TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            return container, port
        assert time.monotonic() < end, lab.logs(container)
        time.sleep(0.02)


def execute(lab: EngineLab, container: str, *command: str, **fields: Any) -> tuple[int, bytes]:
    """`docker exec`: exit code and what it wrote."""
    body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **fields}
    session = lab.json("POST", f"/containers/{container}/exec", body)["Id"]
    with follow(lab, f"/exec/{session}/start", "POST", {}) as stream:
        assert stream.ended.wait(_TIMEOUT_S)
        text = stream.text()
    return int(lab.json("GET", f"/exec/{session}/json")["ExitCode"]), text


def output(lab: EngineLab, *command: str, code: int = 0, **fields: Any) -> str:
    """What a short container wrote; it is removed again."""
    container = lab.run(*command, **fields)
    ended = lab.wait(container)
    text = lab.logs(container).decode()
    lab.call("DELETE", f"/containers/{container}?force=1&v=1")
    assert ended == code, (ended, text)
    return text


def events(lab: EngineLab, container: str, since: float, *actions: str) -> list[Any]:
    """Events of `container` since then, of the named actions only (their first words)."""
    path = f"/events?since={since:.6f}&until={time.time():.6f}"
    lines = lab.call("GET", path).decode().splitlines()
    found = [json.loads(line) for line in lines]
    return [
        item
        for item in found
        if item["Actor"]["ID"] == container
        and (not actions or item["Action"].partition(":")[0] in actions)
    ]


def docker(lab: EngineLab, *words: str) -> "subprocess.CompletedProcess[str]":
    """The unmodified docker CLI on this engine; the test is skipped where it is not installed."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("the docker CLI is not installed here")
    return subprocess.run(
        [program, "-H", lab.host, *words],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S * 3,
        env={"PATH": os.environ["PATH"], "HOME": str(lab.directory)},
    )


def cgroup_file(lab: EngineLab, container: str, controller: str, name: str) -> str:
    """A file of the container's control group; "" where the host has no such file (version 2)."""
    key = lab.bridge()
    for root in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup"):
        path = f"{root}/{key}/{container}/{name}"
        if os.path.exists(path):
            with open(path) as source:
                return source.read().strip()
    return ""


def numbers_in(text: bytes, prefix: bytes = b"line ") -> list[int]:
    """The numbers of whole lines `line N`."""
    return [int(line[len(prefix) :]) for line in text.split(b"\n")[:-1] if line.startswith(prefix)]


def assert_gapless(numbers: Sequence[int]) -> None:
    assert list(numbers) == list(range(1, len(numbers) + 1)), numbers[:20]
