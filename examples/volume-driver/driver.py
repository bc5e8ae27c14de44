#!/usr/bin/env python3
"""A volume driver over Docker's volume-plugin protocol: directories below one root.

    driver.py SOCKET ROOT

It keeps each volume in ROOT/NAME and says so. A real driver would attach a disk in `mount` and
detach it in `unmount`: it is told which container a mount is for, and how often. Python's standard
library is all it needs. The engine finds it when SOCKET is NAME.sock in a plugin directory.
"""

import http.server
import json
import os
import shutil
import socketserver
import sys
from typing import Any

Answer = dict[str, Any]


class Driver:
    """The volumes. What it returns goes to the engine as JSON; what it raises, too."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.mounts: dict[str, set[str]] = {}
        os.makedirs(root, exist_ok=True)

    def path(self, name: str) -> str:
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is no name of a volume")
        return os.path.join(self.root, name)

    def known(self, name: str) -> str:
        path = self.path(name)
        if not os.path.isdir(path):
            raise LookupError("no such volume")
        return path

    def activate(self, request: Answer) -> Answer:
        return {"Implements": ["VolumeDriver"]}

    def capabilities(self, request: Answer) -> Answer:
        return {"Capabilities": {"Scope": "local"}}

    def create(self, request: Answer) -> Answer:
        for option in request.get("Opts") or {}:
            if option != "mode":
                raise ValueError(f"unknown option {option}")
        mode = int((request.get("Opts") or {}).get("mode", "755"), 8)
        os.makedirs(self.path(request["Name"]), exist_ok=True)
        os.chmod(self.path(request["Name"]), mode)
        return {}

    def remove(self, request: Answer) -> Answer:
        name = request["Name"]
        if self.mounts.get(name):
            raise RuntimeError(f"still mounted for {', '.join(sorted(self.mounts[name]))}")
        shutil.rmtree(self.known(name))
        return {}

    def mount(self, request: Answer) -> Answer:
        path = self.known(request["Name"])
        self.mounts.setdefault(request["Name"], set()).add(request["ID"])
        return {"Mountpoint": path}

    def unmount(self, request: Answer) -> Answer:
        self.mounts.get(request["Name"], set()).discard(request["ID"])
        return {}

    def where(self, request: Answer) -> Answer:
        return {"Mountpoint": self.known(request["Name"])}

    def get(self, request: Answer) -> Answer:
        name = request["Name"]
        status = {"mounts": len(self.mounts.get(name, ()))}
        return {"Volume": {"Name": name, "Mountpoint": self.known(name), "Status": status}}

    def list(self, request: Answer) -> Answer:
        names = sorted(os.listdir(self.root))
        return {"Volumes": [{"Name": name, "Mountpoint": self.path(name)} for name in names]}


class Handler(http.server.BaseHTTPRequestHandler):
    driver: Driver

    def do_POST(self) -> None:
        calls = {
            "/Plugin.Activate": self.driver.activate,
            "/VolumeDriver.Capabilities": self.driver.capabilities,
            "/VolumeDriver.Create": self.driver.create,
            "/VolumeDriver.Remove": self.driver.remove,
            "/VolumeDriver.Mount": self.driver.mount,
            "/VolumeDriver.Unmount": self.driver.unmount,
            "/VolumeDriver.Path": self.driver.where,
            "/VolumeDriver.Get": self.driver.get,
            "/VolumeDriver.List": self.driver.list,
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = calls.get(self.path)
        if call is None:
            self.send_error(404)
            return
        try:
            answer = {"Err": "", **call(json.loads(body or b"{}"))}
        except (LookupError, OSError, RuntimeError, ValueError) as error:
            answer = {"Err": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        return "engine"


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def main() -> None:
    _, path, root = sys.argv
    Handler.driver = Driver(root)
    if os.path.exists(path):
        os.unlink(path)
    with Server(path, Handler) as server:
        os.chmod(path, 0o600)
        print(f"listening on {path}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
