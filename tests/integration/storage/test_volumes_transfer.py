"""Volumes out and in again, copied and renamed: everything comes along, nothing half is left."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import Conflict, Internal, InvalidParameter, NaruError, NotFound
from naru.kernel.files import remove_tree
from naru.kernel.spawn import Spawner
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.metadata import Database
from naru.storage.volumes.copies import Copies
from naru.storage.volumes.service import Volumes
from naru.storage.volumes.transfer import Transfers, Wanted

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


class Lab:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[tuple[str, str, str, dict[str, str]]] = []
        self.db = Database.open(str(root / "db" / "metadata"))
        self.spawner = Spawner()
        self.workers = ArchiveWorkers(self.spawner, spare=False)
        self.volumes = Volumes(
            str(root / "volumes"), self.db, self.tell, mount_root=str(root / "mounts")
        )
        self.transfers = Transfers(self.volumes, self.workers, self.spawner, self.tell)
        self.copies = Copies(self.volumes, self.tell)

    def tell(self, *event: Any) -> None:
        self.events.append(event)  # type: ignore[arg-type]

    def data(self, name: str) -> Path:
        return self.root / "volumes" / name / "_data"

    async def make(self, name: str, *files: str) -> Path:
        await self.volumes.create(name)
        for file in files:
            (self.data(name) / file).write_text(f"of {name}")
        return self.data(name)

    async def export(self, name: str, **wanted: Any) -> bytes:
        pieces = self.transfers.export(name, Wanted(**wanted))
        return b"".join([piece async for piece in pieces])

    async def import_(self, name: str, data: bytes, **options: Any) -> None:
        async def stream() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 100_000):
                yield data[at : at + 100_000]

        await self.transfers.import_(name, stream(), **options)

    def names(self) -> list[str]:
        return [volume.name for volume in self.volumes.list({})]

    def clean(self) -> None:
        """Nothing is there but whole volumes with records."""
        folders = {path.name for path in (self.root / "volumes").iterdir()}
        assert folders == {".removed", *self.names()}
        assert os.listdir(self.root / "volumes/.removed") == []


def run(root: Path, work: Callable[[Lab], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        lab = Lab(root)
        try:
            async with asyncio.timeout(60):
                return await work(lab)
        finally:
            lab.workers.close()
            await lab.db.close()

    return asyncio.run(main())


def furnish(data: Path) -> None:
    """One of everything."""
    (data / "sub").mkdir()
    (data / "sub/file").write_text("content")
    os.link(data / "sub/file", data / "hard")
    os.symlink("/etc/passwd", data / "link")
    os.symlink("nowhere", os.fsencode(data) + b"/\xff\xfe link")
    (data / "sparse").touch()
    os.truncate(data / "sparse", 64 << 20)
    with open(data / "sparse", "r+b") as sparse:
        sparse.seek(32 << 20)
        sparse.write(b"island" * 1000)
    with open(os.fsencode(data) + b"/\xff\x80 name\n", "wb") as odd:
        odd.write(bytes(range(256)) * 5000)
    os.mkfifo(data / "fifo")
    os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(data / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(data / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 200))
    os.chmod(data / "null", 0o4646)
    (data / "large-name").mkdir()
    (data / "large-name" / ("n" * 255)).write_text("x")
    (data / "empty").touch()
    os.chown(data / "empty", 4_000_000_000, 70000)
    os.chmod(data / "empty", 0o6711)
    os.setxattr(data / "sub/file", "security.capability", CAPABILITY)
    os.setxattr(data / "sub/file", "user.note", bytes(range(256)))
    os.setxattr(data / "sub", "trusted.overlay.opaque", b"y")
    os.setxattr(data / "sub", "trusted.other", b"\0\1")
    os.setxattr(data / "link", "trusted.link", b"of a link", follow_symlinks=False)
    nobody = 2**32 - 1
    acl = b"\x02\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, rights, who in (
            (1, 7, nobody), (2, 5, 1000), (4, 5, nobody), (16, 7, nobody), (32, 0, nobody)
        )
    )  # fmt: skip
    os.setxattr(data / "sub", "system.posix_acl_default", acl)
    os.setxattr(data, "user.top", b"the directory itself")
    os.chown(data, 33, 44)
    os.chmod(data, 0o3750)
    for path, times in (
        (data / "sub/file", (5, 1_000_000_001)),
        (data / "sub", (7, -1_500_000_000)),
        (data / "sparse", (7, 8_999_999_999_123_456_789)),
        (data, (7, 1_234_567_890_123_456_789)),
    ):
        os.utime(path, ns=times)
    os.utime(data / "link", ns=(1, 77_000_000_007), follow_symlinks=False)


def facts(data: Path) -> dict[bytes, Any]:
    """All that must come along, by name."""
    top = os.fsencode(data)
    found: dict[bytes, Any] = {}
    inodes: dict[int, bytes] = {}
    paths = [top]
    for folder, folders, files in os.walk(top):
        paths += [os.path.join(folder, name) for name in (*folders, *files)]
    for path in sorted(paths):
        info = os.lstat(path)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        content: Any = None
        if stat.S_ISREG(info.st_mode):
            content = Path(os.fsdecode(path)).read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        rest = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_rdev)
        first = inodes.setdefault(info.st_ino, path[len(top) :])
        found[path[len(top) :]] = (rest, xattrs, content, first, info.st_nlink)
    return found


@pytest.mark.parametrize("form", ["plain", "zstd", "gzip"])
@pytest.mark.parametrize("passphrase", [b"", b"pass \xff phrase"])
def test_everything_comes_along(tmp_path: Path, form: str, passphrase: bytes) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        furnish(data)
        before = facts(data)
        archive = await lab.export("data", form=form, passphrase=passphrase)
        await lab.import_("copy", archive, passphrase=passphrase)
        assert facts(lab.data("copy")) == before
        assert os.stat(lab.data("copy") / "sparse").st_blocks * 512 < 1 << 20
        assert os.stat(tmp_path / "volumes/copy").st_mode & 0o777 == 0o700
        assert lab.volumes.users("data") == []
        lab.clean()

    run(tmp_path, work)


def test_clones_are_alike_to_the_time_of_access(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        furnish(data)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(data / "socket"))
        atime = os.stat(data / "sub/file").st_atime_ns
        cloned = await lab.copies.clone("data", "copy", labels={"a": "b"})
        assert (cloned.method, cloned.copied.sockets) == ("copy", 1)
        assert cloned.volume.labels == {"a": "b"}
        assert os.stat(lab.data("copy") / "sub/file").st_atime_ns == atime
        os.unlink(data / "socket")
        os.utime(data, ns=(7, 1_234_567_890_123_456_789))
        os.utime(lab.data("copy"), ns=(7, 1_234_567_890_123_456_789))
        assert facts(lab.data("copy")) == facts(data)
        with pytest.raises(Conflict, match="cannot clone volume data: volume copy exists"):
            await lab.copies.clone("data", "copy")
        with pytest.raises(NotFound):
            await lab.copies.clone("gone", "other")
        lab.clean()

    run(tmp_path, work)


def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path) -> None:
    image, place = tmp_path / "disk", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as disk:
        disk.truncate(400 << 20)
    maker = next((p for p in ("mkfs.xfs", "mkfs.btrfs") if shutil_which(p)), None)
    if maker is None:
        pytest.skip("neither mkfs.xfs nor mkfs.btrfs is here")
    subprocess.run([maker, "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)

    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        (data / "large").write_bytes(os.urandom(20 << 20))
        cloned = await lab.copies.clone("data", "copy")
        assert cloned.method == "reflink"
        assert (lab.data("copy") / "large").read_bytes() == (data / "large").read_bytes()

    try:
        run(place, work)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def shutil_which(name: str) -> bool:
    return any(os.access(f"{folder}/{name}", os.X_OK) for folder in ("/sbin", "/usr/sbin"))


def test_other_programs_read_and_make_the_archive(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        furnish(data)
        archive = await lab.export("data", form="gzip")
        other = tmp_path / "other"
        other.mkdir()
        words = ["tar", "-xzp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"]
        await asyncio.to_thread(subprocess.run, [*words, str(other)], input=archive, check=True)
        mine, theirs = facts(data), facts(other)
        for name, fact in mine.items():
            assert theirs[name][0] == fact[0], name
            assert theirs[name][2:4] == fact[2:4], name
        words = ["tar", "-cSp", "--xattrs", "--xattrs-include=*", "--format=pax", "-C"]
        done = await asyncio.to_thread(
            subprocess.run, [*words, str(other), "."], capture_output=True, check=True
        )
        made = done.stdout
        await lab.import_("again", made)
        again = facts(lab.data("again"))
        assert {name: fact[0] for name, fact in again.items()} == {
            name: fact[0] for name, fact in theirs.items()
        }
        assert {name: fact[1:3] for name, fact in again.items()} == {
            name: fact[1:3] for name, fact in theirs.items()
        }

    run(tmp_path, work)


def test_sockets_are_left_out_and_told(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data", "file")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(data / "socket"))
        archive = await lab.export("data")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            assert tar.getnames() == [".", "./file"]
        told = {"driver": "local", "entries": "2", "sockets": "1"}
        assert lab.events[-1] == ("volume", "export", "data", told)

    run(tmp_path, work)


def test_import_takes_an_empty_volume_or_is_told_to_replace(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.make("data", "new")
        archive = await lab.export("data")
        await lab.volumes.create("empty", labels={"kept": "1"})
        await lab.import_("empty", archive)
        assert os.listdir(lab.data("empty")) == ["new"]
        assert lab.volumes.get("empty").labels == {"kept": "1"}
        await lab.make("full", "old")
        with pytest.raises(Conflict, match="it is not empty"):
            await lab.import_("full", archive)
        assert os.listdir(lab.data("full")) == ["old"]
        await lab.import_("full", archive, replace=True)
        assert os.listdir(lab.data("full")) == ["new"]
        await lab.volumes.acquire("full", "someone")
        with pytest.raises(Conflict, match=r"it is in use - \[someone\]"):
            await lab.import_("full", archive, replace=True)
        await lab.volumes.create("tmp", options={"type": "tmpfs", "device": "tmpfs"})
        with pytest.raises(Conflict, match="its data lies elsewhere"):
            await lab.import_("tmp", archive)
        for name in ("..", "a", "x" * 300):
            with pytest.raises(InvalidParameter):
                await lab.import_(name, archive)
        lab.clean()

    run(tmp_path, work)


def test_bad_archives_change_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("alive")

    def hostile(name: str, kind: bytes, link: str = "") -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for member in ((name, kind, link), ("l/x", tarfile.REGTYPE, "")):
                info = tarfile.TarInfo(member[0])
                info.type, info.linkname = member[1], member[2]
                tar.addfile(info)
        return out.getvalue()

    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        furnish(data)
        plain = await lab.export("data")
        packed = await lab.export("data", form="zstd")
        sealed = await lab.export("data", form="zstd", passphrase=b"right")
        await lab.make("full", "old")
        for archive, passphrase, text in (
            (plain[:-1024], b"", "cut off"),
            (plain[: len(plain) // 2], b"", "ends within|cut off"),
            (plain[:10], b"", "ends within"),
            (b"", b"", "cut off"),
            (os.urandom(5000), b"", "invalid archive"),
            (packed[: len(packed) // 2], b"", "invalid archive"),
            (packed[:2000] + b"\0\0\0\0" + packed[2004:], b"", "invalid archive"),
            (sealed, b"", "is encrypted: give its passphrase"),
            (sealed, b"wrong", "wrong passphrase"),
            (sealed[:-1], b"right", "cut off"),
            (sealed[: len(sealed) // 2], b"right", "cut off"),
            (sealed + b"x", b"right", "damaged|cut off"),
            (plain, b"right", "is not encrypted"),
            (hostile("/etc/x", tarfile.REGTYPE), b"", "absolute path"),
            (hostile("../x", tarfile.REGTYPE), b"", "outside of"),
            (hostile("l", tarfile.SYMTYPE, str(tmp_path)), b"", "leads through a link"),
            (hostile("l", tarfile.SYMTYPE, "../../../../.." + str(tmp_path)), b"", "link on the"),
            (hostile("h", tarfile.LNKTYPE, str(secret)), b"", "absolute path"),
        ):
            for name, replace in (("fresh", False), ("full", True)):
                with pytest.raises(InvalidParameter, match=text):
                    await lab.import_(name, archive, passphrase=passphrase, replace=replace)
            assert lab.names() == ["data", "full"]
            assert os.listdir(lab.data("full")) == ["old"]
            lab.clean()

        assert secret.read_text() == "alive"
        assert not (tmp_path / "x").exists()

    run(tmp_path, work)


def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        (data / "large").write_bytes(os.urandom(8 << 20))
        archive = await lab.export("data", passphrase=b"p")

        async def broken() -> AsyncIterator[bytes]:
            yield archive[: 4 << 20]
            raise RuntimeError("gone")

        with pytest.raises(RuntimeError, match="gone"):
            await lab.transfers.import_("fresh", broken(), passphrase=b"p")
        pieces = lab.transfers.export("data", Wanted(form="zstd", passphrase=b"p"))
        assert await anext(pieces)
        assert lab.volumes.users("data") != []
        with pytest.raises(Conflict, match="remove data: volume is in use"):
            await lab.volumes.remove("data")
        await pieces.aclose()
        assert lab.volumes.users("data") == []
        assert lab.names() == ["data"]
        lab.clean()

    run(tmp_path, work)


def test_a_reader_that_takes_nothing_lets_the_frozen_go(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        data = await lab.make("data")
        (data / "large").write_bytes(os.urandom(8 << 20))
        thawed = asyncio.Event()
        frozen: list[str] = []

        @contextlib.asynccontextmanager
        async def freeze(name: str) -> AsyncIterator[None]:
            frozen.append(name)
            try:
                yield
            finally:
                thawed.set()

        transfers = Transfers(lab.volumes, lab.workers, lab.spawner, lab.tell, stall_s=0.2)
        transfers.freeze = freeze
        pieces = transfers.export("data", Wanted(pause=True))
        assert await anext(pieces)
        assert frozen == ["data"] and not thawed.is_set()
        await thawed.wait()
        with pytest.raises(Internal, match="took nothing for 0.2 s: the containers go on"):
            await anext(pieces)
        assert lab.volumes.users("data") == []
        thawed.clear()
        pieces = transfers.export("data", Wanted(pause=True))
        assert len([piece async for piece in pieces]) > 4 and thawed.is_set()

    run(tmp_path, work)


def test_rename(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.volumes.create("old", labels={"a": "b"})
        (lab.data("old") / "file").write_text("dear")
        created = lab.volumes.get("old").created_ns
        await lab.copies.rename("old", "new")
        assert lab.names() == ["new"]
        assert (lab.data("new") / "file").read_text() == "dear"
        assert lab.volumes.get("new").labels == {"a": "b"}
        assert lab.volumes.get("new").created_ns == created
        await lab.make("other")
        for old, new, kind, text in (
            ("new", "other", Conflict, "volume other exists"),
            ("new", "..", InvalidParameter, "invalid characters"),
            ("new", "new", InvalidParameter, "its name already"),
            ("gone", "more", NotFound, "no such volume"),
        ):
            with pytest.raises(kind, match=text):
                await lab.copies.rename(old, new)
        await lab.volumes.acquire("new", "someone")
        with pytest.raises(Conflict, match=r"it is in use - \[someone\]"):
            await lab.copies.rename("new", "more")
        lab.clean()

    run(tmp_path, work)


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from test_volumes_transfer import run

async def work(lab):
    archive = Path(sys.argv[1], "archive").read_bytes()
    if sys.argv[2] == "import":
        await lab.import_("fresh", archive)
    elif sys.argv[2] == "replace":
        await lab.import_("base", archive, replace=True)
    elif sys.argv[2] == "clone":
        await lab.copies.clone("base", "fresh")
    else:
        await lab.copies.rename("base", "fresh")

run(Path(sys.argv[1]), work)
"""
_POINTS = {
    "import": ("filled", "place-recorded", "placed"),
    "clone": ("filled", "place-recorded", "placed"),
    "replace": ("filled", "exchanged"),
    "rename": ("rename-recorded", "renamed"),
}


@pytest.mark.parametrize("action", ["kill", "enospc"])
@pytest.mark.parametrize("operation", list(_POINTS))
def test_killed_or_failing_at_every_step(tmp_path: Path, operation: str, action: str) -> None:
    async def prepare(lab: Lab) -> None:
        await lab.make("incoming", "new")
        (tmp_path / "archive").write_bytes(await lab.export("incoming"))
        await lab.volumes.remove("incoming")
        await lab.make("base", "old")

    async def look(lab: Lab) -> None:
        await lab.volumes.collect_garbage([])
        held = {name: sorted(os.listdir(lab.data(name))) for name in lab.names()}
        allowed: list[dict[str, list[str]]] = [{"base": ["old"]}]
        if action == "kill":
            allowed += {
                "import": [],
                "clone": [],
                "replace": [{"base": ["new"]}],
                "rename": [{"fresh": ["old"]}],
            }[operation]
        elif operation == "replace":
            allowed.append({"base": ["new"]})
        assert held in allowed
        lab.clean()

    points = [f"volumes.{name}" for name in _POINTS[operation]]
    for point in (*points, "metadata.written@2"):
        remove_tree(str(tmp_path))
        tmp_path.mkdir()
        run(tmp_path, prepare)
        path = [*sys.path, str(Path(__file__).parent)]
        name, _, at = point.partition("@")
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(tmp_path), operation],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "NARU_FAILPOINTS": f"{name}={action}" + (f"@{at}" if at else ""),
            },
            capture_output=True,
            check=False,
            timeout=60,
        )
        if name.startswith("volumes."):
            wanted = -signal.SIGKILL if action == "kill" else 1
            assert done.returncode == wanted, done.stderr
        run(tmp_path, look if done.returncode else _finished(operation))


def _finished(operation: str) -> Callable[[Lab], Awaitable[None]]:
    async def look(lab: Lab) -> None:
        await lab.volumes.collect_garbage([])
        lab.clean()

    return look


def test_no_error_without_a_reason(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.make("data", "file")
        with pytest.raises(NaruError, match="unknown compression 'rar'"):
            await lab.export("data", form="rar")
        with pytest.raises(NaruError, match="the passphrase has 5000 bytes"):
            await lab.export("data", passphrase=b"x" * 5000)
        with pytest.raises(NotFound):
            await lab.export("gone")
        assert lab.volumes.users("data") == []

    run(tmp_path, work)
