"""Volume drivers of others: the example driver at work, and plugins that are missing or hostile."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ROOT, ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

DRIVER = ROOT / "examples/volume-driver/driver.py"


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("p")


@pytest.fixture(scope="module")
def lab(plugins: Path) -> Iterator[EngineLab]:
    with engine_lab(54, "--plugin-dir", str(plugins), "--plugin-timeout", "2") as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def clean(lab: EngineLab, plugins: Path) -> Iterator[None]:
    yield
    lab.remove_all()
    for item in lab.json("GET", "/volumes")["Volumes"]:
        lab.call("DELETE", f"/volumes/{item['Name']}?force=1")
    for path in plugins.iterdir():
        path.unlink()
    until(lambda: not lab.leftovers(), "nothing is left")


@contextlib.contextmanager
def driver(plugins: Path, root: Path, name: str = "dirs") -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, str(DRIVER), str(plugins / f"{name}.sock"), str(root)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline().startswith("listening")
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def refused(lab: EngineLab, method: str, url: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        lab.call(method, url, body)
    return caught.value.status, caught.value.message


def test_the_example_driver_from_create_to_remove(
    lab: EngineLab, plugins: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with driver(plugins, root):
        body = {"Name": "data", "Driver": "dirs", "DriverOpts": {"mode": "711"}}
        made = lab.json("POST", "/volumes/create", body)
        assert made == {
            "CreatedAt": "0001-01-01T00:00:00Z", "Driver": "dirs", "Labels": None,
            "Mountpoint": "", "Name": "data", "Options": {"mode": "711"}, "Scope": "local",
        }  # fmt: skip
        assert lab.json("POST", "/volumes/create", {"Name": "data"}) == made
        assert lab.json("GET", "/info")["Plugins"]["Volume"] == ["local", "dirs"]
        shown = lab.json("GET", "/volumes/data")
        assert (shown["Mountpoint"], shown["Status"]) == (str(root / "data"), {"mounts": 0})
        assert refused(lab, "POST", "/volumes/create", {"Name": "data", "Driver": "local"}) == (
            409, "create data: driver 'dirs' already has volume 'data': volume name must be unique",
        )  # fmt: skip
        body = {"Name": "bad", "Driver": "dirs", "DriverOpts": {"x": "y"}}
        told = (500, "create bad: unknown option x")
        assert refused(lab, "POST", "/volumes/create", body) == told
        script = "echo dear > /d/file; cat /d/file; sleep 600"
        box = lab.run("sh", "-c", script, HostConfig={"Binds": ["data:/d"]})
        until(lambda: lab.logs(box) == b"dear\n", "the container writes")
        assert (root / "data/file").read_text() == "dear\n"
        (mount,) = lab.inspect(box)["Mounts"]
        assert (mount["Source"], mount["Driver"]) == (str(root / "data"), "dirs")
        assert lab.json("GET", "/volumes/data")["Status"] == {"mounts": 1}
        assert refused(lab, "DELETE", "/volumes/data?force=1")[0] == 409
        assert b"dear" in lab.call("GET", "/volumes/data/naru/export")
        lab.kill()
        lab.start()
        assert lab.inspect(box)["Mounts"][0]["Source"] == str(root / "data")
        lab.call("POST", f"/containers/{box}/stop?t=0")
        assert lab.json("GET", "/volumes/data")["Status"] == {"mounts": 0}
        lab.call("DELETE", f"/containers/{box}")
        lab.call("DELETE", "/volumes/data")
        assert os.listdir(root) == []
        assert lab.json("GET", "/volumes")["Volumes"] == []


def test_volumes_that_only_the_driver_knows(lab: EngineLab, plugins: Path, tmp_path: Path) -> None:
    with driver(plugins, tmp_path / "root"):
        (tmp_path / "root/theirs").mkdir()
        (tmp_path / "root/theirs/file").write_text("dear")
        (item,) = lab.json("GET", "/volumes")["Volumes"]
        assert (item["Name"], item["Driver"]) == ("theirs", "dirs")
        box = lab.run("cat", "/t/file", HostConfig={"Binds": ["theirs:/t"]})
        assert lab.wait(box) == 0 and lab.logs(box) == b"dear"
        made = lab.create("true", HostConfig={"VolumeDriver": "dirs", "Binds": ["/anonymous"]})
        assert len(os.listdir(tmp_path / "root")) == 2
        lab.call("DELETE", f"/containers/{made}?v=1")
        assert os.listdir(tmp_path / "root") == ["theirs"]
        lab.call("POST", '/volumes/prune?filters={"all":["1"]}')
        assert os.listdir(tmp_path / "root") == ["theirs"]


@pytest.mark.parametrize("kind", ["spec", "json", "folder"])
def test_the_ways_to_be_found(lab: EngineLab, plugins: Path, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "e"
    elsewhere.mkdir()
    with driver(elsewhere, tmp_path / "root", "real"):
        address = f"unix://{elsewhere}/real.sock"
        if kind == "spec":
            (plugins / "named.spec").write_text(address + "\n")
        elif kind == "json":
            (plugins / "named.json").write_text(json.dumps({"Name": "named", "Addr": address}))
        else:
            (plugins / "named").symlink_to(elsewhere)
            (elsewhere / "named.sock").symlink_to("real.sock")
        lab.call("POST", "/volumes/create", {"Name": "data", "Driver": "named"})
        assert lab.json("GET", "/volumes/data")["Mountpoint"] == str(tmp_path / "root/data")
        lab.call("DELETE", "/volumes/data")


def test_a_driver_that_is_gone(lab: EngineLab, plugins: Path, tmp_path: Path) -> None:
    status, text = refused(lab, "POST", "/volumes/create", {"Name": "data", "Driver": "dirs"})
    assert (status, text) == (
        404, 'create data: error looking up volume plugin dirs: plugin "dirs" not found',
    )  # fmt: skip
    with driver(plugins, tmp_path / "root"):
        lab.call("POST", "/volumes/create", {"Name": "data", "Driver": "dirs"})
        box = lab.run("sleep", "600", HostConfig={"Binds": ["data:/d"]})
    begun = time.monotonic()
    listed = lab.json("GET", "/volumes")
    assert [item["Name"] for item in listed["Volumes"]] == ["data"]
    assert "list dirs: plugin dirs:" in listed["Warnings"][0]
    assert refused(lab, "GET", "/volumes/data")[0] == 500
    lab.call("POST", f"/containers/{box}/stop?t=0")
    assert refused(lab, "POST", f"/containers/{box}/start")[0] == 500
    lab.call("DELETE", f"/containers/{box}")
    assert refused(lab, "DELETE", "/volumes/data")[0] == 500
    lab.call("DELETE", "/volumes/data?force=1")
    assert lab.json("GET", "/volumes")["Volumes"] == []
    assert time.monotonic() - begun < 15


class Hostile:
    """A plugin that answers `Plugin.Activate` as it should and everything else with `said`."""

    def __init__(self, path: Path, said: bytes, then: str = "close") -> None:
        self._said, self._then = said, then
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen(16)
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            request = client.recv(65536)
            if b"Plugin.Activate" in request:
                client.sendall(_http(b'{"Implements": ["VolumeDriver"]}'))
            else:
                client.sendall(self._said)
                if self._then == "hold":
                    self._held.append(client)
                    return
                while self._then == "endless":
                    client.sendall(b"x" * 65536)
        client.close()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for client in self._held:
            client.close()
        self._thread.join(5)


def _http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_MOUNTS = ("/", "/etc/../etc", "relative", "/proc/self", "/dev", "/no/such/place", "", "/x\0y")


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (b"", "close"),
        (b"", "hold"),
        (b"HTTP/1.1 200 OK\r\n", "hold"),
        (b"nonsense\r\n\r\n", "close"),
        (_http(b"not json"), "close"),
        (_http(b'["a", "list"]'), "close"),
        (_http(b'{"Volume": 5, "Mountpoint": []}'), "close"),
        (_http(b"[" * 100_000), "close"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{", "hold"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "close"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "endless"),
        (b"HTTP/1.1 200 OK\r\nX: ", "endless"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "hold"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", "close"),
    ],
)
def test_hostile_plugins_hold_nobody_up(
    lab: EngineLab, plugins: Path, said: bytes, then: str
) -> None:
    plugin = Hostile(plugins / "evil.sock", said, then)
    try:
        begun = time.monotonic()
        status, text = refused(lab, "POST", "/volumes/create", {"Name": "data", "Driver": "evil"})
        assert status == 500 and text
        listed = lab.json("GET", "/volumes")
        assert listed["Volumes"] == [] and "list evil:" in listed["Warnings"][0]
        lab.call("POST", "/volumes/create", {"Name": "other", "Driver": "local"})
        box = lab.run("true", HostConfig={"Binds": ["other:/o"]})
        assert lab.wait(box) == 0
        assert time.monotonic() - begun < 20
    finally:
        plugin.close()


@pytest.mark.parametrize("place", [*_MOUNTS, "DATA", "EXEC", "ABOVE", "LINK"])
def test_places_that_are_none(lab: EngineLab, plugins: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    place = {
        "DATA": str(lab.data_root / "volumes"), "EXEC": str(lab.exec_root),
        "ABOVE": str(lab.directory), "LINK": str(tmp_path / "link"),
    }.get(place, place)  # fmt: skip
    answer = {"Mountpoint": place, "Volume": {"Name": "data", "Mountpoint": place}}
    plugin = Hostile(plugins / "evil.sock", _http(json.dumps(answer).encode()))
    try:
        body = {"Image": "busybox", "Cmd": ["true"],
                "HostConfig": {"VolumeDriver": "evil", "Binds": ["data:/d:nocopy"]}}  # fmt: skip
        box = lab.json("POST", "/containers/create", body)["Id"]
        status, text = refused(lab, "POST", f"/containers/{box}/start")
        assert status == 500 and "says that the volume is at" in text
    finally:
        plugin.close()


def test_a_plugin_that_hangs_blocks_no_other_call(lab: EngineLab, plugins: Path) -> None:
    plugin = Hostile(plugins / "evil.sock", b"", "hold")
    try:
        begun = time.monotonic()
        body = {"Name": "data", "Driver": "evil"}
        thread = threading.Thread(target=refused, args=(lab, "POST", "/volumes/create", body))
        thread.start()
        while thread.is_alive():
            asked = time.monotonic()
            lab.call("GET", "/_ping")
            assert time.monotonic() - asked < 1
        thread.join()
        assert 1 < time.monotonic() - begun < 10
    finally:
        plugin.close()
