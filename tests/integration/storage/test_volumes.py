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
from naru.kernel.mount import is_mount_point, mount_at
from naru.storage.metadata import Database
from naru.storage.volumes.model import ANONYMOUS, KIND, describe
from naru.storage.volumes.service import Volumes
from naru.storage.volumes.upkeep import copy_up, prune

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

    async def prune(self, filters: dict[str, tuple[str, ...]]) -> Any:
        return await prune(self.volumes, filters, lambda *event: self.events.append(event))

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
        shown = describe(first, lab.volumes.data_dir("data"))
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
        gone, freed = await lab.prune({})
        assert (list(gone), freed) == ([volume.name], 0)
        (tmp_path / "volumes/named/_data/file").write_bytes(b"12345")
        gone, freed = await lab.prune({"all": ("true",)})
        assert (list(gone), freed) == (["named"], 5)

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x",), "create x: volume name is too short"),
        (("../x",), "includes invalid characters for a local volume name"),
        (("a" * 256,), "has 256 characters: at most 255"),
        (("v2", "local", {"foo": "bar"}), 'create v2: invalid option: "foo"'),
        (("v2", "local", {"type": "tmpfs"}), 'create v2: missing required option: "device"'),
        (("v2", "local", {"device": "/x"}), 'create v2: missing required option: "type"'),
        (("v2", "local", {"size": "1m"}), "quota size requested but no quota support"),
        (("v2", "local", {"size": "abc"}), "create v2: invalid size: 'abc'"),
        (("v2", "local", {"type": "tmpfs", "device": "t", "size": "1m"}), 'invalid option: "size"'),
        (("v2", "local", {"type": "t", "device": "t", "o": "remount"}), '"o": remount'),
        (("été",), "includes invalid characters"),
        (("a\0b",), "includes invalid characters"),
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
        assert await lab.prune({"all": ("1",)}) == ([], 0)

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


def test_two_at_once_both_succeed_and_one_that_fails_takes_nothing_away(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        made = await asyncio.gather(
            *(lab.volumes.create("data", pending_for=f"c{number}") for number in range(8))
        )
        assert len({volume.created_ns for volume in made}) == 1
        assert len(lab.events) == 1
        with pytest.raises(Conflict):
            await lab.volumes.remove("data", force=True)
        await lab.volumes.withdraw(lab.volumes.get("data").pending_for)
        assert lab.volumes.get("data").pending_for
        await lab.volumes.confirm("c5")
        for number in range(8):
            await lab.volumes.withdraw(f"c{number}")
        assert lab.volumes.get("data").pending_for == ""
        await lab.volumes.remove("data")
        await lab.volumes.create("data", pending_for="c1")
        await lab.volumes.withdraw("c1")
        assert lab.names() == []
        assert not (tmp_path / "volumes/data").exists()

    run(tmp_path, work)


def test_a_mount_survives_the_engine_for_those_who_have_it(tmp_path: Path) -> None:
    async def before(lab: VolumeLab) -> str:
        options = {"type": "tmpfs", "device": "tmpfs"}
        for name in ("shared", "left"):
            await lab.volumes.create(name, options=options)
            path = await lab.volumes.acquire(name, "c1")
            (Path(path) / "file").write_text("dear")
        return path

    async def after(lab: VolumeLab) -> None:
        lab.volumes.adopt("shared", "c1")
        lab.volumes.adopt("shared", "c2")
        await lab.volumes.collect_garbage(["c1", "c2"])
        assert not os.path.exists(left)
        await lab.volumes.release("shared", "c1")
        path = Path(await lab.volumes.acquire("shared", "c3"))
        assert (path / "file").read_text() == "dear"
        await lab.volumes.release("shared", "c3")
        await lab.volumes.release("shared", "c2")
        assert not path.exists()

    left = run(tmp_path, before)
    run(tmp_path, after)


def test_any_file_system_and_the_words_of_o(tmp_path: Path) -> None:
    image = tmp_path / "disk"
    with image.open("wb") as disk:
        disk.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
    ).stdout.strip()

    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create(
            "disk", options={"type": "ext4", "device": loop, "o": "noatime,errors=continue,nodev"}
        )
        path = await lab.volumes.acquire("disk", "c1")
        assert (Path(path) / "lost+found").is_dir()
        entry = mount_at(path)
        assert entry is not None and entry.fstype == "ext4"
        assert {"noatime", "nodev"} <= set(entry.options.split(","))
        await lab.volumes.release("disk", "c1")
        assert mount_at(path) is None
        source = tmp_path / "source"
        source.mkdir()
        options = {"type": "none", "device": str(source), "o": "bind,ro,noexec"}
        await lab.volumes.create("bound", options=options)
        path = await lab.volumes.acquire("bound", "c1")
        entry = mount_at(path)
        assert entry is not None and {"ro", "noexec"} <= set(entry.options.split(","))
        with pytest.raises(OSError, match="Read-only"):
            (Path(path) / "x").write_text("")
        await lab.volumes.release("bound", "c1")

    try:
        run(tmp_path, work)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"type": "ext5", "device": "x"}, "no such device .the kernel knows no file system of ty"),
        ({"type": "tmpfs", "device": "t", "o": "bad=1,ro"}, "data: bad=1, flags: 0x1: invalid arg"),
        (
            {"type": "nfs", "device": ":/x", "o": "addr=nowhere.invalid"},
            "error resolving passed in network volume address: lookup nowhere.invalid",
        ),
        ({"type": "ext5", "device": "//x", "o": "password=open"}, r"data: password=\*{8}: no such"),
    ],
)
def test_what_cannot_be_mounted_is_told(tmp_path: Path, options: dict[str, str], text: str) -> None:
    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("bad", options=options)
        with pytest.raises(Internal, match=text):
            await lab.volumes.acquire("bad", "c1")
        await lab.volumes.remove("bad")

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
        await copy_up(lab.volumes, "data", str(rootfs), "/data")
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
        await copy_up(lab.volumes, "data", str(rootfs), "/data")
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
            await copy_up(lab.volumes, "data", str(rootfs), destination)
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
        assert lab.volumes.get("confirmed").pending_for == ""
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
        assert await lab.prune({"all": ("true",)}) == ([], 0)

    run(tmp_path, work)
