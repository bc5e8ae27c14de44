"""Archive workers: what they can see and do, and what happens when they or the disk fail."""

import asyncio
import bz2
import io
import json
import os
import select
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import Internal, InvalidParameter
from naru.kernel.mount import mount_tmpfs, unmount
from naru.kernel.spawn import Spawner
from naru.storage.archive import jobs
from naru.storage.archive.jobs import Job
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.copy.service import ContainerCopy, ContainerFiles
from naru.storage.snapshots import Snapshots

pytestmark = pytest.mark.root

_LOOK_AROUND = """
import json, os, socket
from naru.kernel.confine import confine, detached_root
root = os.open({root!r}, os.O_RDONLY)
confine(detached_root(root), ("CHOWN", "MKNOD"))
os.close(root)
found = {{"names": os.listdir("/"), "up": os.listdir("/../.."), "cwd": os.getcwd()}}
os.mknod("/disk", 0o60600, os.makedev(7, 0))
try:
    os.open("/disk", os.O_RDONLY)
except OSError as error:
    found["device"] = error.errno
found["interfaces"] = [name for _, name in socket.if_nameindex()]
try:
    os.setxattr("/f", "trusted.x", b"1")
except OSError as error:
    found["trusted"] = error.errno
try:
    os.chroot("/")
except OSError as error:
    found["chroot"] = error.errno
print(json.dumps(found))
"""


def archive(**contents: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_confined(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    script = _LOOK_AROUND.format(root=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    assert found["names"] == ["f"] == found["up"]
    assert found["cwd"] == "/"
    assert found["device"] == 13  # EACCES: devices are dead
    assert found["interfaces"] == ["lo"]
    assert found["trusted"] == 1
    assert found["chroot"] == 1


def test_nothing_of_the_archive_is_imported(tmp_path: Path, workers: Any, wait: Any) -> None:
    """A root full of Python and libraries: none of it runs (the twin of CVE-2019-14271)."""
    root = tmp_path / "root"
    for name in ("encodings", "usr/lib/python3.11", "lib", "idna"):
        (root / name).mkdir(parents=True)
    trap = "open('/trapped', 'w').close()\n"
    for name in ("encodings/cp437.py", "encodings/__init__.py", "sitecustomize.py", "bz2.py"):
        (root / name).write_text(trap)
    given = tmp_path / "given"
    given.write_bytes(bz2.compress(archive(**{"é": b"x", "f": b"y"})))
    fds = [os.open(root, os.O_RDONLY), os.open(given, os.O_RDONLY)]
    try:
        done = wait(workers.call(Job(jobs.UNPACK), fds))
    finally:
        for fd in fds:
            os.close(fd)
    assert done.entries == 2
    assert not (root / "trapped").exists()


def test_killed_worker_is_told(tmp_path: Path, workers: Any) -> None:
    reading, writing = os.pipe()
    root = os.open(tmp_path, os.O_RDONLY)

    async def main() -> None:
        async with workers.run(Job(jobs.UNPACK), (root, reading)) as running:
            running._worker.child.kill(signal.SIGKILL)
            with pytest.raises(Internal, match="worker died"):
                await running.result()

    asyncio.run(main())
    for fd in (reading, writing, root):
        os.close(fd)


def test_spare_serves_and_ends(tmp_path: Path) -> None:
    workers = ArchiveWorkers(Spawner())
    given = tmp_path / "given"
    given.write_bytes(archive(f=b"x"))

    async def main() -> None:
        for number in range(3):
            root = tmp_path / str(number)
            root.mkdir()
            fds = [os.open(root, os.O_RDONLY), os.open(given, os.O_RDONLY)]
            done = await workers.call(Job(jobs.UNPACK), fds)
            assert done.entries == 1
            for fd in fds:
                os.close(fd)
        spare = workers._spare
        assert spare is not None
        workers.close()
        assert spare.child.status == -signal.SIGKILL

    asyncio.run(main())


def test_cp_rules(tmp_path: Path, wait: Any) -> None:
    """noOverwriteDirNonDir and copyUIDGID of the archive endpoint."""
    root = tmp_path / "root"
    (root / "d" / "x").mkdir(parents=True)
    (root / "d" / "x" / "keep").touch()
    copy = ContainerCopy(Spawner(), spare=False)
    files = ContainerFiles("c", str(root))

    async def stream() -> AsyncIterator[bytes]:
        yield archive(x=b"file")

    with pytest.raises(InvalidParameter, match='directory "/d/x" with non-directory "/d"'):
        wait(copy.put_archive(files, "/d", stream(), no_overwrite_dir_non_dir=True))
    assert (root / "d" / "x" / "keep").exists()
    wait(copy.put_archive(files, "/d", stream(), owner=(12, 34)))
    found = os.stat(root / "d" / "x")
    assert (found.st_uid, found.st_gid, found.st_size) == (12, 34, 4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount_tmpfs(str(folder), "size=6m,mode=700")
    yield folder
    unmount(str(folder))


def test_full_disk(small_disk: Path, tmp_path: Path, workers: Any, wait: Any) -> None:
    """A clear error, nothing left behind, and what fits still works; removal always does."""
    snapshots = Snapshots(str(small_disk / "s"), workers)
    given = tmp_path / "given"

    def apply(data: bytes) -> Any:
        given.write_bytes(data)
        with open(given, "rb") as file:
            return wait(snapshots.apply_layer(None, None, None, file.fileno()))

    small = apply(archive(f=os.urandom(1 << 20)))
    free = os.statvfs(small_disk).f_bavail
    with pytest.raises(Internal, match="no space left"):
        apply(archive(g=os.urandom(8 << 20)))
    assert os.statvfs(small_disk).f_bavail == free
    wait(snapshots.create("c", small.chain_id))
    with open(os.path.join(snapshots.upper_dir("c"), "big"), "wb") as file:
        file.write(os.urandom(3 << 20))
    with pytest.raises(Internal, match="no space left"):
        wait(snapshots.commit("c"))
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1 << 16))
    assert snapshots.keys() == ["c"]
    wait(snapshots.remove("c"))
    wait(snapshots.remove_layer(small.chain_id))
    assert snapshots.layers() == []
    assert os.listdir(small_disk / "s" / "tmp") == []


def test_inodes_run_out(tmp_path: Path, workers: Any, wait: Any) -> None:
    """An archive of countless empty files leaves some inodes to everybody else."""
    folder = tmp_path / "few"
    folder.mkdir()
    mount_tmpfs(str(folder), "size=64m,nr_inodes=10000,mode=700")
    try:
        snapshots = Snapshots(str(folder / "s"), workers)
        given = tmp_path / "given"
        given.write_bytes(archive(**{f"f{number}": b"" for number in range(15_000)}))
        free = os.statvfs(folder).f_favail
        with open(given, "rb") as file, pytest.raises(Internal, match="no space left"):
            wait(snapshots.apply_layer(None, None, None, file.fileno()))
        assert os.statvfs(folder).f_favail == free
    finally:
        unmount(str(folder))


_ENGINE = """
import asyncio, os, sys
from naru.kernel.spawn import Spawner
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.snapshots import Snapshots

class Told(ArchiveWorkers):
    def _start(self):
        worker = super()._start()
        print(worker.child.pid, flush=True)
        return worker

async def main():
    snapshots = Snapshots(sys.argv[1], Told(Spawner(), spare=False))
    await snapshots.apply_layer(None, None, None, int(sys.argv[2]))

asyncio.run(main())
"""


def test_worker_dies_with_its_engine(tmp_path: Path, workers: Any) -> None:
    """An unpacking that nobody waits for any more does not go on, nor stop the next start."""
    reading, writing = os.pipe()
    root = str(tmp_path / "root")
    engine = subprocess.Popen(
        [sys.executable, "-c", _ENGINE, root, str(reading)],
        stdout=subprocess.PIPE, pass_fds=[reading],
    )  # fmt: skip
    os.close(reading)
    assert engine.stdout is not None
    worker = os.pidfd_open(int(engine.stdout.readline()))
    data = archive(big=b"x" * 3_000_000)
    os.write(writing, data[:60_000])
    engine.kill()
    engine.communicate()
    poller = select.poll()
    poller.register(worker, select.POLLIN)
    assert poller.poll(10_000), "the worker outlived its engine"
    again = Snapshots(root, workers)
    assert os.listdir(again._tmp_dir) == []
    for fd in (worker, writing):
        os.close(fd)
