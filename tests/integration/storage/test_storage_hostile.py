"""Hostile archives: the host's canary is untouched and the answer is a clear InvalidParameter."""

import asyncio
import contextlib
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from naru.base.errors import InvalidParameter, NaruError
from naru.kernel.files import remove_tree
from naru.kernel.spawn import Spawner
from naru.storage.archive import jobs
from naru.storage.archive.jobs import Job
from naru.storage.archive.writing import encode_records
from naru.storage.copy.service import ContainerCopy, ContainerFiles

pytestmark = pytest.mark.root

REG, LNK, SYM, DIR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
Member = tuple[str, bytes, str, bytes]


def archive(*members: Member, headers: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o777
            info.pax_headers = headers or {}
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory on the host that nothing may touch."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "file").write_text("alive")
    before = _state(folder)
    yield folder
    assert _state(folder) == before
    assert not Path("/naru-canary").exists()


def _state(folder: Path) -> list[Any]:
    paths = [folder, *sorted(folder.iterdir())]
    about = [
        (str(p), os.lstat(p).st_mode, os.lstat(p).st_mtime_ns, os.lstat(p).st_nlink) for p in paths
    ]
    return [about, (folder / "file").read_text()]


def _escapes(canary: str) -> dict[str, bytes]:
    up = "../" * 12
    return {
        "absolute": archive((f"{canary}/file", REG, "", b"dead")),
        "absolute-root": archive(("/naru-canary", REG, "", b"dead")),
        "dots": archive((f"{up}{canary[1:]}/file", REG, "", b"dead")),
        "dots-inside": archive(("a/../../x", REG, "", b"dead")),
        "dots-directory": archive((f"{up}{canary[1:]}", DIR, "", b"")),
        "symlink": archive(("l", SYM, canary, b""), ("l/file", REG, "", b"dead")),
        "symlink-relative": archive(
            ("l", SYM, f"{up}{canary[1:]}", b""), ("l/file", REG, "", b"dead")
        ),
        "symlink-chain": archive(
            ("a", SYM, ".", b""), ("a/b", SYM, "..", b""), ("b/b/c", SYM, "../..", b""),
            ("a/b/c/x", REG, "", b"dead"),
        ),
        "symlink-loop": archive(
            ("a", SYM, "b", b""), ("b", SYM, "a", b""), ("a/x", REG, "", b"dead")
        ),
        "hardlink": archive(("h", LNK, f"{canary}/file", b"")),
        "hardlink-dots": archive(("h", LNK, f"{up}{canary[1:]}/file", b"")),
        "hardlink-missing": archive(("h", LNK, canary[1:] + "/file", b"")),
        "hardlink-through-symlink": archive(
            ("l", SYM, canary, b""), ("h", LNK, "l/file", b""), ("h", REG, "", b"dead")
        ),
        "whiteout-dots": archive((".wh...", REG, "", b"")),
        "whiteout-dot": archive((".wh..", REG, "", b"")),
        "whiteout-nothing": archive(("a/.wh.", REG, "", b"")),
        "whiteout-dots-below": archive(("a/b/.wh...", REG, "", b"")),
        "whiteout-symlink": archive(("l", SYM, canary, b""), ("l/.wh.file", REG, "", b"")),
        "whiteout-opaque": archive(("l", SYM, canary, b""), ("l/.wh..wh..opq", REG, "", b"")),
        "below-whiteout": archive((".wh.x/y", REG, "", b"")),
        "file-as-parent": archive(("f", REG, "", b"1"), ("f/x", REG, "", b"dead")),
        "nul-name": archive(("x", REG, "", b""), headers={"path": "a\0b"}),
        "long-component": archive(("n" * 300, REG, "", b"")),
        "long-path": archive(("d/" * 3000 + "x", REG, "", b"")),
        "negative-size": _with_field(124, b"\xff" + b"\xff" * 11),
        "huge-size": _with_field(124, b"\x80" + b"\xff" * 11),
        "text-size": _with_field(124, b"12x45678901\0"),
        "huge-owner": archive(("x", REG, "", b""), headers={"uid": "99999999999999"}),
        "broken-checksum": b"x" * 1024,
        "no-tar": os.urandom(2048),
        "cut-off": archive(("x", REG, "", b"1" * 5000))[:3000],
        "cut-header": archive(("x", REG, "", b"1" * 512))[:1200],
        "broken-pax-length": _pax(b"999 path=x\n"),
        "broken-pax-form": _pax(b"no number here"),
        "giant-pax": _giant_pax(),
        "endless-extended": _pax(b"9 a=bcde\n") [:1024] * 100,
        "sparse-backwards": archive(
            ("x", REG, "", b"12"),
            headers={"GNU.sparse.size": "9", "GNU.sparse.map": "5,1,0,1"},
        ),
        "sparse-outside": archive(
            ("x", REG, "", b"12"), headers={"GNU.sparse.size": "3", "GNU.sparse.map": "5,2"}
        ),
        "broken-gzip": gzip.compress(b"x" * 100000)[:100] + b"\0" * 500,
        "cut-gzip": gzip.compress(os.urandom(10000))[:5000],
        "broken-zstd": b"\x28\xb5\x2f\xfd" + os.urandom(500),
        "broken-xz": b"\xfd7zXZ\0" + os.urandom(500),
        "broken-bzip2": b"BZh9" + os.urandom(500),
    }  # fmt: skip


def _with_field(at: int, value: bytes) -> bytes:
    data = bytearray(archive(("x", REG, "", b"")))
    data[at : at + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def _header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _pax(records: bytes) -> bytes:
    padded = records + bytes(-len(records) % 512)
    return _header("p", b"x", len(records)) + padded + archive(("x", REG, "", b""))


def _giant_pax() -> bytes:
    records = encode_records([(b"comment", b"x" * (2 << 20))])
    return _pax(records)


NAMES = sorted(_escapes("/canary"))


@pytest.mark.parametrize("name", NAMES)
def test_layer(name: str, canary: Path, apply: Any, snapshots: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        apply(_escapes(str(canary))[name])
    assert 10 < len(caught.value.message) < 500
    assert caught.value.message.isprintable()
    assert snapshots.layers() == []
    assert os.listdir(snapshots._tmp_dir) == []


def put(root: Path, data: bytes, wait: Any, path: str = "/into") -> None:
    """Unpack `data` through the door that `cp` takes."""

    async def stream() -> AsyncIterator[bytes]:
        yield data

    files = ContainerFiles("c", str(root))
    wait(ContainerCopy(Spawner(), spare=False).put_archive(files, path, stream()))


@pytest.mark.parametrize("name", [name for name in NAMES if "whiteout" not in name])
def test_copy(name: str, canary: Path, tmp_path: Path, wait: Any) -> None:
    root = tmp_path / "root"
    (root / "into").mkdir(parents=True)
    with pytest.raises(InvalidParameter):
        put(root, _escapes(str(canary))[name], wait)
    assert not (root / "x").exists()


def test_container_links_stay_inside(canary: Path, tmp_path: Path, wait: Any) -> None:
    """A root whose links point at the host: unpacking follows them within the root only."""
    root = tmp_path / "root"
    (root / "into").mkdir(parents=True)
    inside = root / str(canary)[1:]
    inside.mkdir(parents=True)
    (root / "into" / "l").symlink_to(canary)
    put(root, archive(("l/file", REG, "", b"inside")), wait)
    assert (inside / "file").read_text() == "inside"


def test_overlay_attributes_of_an_archive_are_ignored(apply: Any, snapshots: Any) -> None:
    """An archive cannot redirect a directory to another layer's, nor make itself opaque."""
    forged = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.metacopy": "",
        "SCHILY.xattr.trusted.mine": "kept",
    }
    layer = apply(archive(("d", DIR, "", b""), headers=forged))
    path = snapshots._diff_dirs(layer.chain_id)[0] + "/d"
    assert os.listxattr(path) == ["trusted.mine"]


def test_devices_are_made_but_dead_here(apply: Any, snapshots: Any) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("disk")
        info.type, info.devmajor, info.devminor, info.mode = tarfile.BLKTYPE, 8, 0, 0o660
        tar.addfile(info)
    layer = apply(out.getvalue())
    found = os.lstat(snapshots._diff_dirs(layer.chain_id)[0] + "/disk")
    assert stat.S_ISBLK(found.st_mode)
    assert os.major(found.st_rdev) == 8


def test_nobody_else_enters(apply: Any, snapshots: Any) -> None:
    layer = apply(archive(("x", REG, "", b"")))
    for path in (snapshots._layers_dir, snapshots._layer_dir(layer.chain_id), snapshots._tmp_dir):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def _zeros(compressor: Any, size: int) -> bytes:
    parts = [compressor.compress(_header("zeros", REG, size))]
    block = bytes(1 << 24)
    parts += [compressor.compress(block) for _ in range(size >> 24)]
    return b"".join((*parts, compressor.flush()))


def test_zstd_bomb(canary: Path, apply: Any, snapshots: Any) -> None:
    bomb = _zeros(zstandard.ZstdCompressor(level=3).compressobj(), 4 << 30)
    assert len(bomb) < 1 << 20
    with pytest.raises(InvalidParameter, match="decompression bomb"):
        apply(bomb)
    assert os.listdir(snapshots._tmp_dir) == []


def test_endless_headers(canary: Path, apply: Any, snapshots: Any) -> None:
    """A stream that never comes to an end is ended for it."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    block = _header("x", REG, 0) * 2048
    parts = [compressor.compress(block) for _ in range(100)]
    with pytest.raises(InvalidParameter, match="replaces more than"):
        apply(b"".join((*parts, compressor.flush())))
    assert os.listdir(snapshots._tmp_dir) == []


def test_deep_tree_can_be_removed(apply: Any, snapshots: Any, wait: Any) -> None:
    layer = apply(archive(("d/" * 1500 + "x", REG, "", b"deep")))
    wait(snapshots.remove_layer(layer.chain_id))
    assert not os.path.exists(snapshots._layer_dir(layer.chain_id))
    remove_tree(snapshots._root)


_SWAP = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = (name.encode() for name in sys.argv[1:3])
print("swapping", flush=True)
while True:
    libc.renameat2(-100, one, -100, other, 2)
"""


@pytest.fixture
def swapped(tmp_path: Path, canary: Path) -> Iterator[Path]:
    """A root in which somebody exchanges a directory and a link to the canary, all the time."""
    root = tmp_path / "root"
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "inside").write_text("inside")
    (root / "evil").symlink_to(canary)
    command = [sys.executable, "-c", _SWAP, str(root / "d"), str(root / "evil")]
    swapper = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    swapper.stdout.readline()
    yield root
    swapper.kill()
    swapper.communicate()


def test_unpacking_while_the_container_swaps(swapped: Path, wait: Any) -> None:
    members = [(f"d/sub/../f{n % 7}", REG, "", b"dead") for n in range(200)]
    data = archive(("d", DIR, "", b""), *members, ("d/file", REG, "", b"dead"))
    for _ in range(15):
        with contextlib.suppress(NaruError):  # it may fail; the canary tells whether it escaped
            put(swapped, data, wait, "/")


def test_packing_while_the_container_swaps(swapped: Path, workers: Any) -> None:
    async def pack() -> bytes:
        fd = os.open(swapped, os.O_RDONLY)
        try:
            return b"".join([part async for part in workers.stream(Job(jobs.EXPORT), fd, None)])
        finally:
            os.close(fd)

    for _ in range(15):
        assert b"alive" not in asyncio.run(pack())
