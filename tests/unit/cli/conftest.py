"""An engine of canned answers on a UNIX socket, which notes every request."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Answer = tuple[int, Any]


class ScriptedEngine:
    """Answers by `METHOD /path` (no version, no query); anything else is a 418."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Answer | Callable[[str, Any], Answer]] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self._servers: list[threading.Thread] = []

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            server = threading.Thread(target=self._serve, args=(connection,))
            server.start()
            self._servers.append(server)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while self._one(connection, stream):
                    pass
            except OSError:
                return

    def _one(self, connection: socket.socket, stream: Any) -> bool:
        line = stream.readline().decode()
        if not line:
            return False
        length, chunked = 0, False
        while (header := stream.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.split(b":")[1])
            chunked = chunked or header == b"transfer-encoding: chunked"
        body = self._chunks(stream) if chunked else stream.read(length)
        method, target, _ = line.split()
        path = target.partition("?")[0]
        if path == "/_ping":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nOstype: linux\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            return True
        version, _, rest = path[1:].partition("/")
        path = f"/{rest}" if version.startswith("v1.") else path
        parsed = json.loads(body) if body[:1] in (b"{", b"[") else body
        self.requests.append((method, target, parsed))
        found = self.answers.get(f"{method} {path}", (418, {"message": "recorded"}))
        status, document = found(target, parsed) if callable(found) else found
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        data = b"" if status == 204 else data
        kind = "Content-Type: application/json"
        head = f"HTTP/1.1 {status} X\r\n{kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        return True

    @staticmethod
    def _chunks(stream: Any) -> bytes:
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
        return body

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._thread.join()
        for server in self._servers:
            server.join()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEngine]:
    scripted = ScriptedEngine(tmp_path / "engine.sock")
    for name in ("NARU_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", scripted.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    yield scripted
    scripted.close()
