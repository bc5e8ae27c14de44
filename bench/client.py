"""A bare Engine API client for measuring: one keep-alive connection over a UNIX socket."""

import http.client
import json
import socket
import struct
from typing import Any


class Api(http.client.HTTPConnection):
    """Calls raise AssertionError on an error answer, with its text."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=600)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)

    def call(self, method: str, url: str, body: Any = None, raw: Any = None) -> bytes:
        headers = {"Content-Type": "application/json" if raw is None else "application/x-tar"}
        data = json.dumps(body) if raw is None and body is not None else raw
        self.request(method, "/v1.51" + url, data, headers)
        answer = self.getresponse()
        content = answer.read()
        assert answer.status < 300, (method, url, answer.status, content[:400])
        return content

    def json(self, method: str, url: str, body: Any = None) -> Any:
        return json.loads(self.call(method, url, body) or b"null")

    def size_of(self, url: str) -> int:
        """Read a long answer to its end without keeping it."""
        self.request("GET", "/v1.51" + url)
        answer = self.getresponse()
        assert answer.status == 200, answer.read()
        total = 0
        while part := answer.read(1 << 20):
            total += len(part)
        return total

    def create(self, command: list[str], name: str = "", **host: Any) -> str:
        query = f"?name={name}" if name else ""
        exposed: dict[str, dict[str, str]] = {port: {} for port in host.get("PortBindings", {})}
        body = {"Image": "busybox", "Cmd": command, "HostConfig": host, "ExposedPorts": exposed}
        return str(self.json("POST", f"/containers/create{query}", body)["Id"])

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> int:
        return int(self.json("POST", f"/containers/{container}/wait")["StatusCode"])

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}?force=1&v=1")

    def attached_exec(self, container: str, command: list[str]) -> bytes:
        """Create, start hijacked, read everything, and the exit code's inspect: what a CLI does."""
        body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        identifier = self.json("POST", f"/containers/{container}/exec", body)["Id"]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            start = b'{"Detach":false,"Tty":false}'
            connection.sendall(
                f"POST /v1.51/exec/{identifier}/start HTTP/1.1\r\nHost: engine\r\n"
                "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                f"Content-Length: {len(start)}\r\n\r\n".encode()
                + start
            )
            data = b""
            while part := connection.recv(65536):
                data += part
        head, _, output = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        assert self.json("GET", f"/exec/{identifier}/json")["ExitCode"] == 0
        if not output:
            return b""
        return output[8 : 8 + struct.unpack(">I", output[4:8])[0]]
