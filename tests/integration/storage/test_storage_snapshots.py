"""Layers and snapshots: what a container sees, what it changed, and what is left after a crash."""

import asyncio
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.layers import chain_id_of
from naru.storage.snapshots import Snapshots

pytestmark = pytest.mark.root


def archive(*names: str, **contents: bytes) -> bytes:
    """Names that end in `/` are directories; `contents` are files in the top directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in [(name, b"") for name in names] + list(contents.items()):
            info = tarfile.TarInfo(name)
            info.mtime, info.size, info.mode = 1_600_000_000, len(data), 0o755
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def mounted(tmp_path: Path, snapshots: Snapshots, wait: Any) -> Iterator[Any]:
    """Creates and mounts snapshots; they are unmounted in the end."""
    targets: list[str] = []

    def run(chain: str | None, key: str = "c") -> Path:
        wait(snapshots.create(key, chain))
        target = tmp_path / f"mnt-{key}"
        target.mkdir()
        targets.append(str(target))
        snapshots.mount(key, str(target))
        return target

    yield run
    for target in targets:
        snapshots.unmount(target)


def told(snapshots: Snapshots, wait: Any, key: str = "c") -> list[str]:
    return ["CAD"[change.kind] + " " + change.path for change in wait(snapshots.changes(key))]


def test_layers_hide_each_other(apply: Any, mounted: Any, snapshots: Any) -> None:
    one = apply(archive("d/", "d/a", "d/b", "e/", "e/x", "gone", "file/", "file/in"))
    two = apply(
        archive("d/.wh.a", "d/c", "e/.wh..wh..opq", "e/y", ".wh.gone", "file"), one.chain_id
    )
    three = apply(archive("gone", ".wh.file", "new/"), two.chain_id)
    assert three.chain_id == chain_id_of(two.chain_id, three.diff_id)
    root = mounted(three.chain_id)
    assert sorted(os.listdir(root / "d")) == ["b", "c"]
    assert os.listdir(root / "e") == ["y"]
    assert (root / "gone").exists()
    assert not (root / "file").exists()


def test_whiteout_and_replacement_in_one_layer(apply: Any, mounted: Any) -> None:
    one = apply(archive("d/", "d/old", "e/", "e/old", "f"))
    two = apply(archive(".wh.d", "d/", "d/new", "e/", "e/new", ".wh.e", ".wh.f", "f"), one.chain_id)
    root = mounted(two.chain_id)
    assert os.listdir(root / "d") == ["new"]
    assert os.listdir(root / "e") == ["new"]
    assert (root / "f").exists()


def test_changes_as_docker_tells_them(apply: Any, mounted: Any, snapshots: Any, wait: Any) -> None:
    names = "etc/ etc/group home/ home/me/ home/me/f bin/ bin/tac bin/tar root/ same/ tmp/ var/"
    one = apply(archive(*names.split(), "opq/", "opq/keep", "opq/lose"))
    two = apply(archive("opq/", "opq/more", "bin/.wh.tar"), one.chain_id)
    root = mounted(two.chain_id)
    assert told(snapshots, wait) == []
    (root / "same").chmod(0o755)
    (root / "var").chmod(0o700)
    (root / "root").rmdir()
    (root / "tmp" / "x").touch()
    (root / "etc" / "group").write_text("changed")
    os.unlink(root / "bin" / "tac")
    (root / "bin" / "tac").mkdir()
    shutil.rmtree(root / "home")
    (root / "home" / "me").mkdir(parents=True)
    shutil.rmtree(root / "opq")
    (root / "opq").mkdir()
    (root / "opq" / "keep").touch()
    os.mkfifo(root / "fifo")
    assert told(snapshots, wait) == [
        "C /bin", "C /bin/tac", "C /etc", "C /etc/group", "A /fifo", "C /home", "C /home/me",
        "D /home/me/f", "C /opq", "C /opq/keep", "D /opq/lose", "D /opq/more", "D /root",
        "C /tmp", "A /tmp/x", "C /var",
    ]  # fmt: skip
    assert wait(snapshots.usage("c")) == len("changed")


def test_commit_gives_the_same_tree(apply: Any, mounted: Any, snapshots: Any, wait: Any) -> None:
    one = apply(archive("etc/", "etc/group", "home/", "home/f", "gone"))
    root = mounted(one.chain_id)
    shutil.rmtree(root / "home")
    (root / "home").mkdir()
    (root / "home" / "g").write_text("g")
    (root / "gone").unlink()
    layer = wait(snapshots.commit("c"))
    assert layer.chain_id == chain_id_of(one.chain_id, layer.diff_id)
    again = mounted(layer.chain_id, "again")
    assert os.listdir(again / "home") == ["g"]
    assert not (again / "gone").exists()
    assert told(snapshots, wait, "again") == []
    names = _names(snapshots.layer_archive(layer.chain_id))
    assert names == [".wh.gone", "home/", "home/.wh..wh..opq", "home/g"]


def _names(pieces: Any) -> list[str]:
    async def main() -> bytes:
        return b"".join([piece async for piece in pieces])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(main()))) as tar:
        return [member.name + "/" * member.isdir() for member in tar]


def test_mount_points_are_no_changes(apply: Any, mounted: Any, snapshots: Any, wait: Any) -> None:
    """Docker's init layer: what the image has in these places is hidden, links above all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, target in (
            ("dev", "/etc"),
            ("proc", "etc"),
            ("etc/mtab", "/x"),
            ("etc/hosts", "y"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        info = tarfile.TarInfo("etc")
        info.type, info.mode, info.uid = tarfile.DIRTYPE, 0o711, 42
        tar.addfile(info)
    root = mounted(apply(out.getvalue()).chain_id)
    for name in ("dev", "dev/pts", "dev/shm", "proc", "sys"):
        assert stat.S_ISDIR(os.lstat(root / name).st_mode), name
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "dev/console"):
        assert stat.S_ISREG(os.lstat(root / name).st_mode), name
    assert os.readlink(root / "etc" / "mtab") == "/proc/mounts"
    assert (os.lstat(root / "etc").st_mode & 0o777, os.lstat(root / "etc").st_uid) == (0o711, 42)
    assert told(snapshots, wait) == []


def test_snapshot_on_nothing(mounted: Any, snapshots: Any, wait: Any) -> None:
    root = mounted(None)
    (root / "f").write_text("x")
    assert told(snapshots, wait) == ["A /f"]
    assert snapshots.parent("c") is None


def test_keys_and_conflicts(snapshots: Any, wait: Any, apply: Any) -> None:
    chain = apply(archive("f")).chain_id
    wait(snapshots.create("a", chain))
    with pytest.raises(Conflict):
        wait(snapshots.create("a", chain))
    with pytest.raises(NotFound):
        wait(snapshots.create("b", "sha256:" + "0" * 64))
    for bad in ("../x", "", "a/b", ".", "..", "-x"):
        with pytest.raises(InvalidParameter):
            wait(snapshots.create(bad, chain))
    assert snapshots.keys() == ["a"]
    wait(snapshots.remove("a"))
    wait(snapshots.remove("a"))
    with pytest.raises(NotFound):
        snapshots.parent("a")


def test_wrong_digests_leave_nothing(tmp_path: Path, snapshots: Any, wait: Any) -> None:
    given = tmp_path / "given"
    given.write_bytes(archive("f"))
    for chain, diff_id in (("sha256:" + "0" * 64, None), (None, "sha256:" + "1" * 64)):
        with open(given, "rb") as file, pytest.raises(InvalidParameter, match="wrong"):
            wait(snapshots.apply_layer(chain, None, diff_id, file.fileno()))
    assert snapshots.layers() == []
    assert os.listdir(snapshots._tmp_dir) == []


def test_a_part_of_a_file_and_a_pipe(tmp_path: Path, snapshots: Any, wait: Any, apply: Any) -> None:
    whole = apply(archive("f"))
    wait(snapshots.remove_layer(whole.chain_id))
    given = tmp_path / "given"
    given.write_bytes(b"before" + archive("f") + b"after" * 5000)
    with open(given, "rb") as file:
        os.lseek(file.fileno(), 6, os.SEEK_SET)
        size = len(archive("f"))
        layer = wait(snapshots.apply_layer(None, None, None, file.fileno(), size=size))
    assert layer == whole
    wait(snapshots.remove_layer(whole.chain_id))
    reading, writing = os.pipe()
    os.write(writing, archive("f"))
    os.close(writing)
    assert wait(snapshots.apply_layer(None, None, None, reading)) == whole
    os.close(reading)


def test_same_layer_twice_at_once(tmp_path: Path, snapshots: Any, wait: Any) -> None:
    given = tmp_path / "given"
    given.write_bytes(archive("f", a=b"x" * 100_000))

    async def both() -> list[Any]:
        fds = [os.open(given, os.O_RDONLY) for _ in range(3)]
        try:
            work = (snapshots.apply_layer(None, None, None, fd) for fd in fds)
            return await asyncio.gather(*work)
        finally:
            for fd in fds:
                os.close(fd)

    first, *others = wait(both())
    assert all(other == first for other in others)
    assert os.listdir(snapshots._tmp_dir) == []


def test_damaged_layer_is_never_given_out(apply: Any, snapshots: Any, rebuilt: Any) -> None:
    layer = apply(archive(a=b"content", b=b"other"))
    path = Path(snapshots._diff_dirs(layer.chain_id)[0]) / "a"
    path.write_bytes(b"CONTENT")
    with pytest.raises(Internal, match="damaged"):
        rebuilt(layer.chain_id)
    path.unlink()
    with pytest.raises(Internal, match="damaged"):
        rebuilt(layer.chain_id)


def test_cancelled_load_leaves_nothing(snapshots: Any, workers: Any) -> None:
    reading, writing = os.pipe()
    os.write(writing, archive(a=b"x" * 5000)[:4000])

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):  # the pipe never ends: only this does
                await snapshots.apply_layer(None, None, None, reading)

    asyncio.run(main())
    os.close(reading)
    os.close(writing)
    assert os.listdir(snapshots._tmp_dir) == []


def test_start_sorts_out(
    tmp_path: Path, snapshots: Any, workers: Any, wait: Any, apply: Any
) -> None:
    used = apply(archive("used"))
    child = apply(archive("child"), used.chain_id)
    unused = apply(archive("unused"))
    wait(snapshots.create("keep", child.chain_id))
    wait(snapshots.create("drop", unused.chain_id))
    os.mkdir(os.path.join(snapshots._tmp_dir, "half"))
    broken = apply(archive("broken"))
    with open(os.path.join(snapshots._layer_dir(broken.chain_id), "layer.json"), "w") as file:
        file.write("{")
    again = Snapshots(snapshots._root, workers)
    assert len(again.set_aside) == 1
    assert not again.has_layer(broken.chain_id)
    given = tmp_path / "broken.tar"
    given.write_bytes(archive("broken"))
    with open(given, "rb") as file:  # loading it once more repairs it
        assert wait(again.apply_layer(None, None, None, file.fileno())) == broken
    with open(os.path.join(snapshots._layer_dir(broken.chain_id), "layer.json")) as file:
        assert json.load(file)["chain_id"] == broken.chain_id
    assert os.listdir(again._tmp_dir) == []
    wait(again.retain([child.chain_id], ["keep"]))
    assert sorted(again.layers()) == sorted([used.chain_id, child.chain_id])
    assert again.keys() == ["keep"]
    with pytest.raises(Conflict):
        wait(again.remove_layer(used.chain_id))


def test_many_layers(apply: Any, mounted: Any) -> None:
    chain = None
    for number in range(130):
        chain = apply(archive(f"f{number}"), chain).chain_id
    assert len([name for name in os.listdir(mounted(chain)) if name[0] == "f"]) == 130


_CHILD = """
import asyncio, os, sys
from naru.kernel.spawn import Spawner
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.snapshots import Snapshots

async def main():
    snapshots = Snapshots(sys.argv[1], ArchiveWorkers(Spawner(), spare=False))
    fd = os.open(sys.argv[2], os.O_RDONLY)
    layer = await snapshots.apply_layer(None, None, None, fd)
    await snapshots.sync()
    print("layer", flush=True)
    await snapshots.create("c", layer.chain_id)
    print("created", flush=True)
    with open(os.path.join(snapshots.upper_dir("c"), "f"), "w") as file:
        file.write("x")
    await snapshots.commit("c")
    print("committed", flush=True)
    await snapshots.remove("c")
    print("removed", flush=True)

asyncio.run(main())
"""
POINTS = (
    "archive.unpacked", "layers.unpacked", "layers.described", "layers.placed", "layers.synced",
    "layers.removing", "snapshots.creating", "snapshots.created", "snapshots.init-built",
)  # fmt: skip


@pytest.mark.parametrize("action", ["kill", "enospc", "eio"])
@pytest.mark.parametrize("point", POINTS)
def test_every_failpoint(tmp_path: Path, workers: ArchiveWorkers, point: str, action: str) -> None:
    """Whatever happens in the middle: the next start finds only whole things, and goes on."""
    given = tmp_path / "given"
    given.write_bytes(archive("d/", "d/f", a=b"x" * 10_000))
    root = tmp_path / "root"
    environment = {**os.environ, "NARU_FAILPOINTS": f"{point}={action}"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(root), str(given)],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    if action == "enospc":
        assert "no space left" in done.stderr
    if action != "kill":
        assert os.listdir(root / "tmp") == [] or point == "layers.removing"
    again = Snapshots(str(root), workers)
    assert again.set_aside == []
    assert os.listdir(root / "tmp") == []
    for chain in again.layers():
        path = os.path.join(again._layer_dir(chain), "layer.json")
        with open(path) as file:
            assert json.load(file)["chain_id"] == chain
    if "layer" in done.stdout.split():
        assert again.layers()
    if point in ("snapshots.creating", "snapshots.init-built"):
        assert again.keys() == []

    async def finish() -> None:
        await again.retain([], [])
        with open(given, "rb") as file:
            layer = await again.apply_layer(None, None, None, file.fileno())
        await again.create("c", layer.chain_id)

    asyncio.run(finish())
    assert len(again.layers()) == 1


def test_deep_trees(mounted: Any, snapshots: Any, wait: Any) -> None:
    """A container's tree of a thousand folders neither stops a commit nor the engine's counting."""
    root = mounted(None)
    at = os.open(root, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    assert wait(snapshots.usage("c")) == 0
    assert len(told(snapshots, wait)) > 200
    layer = wait(snapshots.commit("c"))
    assert snapshots.layer(layer.chain_id).entries == 1001
