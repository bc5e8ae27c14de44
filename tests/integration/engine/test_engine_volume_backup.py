"""Export, import, clone, snapshot and rename of volumes, by the command line and the API."""

import io
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import Canary, swapping
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

NARU = str(Path(sys.executable).parent / "naru")
SWAP_SECONDS = 10.0


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(52) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def clean(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    for item in lab.json("GET", "/volumes")["Volumes"]:
        lab.call("DELETE", f"/volumes/{item['Name']}")
    until(lambda: not lab.leftovers(), "nothing is left")
    assert os.listdir(lab.data_root / "volumes/.removed") == []


def naru(
    lab: EngineLab, *words: str, data: bytes | None = None, fds: tuple[int, ...] = ()
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [NARU, "-H", lab.host, *words], input=data, check=False, capture_output=True, timeout=60,
        pass_fds=fds,
    )  # fmt: skip


def told(done: "subprocess.CompletedProcess[bytes]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def fill(lab: EngineLab, name: str) -> Path:
    lab.call("POST", "/volumes/create", {"Name": name})
    data = lab.data_root / "volumes" / name / "_data"
    (data / "file").write_text("dear")
    os.chown(data / "file", 5, 6)
    return data


def test_export_and_import_by_the_command_line(lab: EngineLab, tmp_path: Path) -> None:
    data = fill(lab, "data")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(data / "socket"))
    plain = naru(lab, "volume", "export", "data")
    assert plain.stderr == b"WARNING: 1 sockets were left out\n"
    with tarfile.open(fileobj=io.BytesIO(plain.stdout)) as tar:
        assert tar.getnames() == [".", "./file"]
    magic = {"x.tar": b"", "x.tar.zst": b"\x28\xb5\x2f\xfd", "x.tgz": b"\x1f\x8b"}
    for number, (name, head) in enumerate(magic.items()):
        path = tmp_path / name
        told(naru(lab, "volume", "export", "-o", str(path), "data"))
        assert path.read_bytes().startswith(head)
        fresh = f"copy{number}"
        assert told(naru(lab, "volume", "import", "-i", str(path), fresh)) == f"{fresh}\n"
        copy = lab.data_root / "volumes" / fresh / "_data"
        assert os.listdir(copy) == ["file"]
        assert os.stat(copy / "file").st_uid == 5
    zstd = naru(lab, "volume", "export", "--zstd", "data").stdout
    again = naru(lab, "volume", "import", "copy0", data=zstd)
    assert again.returncode == 1 and b"it is not empty" in again.stderr
    told(naru(lab, "volume", "import", "--replace", "copy0", data=zstd))
    assert naru(lab, "volume", "export", "gone").returncode == 1
    assert not (tmp_path / "none").exists()
    assert naru(lab, "volume", "export", "-o", str(tmp_path / "none"), "gone").returncode == 1
    assert sorted(os.listdir(tmp_path)) == sorted(magic)


def test_encrypted_export_and_its_passphrase(lab: EngineLab, tmp_path: Path) -> None:
    fill(lab, "data")
    word, wrong = tmp_path / "word", tmp_path / "wrong"
    word.write_text("a pass phrase\nand more\n")
    wrong.write_text("another\n")
    path = tmp_path / "x.tar.zst.enc"
    flags = ("--encrypt", "--passphrase-file")
    told(naru(lab, "volume", "export", *flags, str(word), "-o", str(path), "data"))
    sealed = path.read_bytes()
    assert sealed.startswith(b"NARUSEAL") and b"dear" not in sealed
    reading, writing = os.pipe()
    os.write(writing, b"a pass phrase")
    os.close(writing)
    given = (f"--passphrase-file=fd:{reading}",)
    try:
        told(naru(lab, "volume", "import", *given, "copy", data=sealed, fds=(reading,)))
    finally:
        os.close(reading)
    assert (lab.data_root / "volumes/copy/_data/file").read_text() == "dear"
    for words, data, text in (
        ((f"--passphrase-file={wrong}",), sealed, b"wrong passphrase"),
        ((), sealed, b"the archive is encrypted: give its passphrase"),
        ((f"--passphrase-file={word}",), sealed[:-20], b"cut off"),
        ((f"--passphrase-file={tmp_path}/none",), sealed, b"no such file"),
    ):
        done = naru(lab, "volume", "import", *words, "other", data=data)
        assert done.returncode == 1 and text in done.stderr, done.stderr
    names = [item["Name"] for item in lab.json("GET", "/volumes")["Volumes"]]
    assert names == ["copy", "data"]
    assert b"a pass phrase" not in lab.log.read_bytes()


def test_clone_snapshot_and_rename_by_the_command_line(lab: EngineLab) -> None:
    fill(lab, "data")
    clone = naru(lab, "volume", "clone", "data", "copy")
    assert told(clone) == "copy\n"
    assert b"files were copied" in clone.stderr or b"share their blocks" in clone.stderr
    name = told(naru(lab, "volume", "snapshot", "data")).strip()
    assert name.startswith("data-20")
    labels = lab.json("GET", f"/volumes/{name}")["Labels"]
    assert labels == {"io.naru.volume.snapshot-of": "data"}
    assert told(naru(lab, "volume", "snapshot", "data", "before")) == "before\n"
    told(naru(lab, "volume", "rename", "copy", "moved"))
    assert (lab.data_root / "volumes/moved/_data/file").read_text() == "dear"
    box = lab.create("true", HostConfig={"Binds": ["moved:/m"]})
    refused = naru(lab, "volume", "rename", "moved", "more")
    assert refused.returncode == 1 and f"it is in use - [{box}]".encode() in refused.stderr
    with pytest.raises(ApiError) as caught:
        lab.call("POST", "/volumes/moved/naru/rename?name=data")
    assert caught.value.status == 409


def test_pause_makes_it_consistent_and_lets_go(lab: EngineLab) -> None:
    """Two files that change one after the other are alike in what is exported with a pause."""
    script = (
        "i=0; while :; do i=$((i+1)); for f in a z; do echo $i > /d/.x; mv /d/.x /d/$f; done; done"
    )
    box = lab.run("sh", "-c", script, HostConfig={"Binds": ["live:/d"]})
    data = lab.data_root / "volumes/live/_data"
    until(lambda: (data / "z").exists(), "the container writes")
    (data / "m").write_bytes(os.urandom(30 << 20))

    def pair(archive: bytes) -> tuple[int, int]:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = [tar.extractfile(f"./{name}").read() for name in "az"]  # type: ignore[union-attr]
        return tuple(map(int, found))  # type: ignore[return-value]

    loose = pair(lab.call("GET", "/volumes/live/naru/export"))
    assert loose[1] - loose[0] > 1
    first, last = pair(lab.call("GET", "/volumes/live/naru/export?pause=1"))
    assert first - last in (0, 1)
    lab.json("POST", "/volumes/live/naru/snapshot", {"Name": "kept", "Pause": True})
    texts = [(lab.data_root / "volumes/kept/_data" / name).read_text() for name in "az"]
    first, last = map(int, texts)
    assert first - last in (0, 1)
    assert lab.status(box) == "running"
    now = (data / "a").read_text()
    until(lambda: (data / "a").read_text() != now, "the container goes on")


def test_killed_while_containers_stand_still(lab: EngineLab) -> None:
    box = lab.run(
        "sh", "-c", "while :; do date +%N > /d/a; done", HostConfig={"Binds": ["live:/d"]}
    )
    data = lab.data_root / "volumes/live/_data"
    until(lambda: (data / "a").exists(), "the container writes")
    (data / "m").write_bytes(os.urandom(30 << 20))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(lab.socket)
        client.sendall(b"GET /volumes/live/naru/export?pause=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        lab.kill()
    lab.start()
    now = (data / "a").read_text()
    until(lambda: (data / "a").read_text() != now, "the container goes on")
    assert lab.status(box) == "running"


def test_a_reader_that_goes_away_lets_containers_go_on(lab: EngineLab) -> None:
    lab.run("sh", "-c", "while :; do date +%N > /d/a; done", HostConfig={"Binds": ["live:/d"]})
    data = lab.data_root / "volumes/live/_data"
    until(lambda: (data / "a").exists(), "the container writes")
    (data / "m").write_bytes(os.urandom(30 << 20))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(lab.socket)
        client.sendall(b"GET /volumes/live/naru/export?pause=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    now = (data / "a").read_text()
    until(lambda: (data / "a").read_text() != now, "the container goes on")


def test_exports_and_clones_of_what_is_exchanged_meanwhile(lab: EngineLab, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    lab.run("sleep", "1000", HostConfig={"Binds": ["evil:/e"]})
    data = lab.data_root / "volumes/evil/_data"
    (data / "d/sub").mkdir(parents=True)
    (data / "d/file").write_text("of the container")
    (data / "evil").symlink_to(canary.path)
    (data / "g").mkdir()
    (data / "g/file").write_text("of the container")
    (data / "g/link").symlink_to(canary.path / "file")
    turn = 0
    end = time.monotonic() + SWAP_SECONDS
    with swapping(data / "d", data / "evil"), swapping(data / "g/file", data / "g/link"):
        while time.monotonic() < end:
            turn += 1
            try:
                if turn % 2:
                    archive = lab.call("GET", "/volumes/evil/naru/export")
                    assert Canary.SECRET not in archive
                else:
                    lab.json("POST", "/volumes/evil/naru/clone", {"Name": "copy"})
            except (ApiError, OSError):
                pass  # refused, while it changes
            copy = lab.data_root / "volumes/copy"
            if copy.exists():
                for path in copy.rglob("*"):
                    if path.is_file() and not path.is_symlink():
                        assert path.read_bytes() != Canary.SECRET
                lab.call("DELETE", "/volumes/copy")
    canary.check()
    assert turn > 2
