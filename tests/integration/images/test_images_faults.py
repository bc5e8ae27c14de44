"""Killed, out of space or failing at every step: whole objects or none, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_lab import Lab, run_lab, tar_of

from naru.base import failpoints
from naru.base.errors import Internal, InvalidParameter
from naru.kernel.mount import mount_tmpfs, unmount

pytestmark = pytest.mark.root

OPERATIONS = ("load", "import", "commit", "tag", "remove")
BASE_TAR = tar_of({"etc/name": b"naru", "bin/tool": b"x" * 5000})
LAB = Path(__file__).with_name("image_lab.py")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A store with `base:1` and the container `box` on it; beside it an archive to bring in."""

    async def make_archive(lab: Lab) -> bytes:
        await lab.import_(tar_of({"fresh": b"1"}), repository="below", tag="1")
        await lab.snapshots.create("box", lab.images.resolve("below:1").top_chain)
        Path(lab.snapshots.upper_dir("box"), "more").write_text("x")
        await lab.commit("box", "below:1", repository="fresh", tag="1")
        return await lab.save("fresh:1")

    async def make_base(lab: Lab) -> None:
        await lab.import_(BASE_TAR, repository="base", tag="1")
        await lab.snapshots.create("box", lab.images.resolve("base:1").top_chain)
        Path(lab.snapshots.upper_dir("box"), "new").write_text("x")

    (tmp_path / "load.tar").write_bytes(run_lab(tmp_path / "other", make_archive))
    (tmp_path / "import.tar").write_bytes(tar_of({"fresh": b"1"}))
    run_lab(tmp_path / "store", make_base)
    return tmp_path


def operate(
    place: Path, operation: str, **failpoints_env: str
) -> "subprocess.CompletedProcess[str]":
    archive = place / (operation + ".tar")
    source = archive if archive.exists() else place / "import.tar"
    return subprocess.run(
        [sys.executable, str(LAB), str(place / "store"), operation, str(source)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **failpoints_env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def passed_points(place: Path, operation: str) -> list[str]:
    log = place / "points"
    done = operate(place, operation, NARU_FAILPOINT_LOG=str(log))
    assert done.returncode == 0, done.stderr
    return list(dict.fromkeys(log.read_text().split()))


def check(place: Path, operation: str, acknowledged: bool) -> None:
    """After a restart: whole images only, and no layer or file that no record names."""

    async def look(lab: Lab) -> None:
        await lab.images.collect_garbage(["box"])
        names = lab.names()
        if operation == "remove":
            assert names in ({"base:1"}, set())
            assert not (acknowledged and names)
        else:
            assert "base:1" in names
            assert names <= {"base:1", "fresh:1"}
            assert not acknowledged or "fresh:1" in names
        wanted = {lab.snapshots.parent("box")}
        for entry in lab.images.list({}, everything=True):
            image = lab.images.resolve(entry["Id"])
            wanted.update(image.chain)
            assert b"".join([piece async for piece in lab.images.save([image.id])])
        assert set(lab.snapshots.layers()) == wanted

    run_lab(place / "store", look)
    store = place / "store" / "snapshots"
    assert list((store / "tmp").iterdir()) == []
    assert list((place / "store" / "content" / "ingest").iterdir()) == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_step(prepared: Path, operation: str) -> None:
    template = prepared / "template"
    os.rename(prepared / "store", template)
    subprocess.run(["cp", "-a", str(template), str(prepared / "store")], check=True)
    points = passed_points(prepared, operation)
    check(prepared, operation, acknowledged=True)
    assert any(point.startswith("images.") for point in points)
    for point in points:
        subprocess.run(["rm", "-rf", str(prepared / "store")], check=True)
        subprocess.run(["cp", "-a", str(template), str(prepared / "store")], check=True)
        done = operate(prepared, operation, NARU_FAILPOINTS=f"{point}=kill")
        in_worker = done.returncode == 1 and "worker died" in done.stderr
        assert done.returncode == -signal.SIGKILL or in_worker, (point, done)
        check(prepared, operation, acknowledged=False)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_failing_at_every_step(prepared: Path, operation: str, action: str) -> None:
    template = prepared / "template"
    os.rename(prepared / "store", template)
    subprocess.run(["cp", "-a", str(template), str(prepared / "store")], check=True)
    points = passed_points(prepared, operation)
    for point in points:
        subprocess.run(["rm", "-rf", str(prepared / "store")], check=True)
        subprocess.run(["cp", "-a", str(template), str(prepared / "store")], check=True)
        operate(prepared, operation, NARU_FAILPOINTS=f"{point}={action}")
        check(prepared, operation, acknowledged=False)


def test_every_declared_point_is_known_by_name() -> None:
    declared = {point for point in failpoints.DECLARED if point.startswith("images.")}
    assert declared == {
        "images.after-record",
        "images.before-record",
        "images.commit-applied",
        "images.import-applied",
        "images.layer-applied",
        "images.layer-removed",
        "images.layers-synced",
        "images.load-image",
        "images.load-layers",
        "images.load-spooled",
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount_tmpfs(str(place), "size=12m")
    yield place
    unmount(str(place))


def test_a_full_disk_is_told_and_leaves_nothing(small_disk: Path) -> None:
    big = tar_of({f"file{n}": os.urandom(1 << 20) for n in range(9)})

    async def work(lab: Lab) -> None:
        await lab.import_(BASE_TAR, repository="base", tag="1")
        for bring in (lab.import_, lab.load):
            with pytest.raises((Internal, InvalidParameter), match=r"no space left|neither"):
                await bring(big * 2)
        with pytest.raises(Internal, match="no space left on device"):
            await lab.load(wrapped)
        assert lab.names() == {"base:1"}
        assert len(lab.snapshots.layers()) == 1
        await lab.images.remove("base:1")
        assert lab.snapshots.layers() == []

    async def make(lab: Lab) -> bytes:
        await lab.import_(big, repository="big", tag="1")
        return await lab.save("big:1")

    wrapped = run_lab(small_disk.parent / "roomy", make)
    run_lab(small_disk, work)
