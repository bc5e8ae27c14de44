"""Local volumes on real directories and mounts."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.kernel.files import remove_tree
from naru.kernel.mount import is_mount_point
from naru.storage.metadata import Database
from naru.storage.volumes import ANONYMOUS, KIND, Volumes

pytestmark = pytest.mark.root


class VolumeLab:
    def __init__(self, root: Path) -> None:
        self.events: list[tuple[str, str, str, dict[str, str]]] = []
        self.db = Database.open(str(root / "db" / "metadata"))
        self.volumes = Volumes(
            str(root / "volumes"),
            self.db,
            lambda *event: self.events.append(event),
            mount_root=str(root / "mounts"),
        )

    def names(self, **filters: str) -> list[str]:
        found = self.volumes.list({name: (value,) for name, value in filters.items()})
        return [volume.name for volume in found]


def run(root: Path, work: Callable[[VolumeLab], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        lab = VolumeLab(root)
        try:
            async with asyncio.timeout(30):
                return await work(lab)
        finally:
            await lab.db.close()

    return asyncio.run(main())


def test_create_is_idempotent_and_tells_once(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        first = await lab.volumes.create("data", labels={"a": "b"})
        assert await lab.volumes.create("data", labels={"c": "d"}) == first
        shown = lab.volumes.describe(first)
        assert shown["Mountpoint"] == str(tmp_path / "volumes/data/_data")
        assert (shown["Labels"], shown["Options"], shown["Scope"]) == ({"a": "b"}, None, "local")
        assert lab.events == [("volume", "create", "data", {"driver": "local"})]
        assert stat.S_IMODE(os.stat(shown["Mountpoint"]).st_mode) == 0o755
        assert stat.S_IMODE(os.stat(tmp_path / "volumes").st_mode) == 0o700

    run(tmp_path, work)


def test_anonymous_volumes_are_named_and_labelled(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        volume = await lab.volumes.create(None)
        assert len(volume.name) == 64
        assert volume.labels == {ANONYMOUS: ""}
        await lab.volumes.create("named")
        gone, freed = await lab.volumes.prune({})
        assert (list(gone), freed) == ([volume.name], 0)
        (tmp_path / "volumes/named/_data/file").write_bytes(b"12345")
        gone, freed = await lab.volumes.prune({"all": ("true",)})
        assert (list(gone), freed) == (["named"], 5)

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x",), "create x: volume name is too short"),
        (("../x",), "includes invalid characters for a local volume name"),
        (("a" * 256,), "includes invalid characters"),
        (("v2", "local", {"foo": "bar"}), 'create v2: invalid option: "foo"'),
        (("v2", "local", {"type": "tmpfs"}), 'create v2: missing required option: "device"'),
        (("v2", "local", {"device": "/x"}), 'create v2: missing required option: "type"'),
        (("v2", "local", {"size": "1m"}), "quota size requested but no quota support"),
    ],
)
def test_create_refuses_in_dockers_words(
    tmp_path: Path, arguments: tuple[Any, ...], text: str
) -> None:
    async def work(lab: VolumeLab) -> None:
        with pytest.raises(InvalidParameter) as caught:
            await lab.volumes.create(*arguments)
        assert text in caught.value.message
        assert lab.names() == []

    run(tmp_path, work)


def test_missing_volumes_and_drivers(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        with pytest.raises(NotFound, match="get gone: no such volume"):
            lab.volumes.get("gone")
        with pytest.raises(NotFound, match="get gone: no such volume"):
            await lab.volumes.remove("gone")
        await lab.volumes.remove("gone", force=True)
        with pytest.raises(NotFound, match='plugin "foo" not found'):
            await lab.volumes.create("v1", "foo")

    run(tmp_path, work)


def test_a_volume_in_use_stays(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("data")
        lab.volumes.bind_users(lambda name: ["c" * 64] if name == "data" else [])
        with pytest.raises(Conflict) as caught:
            await lab.volumes.remove("data", force=True)
        assert caught.value.message == f"remove data: volume is in use - [{'c' * 64}]"
        assert lab.names(dangling="true") == []
        assert lab.names(dangling="false") == ["data"]
        assert await lab.volumes.prune({"all": ("1",)}) == ([], 0)

    run(tmp_path, work)


def test_list_filters(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("one", labels={"a": "1"})
        await lab.volumes.create("two")
        assert lab.names() == ["one", "two"]
        assert lab.names(label="a=1") == ["one"]
        assert lab.names(name="w") == ["two"]
        assert lab.names(name="[") == []
        assert lab.names(driver="other") == []

    run(tmp_path, work)


def test_tmpfs_is_mounted_for_the_first_and_unmounted_for_the_last(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}
        await lab.volumes.create("quick", options=options)
        path = await lab.volumes.acquire("quick", "c1")
        assert await lab.volumes.acquire("quick", "c2") == path
        assert os.stat(path).st_uid == 5
        assert is_mount_point(path)
        await lab.volumes.release("quick", "c1")
        assert is_mount_point(path)
        with pytest.raises(Conflict):
            await lab.volumes.remove("quick")
        await lab.volumes.release("quick", "c2")
        assert not is_mount_point(path)
        await lab.volumes.remove("quick")

    run(tmp_path, work)


def test_bind_and_its_failure(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")

    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create(
            "bound", options={"type": "none", "o": "bind", "device": str(source)}
        )
        path = await lab.volumes.acquire("bound", "c1")
        assert os.listdir(path) == ["file"]
        await lab.volumes.release("bound", "c1")
        await lab.volumes.create("bad", options={"type": "none", "o": "bind", "device": "/no-such"})
        with pytest.raises(Internal, match="failed to mount local volume: mount /no-such:"):
            await lab.volumes.acquire("bad", "c1")
        await lab.volumes.remove("bad")
        await lab.volumes.remove("bound")
        assert (source / "file").read_text() == "x"

    run(tmp_path, work)


def test_copy_up_takes_everything_and_only_once(tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    (rootfs / "data/sub").mkdir(parents=True)
    (rootfs / "data/file").write_text("content")
    os.link(rootfs / "data/file", rootfs / "data/sub/hard")
    os.symlink("/etc/passwd", rootfs / "data/link")
    os.mkfifo(rootfs / "data/fifo")
    os.mknod(rootfs / "data/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(rootfs / "data/file", "user.note", b"kept")
    os.chown(rootfs / "data/file", 7, 8)
    os.chown(rootfs / "data", 9, 10)
    os.chmod(rootfs / "data", 0o2750)
    os.truncate(rootfs / "data/file", 1 << 24)
    os.utime(rootfs / "data/file", ns=(1_000_000_001, 2_000_000_003))

    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("data")
        await lab.volumes.copy_up("data", str(rootfs), "/data")
        target = tmp_path / "volumes/data/_data"
        file, top = os.stat(target / "file"), os.stat(target)
        assert (file.st_uid, file.st_gid, file.st_mtime_ns) == (7, 8, 2_000_000_003)
        assert file.st_size == 1 << 24
        assert file.st_blocks * 512 < 1 << 20
        assert os.stat(target / "sub/hard").st_ino == file.st_ino
        assert os.getxattr(target / "file", "user.note") == b"kept"
        assert os.readlink(target / "link") == "/etc/passwd"
        assert stat.S_ISFIFO(os.lstat(target / "fifo").st_mode)
        assert os.lstat(target / "null").st_rdev == os.makedev(1, 3)
        assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode)) == (9, 10, 0o2750)
        (rootfs / "data/more").write_text("late")
        await lab.volumes.copy_up("data", str(rootfs), "/data")
        assert not (target / "more").exists()

    run(tmp_path, work)


def test_copy_up_never_leaves_the_image(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("x")
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    os.symlink(str(tmp_path / "host"), rootfs / "data")
    os.symlink("../../../../.." + str(tmp_path / "host"), rootfs / "more")

    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("data")
        for destination in ("/data", "/more", "/missing", "/../host"):
            await lab.volumes.copy_up("data", str(rootfs), destination)
        assert os.listdir(tmp_path / "volumes/data/_data") == []

    run(tmp_path, work)


def test_restart_finishes_what_was_begun(tmp_path: Path) -> None:
    async def make(lab: VolumeLab) -> None:
        for name in ("kept", "mine", "lost"):
            await lab.volumes.create(name)
        await lab.volumes.create("orphan", pending_for="gone")
        await lab.volumes.create("pending", pending_for="here")
        await lab.volumes.create("confirmed", pending_for="removed-later")
        await lab.volumes.confirm("removed-later")
        (tmp_path / "volumes/lost/_data/file").write_text("dear")
        await lab.db.delete(KIND, "lost")
        os.rename(tmp_path / "volumes/mine", tmp_path / "volumes/.moved")
        (tmp_path / "volumes/.removed/x").mkdir(parents=True)
        (tmp_path / "volumes/half/_data").mkdir(parents=True)

    async def restart(lab: VolumeLab) -> None:
        await lab.volumes.collect_garbage(["here"])
        assert lab.names() == ["confirmed", "kept", "lost", "pending"]
        assert (tmp_path / "volumes/lost/_data/file").read_text() == "dear"
        assert not (tmp_path / "volumes/half").exists()
        assert lab.volumes.get("pending").pending_for == ""
        assert [name for name, _ in lab.db.all(KIND)] == lab.names()

    run(tmp_path, make)
    run(tmp_path, restart)


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from test_volumes import VolumeLab, run

async def work(lab):
    if sys.argv[2] == "create":
        await lab.volumes.create("fresh")
    else:
        await lab.volumes.remove("base")

run(Path(sys.argv[1]), work)
"""


@pytest.mark.parametrize("action", ["kill", "enospc"])
@pytest.mark.parametrize("operation", ["create", "remove"])
def test_killed_or_failing_at_every_step(tmp_path: Path, operation: str, action: str) -> None:
    async def prepare(lab: VolumeLab) -> None:
        await lab.volumes.create("base")
        (tmp_path / "volumes/base/_data/file").write_text("x")

    async def look(lab: VolumeLab) -> None:
        await lab.volumes.collect_garbage([])
        names = lab.names()
        assert set(names) <= {"base", "fresh"}
        assert "base" in names or operation == "remove"
        for name in names:
            await lab.volumes.acquire(name, "c")
        if "base" in names:
            assert (tmp_path / "volumes/base/_data/file").read_text() == "x"
        left = {path.name for path in (tmp_path / "volumes").iterdir() if any(path.iterdir())}
        assert left == set(names)

    points = [
        "volumes.directory-made", "volumes.record-made",
    ] if operation == "create" else ["volumes.moved-aside", "volumes.record-removed"]  # fmt: skip
    for point in points:
        remove_tree(str(tmp_path))
        tmp_path.mkdir()
        run(tmp_path, prepare)
        path = [*sys.path, str(Path(__file__).parent)]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(tmp_path), operation],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "NARU_FAILPOINTS": f"{point}={action}",
            },
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == (-signal.SIGKILL if action == "kill" else 1), done.stderr
        run(tmp_path, look)


def test_prune_leaves_volumes_with_options(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("kept", options={"type": "tmpfs", "device": "tmpfs"})
        assert await lab.volumes.prune({"all": ("true",)}) == ([], 0)

    run(tmp_path, work)
