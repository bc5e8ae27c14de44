"""A full disk below the data root: said clearly, rolled back, and life goes on."""

import contextlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import execute, numbers_in

pytestmark = pytest.mark.root

SIZE_BYTES = 48 << 20
EXEC_BYTES = 8 << 20
FULL = re.compile("no space left|disk is full|not enough space", re.IGNORECASE)


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(52) as engine:
        engine.data_root.mkdir()
        for root, size in ((engine.data_root, SIZE_BYTES), (engine.exec_root, EXEC_BYTES)):
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "naru-test", root], check=True
            )
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def room(lab: EngineLab) -> Iterator[None]:
    yield
    make_room(lab)
    lab.remove_all()
    assert len(lab.json("GET", "/images/json?all=1")) == 1


def free_bytes(root: Path) -> int:
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def fill(root: Path, leave_bytes: int = 0) -> None:
    """Take all space but `leave_bytes`."""
    with (root / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while (rest := free_bytes(root) - leave_bytes) > 0:
            filler.write(bytes(min(rest, 1 << 20)))


def make_room(lab: EngineLab) -> None:
    for root in (lab.data_root, lab.exec_root):
        (root / "filler").unlink(missing_ok=True)


def archive_of(size_bytes: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(8):
            entry = tarfile.TarInfo(f"file{number}")
            entry.size = size_bytes // 8
            archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    return out.getvalue()


def refused(lab: EngineLab, method: str, url: str, raw: bytes | None = None) -> str:
    """The error of a request, in the answer's status or in its progress."""
    try:
        said = lab.call(method, url, raw=raw).decode()
    except ApiError as error:
        return error.message
    assert "error" in said, said
    return said


def settled(lab: EngineLab, before_bytes: int) -> None:
    """What was written for a refused request is gone again."""
    until(lambda: free_bytes(lab.data_root) > before_bytes - (1 << 20), "the space is given back")


IMPORT = "/images/create?fromSrc=-&repo=full&tag=latest"


def test_import_and_load(lab: EngineLab) -> None:
    archive = archive_of(12 << 20)
    lab.call("POST", IMPORT, raw=archive)
    saved = lab.call("GET", "/images/full:latest/get")
    lab.call("DELETE", "/images/full:latest")
    fill(lab.data_root, 6 << 20)
    before = free_bytes(lab.data_root)
    for url, body in ((IMPORT, archive), ("/images/load", saved)):
        said = refused(lab, "POST", url, body)
        assert FULL.search(said), said
        assert [item["RepoTags"] for item in lab.json("GET", "/images/json")] == [
            ["busybox:latest"]
        ]
        settled(lab, before)
    make_room(lab)
    lab.call("POST", "/images/load", raw=saved)
    lab.call("DELETE", "/images/full:latest")


def test_commit(lab: EngineLab) -> None:
    container = lab.run("sh", "-c", "head -c 8000000 /dev/urandom > /big; sleep 600")
    until(
        lambda: execute(lab, container, "stat", "-c", "%s", "/big")[1] == b"8000000\n",
        "the file is written",
    )
    fill(lab.data_root, 3 << 20)
    before = free_bytes(lab.data_root)
    said = refused(lab, "POST", f"/commit?container={container}&repo=full&tag=commit")
    assert FULL.search(said), said
    assert len(lab.json("GET", "/images/json?all=1")) == 1
    assert lab.status(container) == "running"
    assert execute(lab, container, "true")[0] == 0
    settled(lab, before)
    make_room(lab)
    lab.call("POST", f"/commit?container={container}&repo=full&tag=commit")
    lab.call("DELETE", "/images/full:commit")


def test_logs(lab: EngineLab) -> None:
    """The workload goes on when its log does not; lines before and after it can be read."""
    script = "i=0; while :; do i=$((i+1)); echo line $i; usleep 2000; done"
    container = lab.run("sh", "-c", script)
    until(lambda: len(numbers_in(lab.logs(container))) > 50, "lines are written")
    fill(lab.data_root)
    stuck = len(numbers_in(lab.logs(container)))
    assert stuck > 50
    assert lab.status(container) == "running"
    assert execute(lab, container, "echo", "alive") == (0, b"alive\n")
    size = os.stat(lab.inspect(container)["LogPath"]).st_size
    os.truncate(lab.data_root / "filler", 1 << 20)
    until(
        lambda: os.stat(lab.inspect(container)["LogPath"]).st_size > size + 2000,
        "the log is written again",
    )
    numbers = numbers_in(lab.logs(container))
    assert len(numbers) > stuck
    assert numbers[:50] == list(range(1, 51))
    assert numbers == sorted(numbers), "no line is garbled"
    lab.call("POST", f"/containers/{container}/stop?t=0")


def test_nothing_left_at_all(lab: EngineLab) -> None:
    """Reads, stop and rm work on a disk without a free byte; nothing new is promised."""
    stopped = lab.run("true")
    lab.wait(stopped)
    running = lab.run("sleep", "600", name="running")
    ending = lab.run("sleep", "600")
    automatic = lab.run("sleep", "600", HostConfig={"AutoRemove": True})
    fill(lab.data_root)
    assert len(lab.json("GET", "/containers/json?all=1")) == 4
    assert lab.status("running") == "running"
    assert execute(lab, running, "echo", "inside") == (0, b"inside\n")
    try:
        created = [lab.create("true")]
    except ApiError as error:
        assert FULL.search(error.message), error.message
        created = []
    lab.call("POST", f"/containers/{running}/stop?t=0")
    assert lab.status(running) == "exited"
    lab.call("POST", f"/containers/{ending}/kill")
    assert lab.inspect(ending)["State"]["ExitCode"] == 137
    lab.call("POST", f"/containers/{automatic}/kill")
    until(
        lambda: len(lab.json("GET", "/containers/json?all=1")) == 3 + len(created),
        "--rm removes on a full disk",
    )
    for container in (stopped, running, ending, *created):
        lab.call("DELETE", f"/containers/{container}?force=1")
    assert lab.json("GET", "/containers/json?all=1") == []
    make_room(lab)
    container = lab.run("echo", "again")
    assert lab.wait(container) == 0
    assert lab.logs(container) == b"again\n"


def test_narud_starts_on_a_full_disk(lab: EngineLab) -> None:
    running = lab.run("sleep", "600")
    stopped = lab.run("true")
    lab.wait(stopped)
    fill(lab.data_root)
    lab.kill()
    lab.start()
    assert lab.status(running) == "running"
    assert lab.status(stopped) == "exited"
    lab.call("DELETE", f"/containers/{running}?force=1")
    lab.call("DELETE", f"/containers/{stopped}")
    make_room(lab)
    lab.stop()
    lab.start()
    assert lab.json("GET", "/containers/json?all=1") == []


def test_full_exec_root(lab: EngineLab) -> None:
    """Where sockets and pids lie: nothing can start, what runs can be asked and ended."""
    running = lab.run("sleep", "600")
    killed = lab.run("sleep", "600")
    new = lab.create("sleep", "600")
    fill(lab.exec_root)
    with pytest.raises(ApiError, match=FULL):
        lab.call("POST", f"/containers/{new}/start")
    assert lab.status(new) == "created"
    assert execute(lab, running, "echo", "inside") == (0, b"inside\n")
    lab.kill()
    lab.start()
    assert lab.status(running) == "running"
    lab.call("POST", f"/containers/{killed}/kill")
    assert lab.status(killed) == "exited"
    lab.call("DELETE", f"/containers/{killed}")
    lab.call("DELETE", f"/containers/{running}?force=1")
    make_room(lab)
    lab.call("POST", f"/containers/{new}/start")
    assert lab.status(new) == "running"
