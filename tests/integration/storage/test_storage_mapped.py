"""Snapshots and copies seen with the ids of a user namespace: on disk and in archives they stay."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from naru.base.idmap import IdMap, IdRange
from naru.kernel import userns
from naru.kernel.cgroup import detect
from naru.kernel.spawn import Spawner
from naru.kernel.userns import Mapped
from naru.kernel.view import ViewMount
from naru.storage.copy.service import ContainerCopy, ContainerFiles
from naru.storage.snapshots import Snapshots

pytestmark = pytest.mark.root

BASE = 700_000
MAP = IdMap((IdRange(0, BASE, 65_536),), (IdRange(0, BASE, 65_536),))
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def archive(**owners: int) -> bytes:
    """Files, one for each name, of these users; those called `cap…` may bind low ports."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, owner in owners.items():
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.mode, info.mtime = owner, owner + 1, 0o600, 1_600_000_000
            if name.startswith("cap"):
                text = CAPABILITY.decode("utf-8", "surrogateescape")
                info.pax_headers = {"SCHILY.xattr.security.capability": text}
            tar.addfile(info)
    return out.getvalue()


def owners(data: bytes) -> dict[str, tuple[int, int]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {item.name.removeprefix("./"): (item.uid, item.gid) for item in tar}


@pytest.fixture
def mapped() -> Iterator[Mapped]:
    spawner = Spawner()
    made = userns.open_userns(spawner, MAP)
    yield made
    os.close(made.fd)
    spawner.close()


@pytest.fixture
def root(
    apply: Any, snapshots: Snapshots, wait: Any, mapped: Mapped, tmp_path: Path
) -> Iterator[Path]:
    """A mapped snapshot on a layer with files of the users 0 and 7."""
    layer = apply(archive(plain=0, seven=7, cap=0))
    wait(snapshots.create("c", layer.chain_id))
    target, staging = tmp_path / "root", tmp_path / "staging"
    target.mkdir()
    staging.mkdir()
    snapshots.mount("c", str(target), mapped, str(staging))
    yield target
    snapshots.unmount(str(target))


def copying(work: Any) -> Any:
    async def main() -> Any:
        spawner = Spawner(hybrid=detect().hybrid)
        copy = ContainerCopy(spawner, spare=False)
        try:
            return await asyncio.wait_for(work(copy), 60)
        finally:
            copy.close()
            spawner.close()

    return asyncio.run(main())


def put(files: ContainerFiles, path: str, data: bytes) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    copying(lambda copy: copy.put_archive(files, path, stream()))


def get(files: ContainerFiles, path: str) -> bytes:
    async def work(copy: ContainerCopy) -> bytes:
        _, pieces = await copy.get_archive(files, path)
        return b"".join([piece async for piece in pieces])

    return bytes(copying(work))


def test_mapped_in_the_mount_and_not_below_it(
    root: Path, snapshots: Snapshots, wait: Any, mapped: Mapped
) -> None:
    assert os.stat(root / "seven").st_uid == BASE + 7
    assert os.stat(root / "etc").st_uid == BASE
    userns.as_root_of(MAP, (root / "made").touch)
    upper = Path(snapshots.upper_dir("c"))
    assert os.stat(upper / "made").st_uid == 0
    assert [change.path for change in wait(snapshots.changes("c"))] == ["/made"]
    layer = wait(snapshots.commit("c"))
    wait(snapshots.create("plain", layer.chain_id))
    assert os.stat(Path(snapshots.lower_dirs("plain")[1]) / "made").st_uid == 0

    async def export() -> bytes:
        return b"".join([piece async for piece in snapshots.export(str(root), mapped)])

    exported = wait(export())
    found = owners(exported)
    assert found["seven"] == (7, 8)
    assert found["plain"] == (0, 1)
    assert found["made"] == (0, 0)
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        kept = tar.getmember("cap").pax_headers["SCHILY.xattr.security.capability"]
    assert kept.encode("utf-8", "surrogateescape") == CAPABILITY


def test_copies_have_the_containers_ids(
    root: Path, snapshots: Snapshots, mapped: Mapped, tmp_path: Path
) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "bind").mkdir()
    (tmp_path / "bind" / "roots").touch()
    files = ContainerFiles(
        "box",
        str(root),
        (
            ViewMount("/new/volume", str(tmp_path / "volume"), True, mapped=True),
            ViewMount("/bind", str(tmp_path / "bind"), True),
        ),
        mapped=mapped,
    )
    assert owners(get(files, "/seven")) == {"seven": (7, 8)}
    put(files, "/", archive(five=5))
    put(files, "/new/volume", archive(six=6))
    found = os.stat(Path(snapshots.upper_dir("c")) / "five")
    assert (found.st_uid, found.st_gid) == (5, 6)
    assert os.stat(Path(snapshots.upper_dir("c")) / "new" / "volume").st_uid == 0
    found = os.stat(tmp_path / "volume" / "six")
    assert (found.st_uid, found.st_gid) == (6, 7)
    assert owners(get(files, "/new/volume/six")) == {"six": (6, 7)}
    assert owners(get(files, "/bind/roots")) == {"roots": (65_534, 65_534)}
    with pytest.raises(Exception, match="ermission denied"):
        put(files, "/bind", archive(mine=0))
    assert os.listdir(tmp_path / "bind") == ["roots"]
