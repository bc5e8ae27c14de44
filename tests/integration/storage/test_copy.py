"""Copying into and out of a container's files; what is wanted was read off Docker 28.5."""

import asyncio
import gzip
import io
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import InvalidParameter, NotFound
from naru.kernel import syscalls
from naru.kernel.cgroup import detect
from naru.kernel.mount import mounts_below
from naru.kernel.spawn import Spawner
from naru.kernel.view import ViewMount
from naru.storage.copy.service import ContainerCopy, ContainerFiles

pytestmark = pytest.mark.root

_RENAME_EXCHANGE = 2
_NR_RENAMEAT2 = 316


@pytest.fixture
def files(tmp_path: Path) -> ContainerFiles:
    """A container with a volume on /vol, a read-only bind on /vol/ro and a bound file."""
    root = tmp_path / "root"
    (root / "d/e").mkdir(parents=True)
    (root / "d/f").write_text("x\n")
    (root / "out").mkdir()
    os.symlink("/d", root / "l")
    os.symlink("f", root / "d/lf")
    os.symlink("/nosuch", root / "broken")
    os.mkfifo(root / "p")
    for name in ("vol", "ro"):
        (tmp_path / name).mkdir()
    (tmp_path / "hosts").write_text("127.0.0.1")
    mounts = (
        ViewMount("/vol/ro", str(tmp_path / "ro"), False),
        ViewMount("/vol", str(tmp_path / "vol"), True),
        ViewMount("/etc/hosts", str(tmp_path / "hosts"), True),
    )
    return ContainerFiles("box", str(root), mounts)


def run(work: Callable[[ContainerCopy], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        spawner = Spawner(hybrid=detect().hybrid)
        copy = ContainerCopy(spawner, spare=False)
        try:
            async with asyncio.timeout(60):
                return await work(copy)
        finally:
            copy.close()
            spawner.close()

    return asyncio.run(main())


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for position in range(0, len(data), 1 << 16):
        yield data[position : position + (1 << 16)]


def tar_of(*names: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            data = b"new" if kind == tarfile.REGTYPE else b""
            info.size, info.uid, info.gid, info.type = len(data), 7, 8, kind
            info.linkname = link
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def names(copy: ContainerCopy, files: ContainerFiles, path: str) -> list[str]:
    _, pieces = await copy.get_archive(files, path)
    data = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [info.name + ("/" if info.isdir() else "") for info in tar]


def test_stat_follows_dockers_rules(files: ContainerFiles) -> None:
    directory, link = 1 << 31 | 0o755, 1 << 27 | 0o777
    wanted = {
        "/d": ("d", directory, ""),
        "/d/": ("d", directory, ""),
        "/d/.": (".", directory, ""),
        "/l": ("l", link, "/d"),
        "/l/": ("l", directory, ""),
        "/l/.": (".", directory, ""),
        "/d/lf": ("lf", link, "/d/f"),
        "/broken": ("broken", link, "/nosuch"),
        "/d/f": ("f", 0o644, ""),
        "/p": ("p", 1 << 25 | 0o644, ""),
        "/": ("/", directory, ""),
        ".": (".", directory, ""),
        "../d": ("d", directory, ""),
        "/vol/ro": ("ro", directory, ""),
        "/etc/hosts": ("hosts", 0o644, ""),
    }

    async def work(copy: ContainerCopy) -> None:
        for path, told in wanted.items():
            found = await copy.stat_path(files, path)
            assert (found.name, found.mode, found.link_target) == told, path
        for path in ("/nosuch", "/nosuch/", "/d/f/"):
            with pytest.raises(NotFound) as caught:
                await copy.stat_path(files, path)
            assert caught.value.message == f"Could not find the file {path} in container box"
        for path in ("", "/a\0b"):
            with pytest.raises(InvalidParameter):
                await copy.stat_path(files, path)

    run(work)
    assert mounts_below(os.path.dirname(files.rootfs)) == []


def test_archives_are_named_as_docker_names_them(files: ContainerFiles) -> None:
    async def work(copy: ContainerCopy) -> None:
        assert await names(copy, files, "/d") == ["d/", "d/e/", "d/f", "d/lf"]
        assert await names(copy, files, "/d/.") == ["./", "./e/", "./f", "./lf"]
        assert await names(copy, files, "/l") == ["l"]
        assert await names(copy, files, "/l/") == ["l/", "l/e/", "l/f", "l/lf"]
        assert await names(copy, files, "/d/f") == ["f"]
        assert await names(copy, files, "/vol") == ["vol/", "vol/ro/"]
        assert (await names(copy, files, "/"))[1:3] == ["/broken", "/d/"]

    run(work)


def test_put_writes_where_it_should(files: ContainerFiles, tmp_path: Path) -> None:
    async def work(copy: ContainerCopy) -> None:
        await copy.put_archive(files, "/out", chunks(tar_of("a", "b/c")))
        made = os.stat(tmp_path / "root/out/a")
        assert (made.st_uid, made.st_gid) == (7, 8)
        await copy.put_archive(files, "/out/", chunks(gzip.compress(tar_of("g"))), owner=(5, 6))
        assert os.stat(tmp_path / "root/out/g").st_uid == 5
        await copy.put_archive(files, "/l", chunks(tar_of("through")))
        assert (tmp_path / "root/d/through").exists()
        await copy.put_archive(files, "/vol", chunks(tar_of("v")))
        assert (tmp_path / "vol/v").exists()
        await copy.put_archive(files, "/etc", chunks(tar_of("new")))
        assert (tmp_path / "root/etc/new").exists()

    run(work)


def test_put_refuses_in_dockers_words(files: ContainerFiles, tmp_path: Path) -> None:
    read_only = ContainerFiles("box", files.rootfs, files.mounts, read_only=True)
    cases = [
        (files, "/nosuch", NotFound, "Could not find the file /nosuch in container box"),
        (files, "/broken", NotFound, "Could not find the file /broken in container box"),
        (files, "/d/f", InvalidParameter, "extraction point is not a directory"),
        (files, "/vol/ro", InvalidParameter, "mounted volume is marked read-only"),
        (read_only, "/out", InvalidParameter, "container rootfs is marked read-only"),
    ]

    async def work(copy: ContainerCopy) -> None:
        for where, path, kind, text in cases:
            with pytest.raises(kind) as caught:
                await copy.put_archive(where, path, chunks(tar_of("a")))
            assert caught.value.message == text
        with pytest.raises(InvalidParameter, match="cannot overwrite directory"):
            await copy.put_archive(files, "/", chunks(tar_of("d")), no_overwrite_dir_non_dir=True)
        with pytest.raises(InvalidParameter, match="cannot overwrite non-directory"):
            archive = tar_of("f", kind=tarfile.DIRTYPE)
            await copy.put_archive(files, "/d", chunks(archive), no_overwrite_dir_non_dir=True)
        await copy.put_archive(read_only, "/vol", chunks(tar_of("ok")))
        assert (tmp_path / "vol/ok").exists()

    run(work)


def test_hostile_archives_stay_inside(files: ContainerFiles, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(str(outside), tmp_path / "root/abs")
    os.symlink("../" * 20 + str(outside)[1:], tmp_path / "root/rel")

    async def work(copy: ContainerCopy) -> None:
        for path in ("/abs", "/rel"):
            with pytest.raises(NotFound):
                await copy.put_archive(files, path, chunks(tar_of("canary")))
        for archive in (
            tar_of("../../../canary"),
            tar_of(f"{outside}/canary"),
            tar_of("hard", kind=tarfile.LNKTYPE, link="/etc/passwd"),
            b"nonsense" * 1000,
            tar_of("a")[:700],
        ):
            with pytest.raises(InvalidParameter):
                await copy.put_archive(files, "/out", chunks(archive))
        assert os.listdir(outside) == []

    run(work)


def test_links_swapped_meanwhile_never_reach_the_host(
    files: ContainerFiles, tmp_path: Path
) -> None:
    """The container exchanges a directory and a link to a host path all the time."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("host")
    root = tmp_path / "root"
    (root / "swap/in").mkdir(parents=True)
    (root / "swap/in/secret").write_text("container")
    (root / "links").mkdir()
    os.symlink(str(outside), root / "links/in")
    stopped = threading.Event()

    def swap() -> None:
        first, second = bytes(root / "swap/in"), bytes(root / "links/in")
        while not stopped.is_set():
            syscalls.libc.syscall(_NR_RENAMEAT2, -100, first, -100, second, _RENAME_EXCHANGE)

    async def work(copy: ContainerCopy) -> None:
        for _ in range(15):
            try:
                await copy.put_archive(files, "/swap/in", chunks(tar_of("canary")))
                _, pieces = await copy.get_archive(files, "/swap/in/secret")
                data = b"".join([piece async for piece in pieces])
                assert b"container" in data
            except (NotFound, InvalidParameter):
                continue

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        run(work)
    finally:
        stopped.set()
        swapping.join()
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "host"


def test_nothing_of_the_container_is_run_or_loaded(files: ContainerFiles, tmp_path: Path) -> None:
    planted = tmp_path / "root"
    trap = "#!/bin/sh\ntouch /trapped\n"
    for program in ("usr/bin/xz", "bin/gzip", "usr/bin/unpigz", "bin/sh"):
        (planted / program).parent.mkdir(parents=True, exist_ok=True)
        (planted / program).write_text(trap)
        os.chmod(planted / program, 0o755)
    for module in ("encodings/cp437.py", "lzma.py", "usr/lib/python3.11/encodings/cp437.py"):
        (planted / module).parent.mkdir(parents=True, exist_ok=True)
        (planted / module).write_text("open('/trapped', 'w')")

    async def work(copy: ContainerCopy) -> None:
        for mode in ("w:xz", "w:gz", "w:bz2"):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
                tar.addfile(tarfile.TarInfo(f"from-{mode[2:]}"))
            await copy.put_archive(files, "/out", chunks(out.getvalue()))
        assert len(os.listdir(planted / "out")) == 3

    run(work)
    assert not (planted / "trapped").exists()
    assert not Path("/trapped").exists()


def children() -> set[str]:
    """The processes that this one has; those of other tests may still end."""
    lists = Path("/proc/self/task").glob("*/children")
    return {number for path in lists for number in path.read_text().split()}


def test_a_reader_that_goes_away_leaves_no_process(files: ContainerFiles, tmp_path: Path) -> None:
    with open(tmp_path / "root/big", "wb") as big:
        big.truncate(1 << 30)

    async def work(copy: ContainerCopy) -> None:
        before = children()
        _, pieces = await copy.get_archive(files, "/")
        await anext(pieces)
        assert children() - before
        await pieces.aclose()  # type: ignore[attr-defined]
        assert children() - before == set()

    run(work)
