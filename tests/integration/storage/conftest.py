"""Snapshots in a temporary folder, with archive workers that end with the test."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from naru.kernel.files import remove_tree
from naru.kernel.spawn import Spawner
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.layers import AppliedLayer
from naru.storage.snapshots import Snapshots


@pytest.fixture
def workers() -> ArchiveWorkers:
    return ArchiveWorkers(Spawner(), spare=False)


@pytest.fixture
def snapshots(tmp_path: Path, workers: ArchiveWorkers) -> Iterator[Snapshots]:
    yield Snapshots(str(tmp_path / "storage"), workers)
    remove_tree(str(tmp_path / "storage"))  # too deep in places for what pytest has


@pytest.fixture
def apply(snapshots: Snapshots) -> Callable[..., AppliedLayer]:
    """Applies an archive, given as bytes or a path, as a layer."""

    def run(archive: bytes | Path, parent: str | None = None) -> AppliedLayer:
        path = archive if isinstance(archive, Path) else Path(snapshots._root) / "given.tar"
        if isinstance(archive, bytes):
            path.write_bytes(archive)
        fd = os.open(path, os.O_RDONLY)
        try:
            return wait(snapshots.apply_layer(None, parent, None, fd))
        finally:
            os.close(fd)

    return run


def wait(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(main())


@pytest.fixture(name="wait")
def wait_fixture() -> Callable[[Awaitable[Any]], Any]:
    return wait


@pytest.fixture
def rebuilt(snapshots: Snapshots) -> Callable[[str], bytes]:
    """The archive of a layer, made again."""

    def run(chain: str) -> bytes:
        async def main() -> bytes:
            return b"".join([piece async for piece in snapshots.layer_archive(chain)])

        return asyncio.run(main())

    return run
