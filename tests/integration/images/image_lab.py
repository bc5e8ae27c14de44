"""An image store in a temporary folder, for tests and for the processes that they kill.

Run as a program it does one operation: `image_lab.py ROOT OPERATION ARCHIVE`.
"""

import asyncio
import io
import os
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from naru.images.create import CommitRequest
from naru.images.model import ImageUse
from naru.images.service import ImageService
from naru.kernel.spawn import Spawner
from naru.spec.engine.container_config import ContainerConfig
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.content import Content
from naru.storage.metadata import Database
from naru.storage.snapshots import Snapshots

DEADLINE_S = 60.0


class Lab:
    """The services; `events` collects what they tell, `users` says which image is in use."""

    def __init__(self, root: str) -> None:
        self.events: list[tuple[str, str, str, dict[str, str]]] = []
        self.users: dict[str, list[ImageUse]] = {}
        self.workers = ArchiveWorkers(Spawner(), spare=False)
        self.db = Database.open(os.path.join(root, "db", "metadata"))
        self.content = Content(os.path.join(root, "content"))
        self.snapshots = Snapshots(os.path.join(root, "snapshots"), self.workers)
        self.images = ImageService(
            self.db, self.content, self.snapshots, lambda *event: self.events.append(event)
        )
        self.images.bind_users(lambda image_id: self.users.get(image_id, ()))

    async def close(self) -> None:
        await self.db.close()
        self.workers.close()

    async def load(self, archive: bytes, **options: Any) -> list[dict[str, Any]]:
        return [m async for m in self.images.load(chunked(archive), **options)]

    async def import_(self, archive: bytes, **options: Any) -> str:
        messages = [m async for m in self.images.import_(chunked(archive), **options)]
        return str(messages[-1]["status"])

    async def save(self, *names: str) -> bytes:
        return b"".join([piece async for piece in self.images.save(names)])

    async def commit(self, container_id: str, image: str, **options: Any) -> str:
        request = CommitRequest(
            container_id=container_id,
            image=self.images.resolve(image),
            config=ContainerConfig(cmd=["sh"]),
            command=("sh",),
        )
        return await self.images.commit(request, **options)

    def names(self) -> set[str]:
        return {name for entry in self.images.list({}) for name in entry["RepoTags"]}


async def chunked(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for position in range(0, len(data), size):
        yield data[position : position + size]


def run_lab(root: Path | str, work: Callable[[Lab], Awaitable[Any]]) -> Any:
    """What `work` makes of a lab in `root`."""

    async def main() -> Any:
        lab = Lab(str(root))
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await work(lab)
        finally:
            await lab.close()

    return asyncio.run(main())


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    """The regular files of an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {}
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            if file is not None:
                files[info.name] = file.read()
        return files


async def operate(lab: Lab, operation: str, archive: bytes) -> None:
    """One operation on a lab that has the image `base:1` and the snapshot `box` on it."""
    if operation == "load":
        await lab.load(archive)
    elif operation == "import":
        await lab.import_(archive, repository="fresh", tag="1")
    elif operation == "commit":
        await lab.commit("box", "base:1", repository="fresh", tag="1")
    elif operation == "tag":
        await lab.images.tag("base:1", "fresh", "1")
    elif operation == "remove":
        await lab.images.remove("base:1", force=True)
    else:
        raise ValueError(operation)


if __name__ == "__main__":
    path, wanted, source = sys.argv[1:]
    body = Path(source).read_bytes()
    run_lab(path, lambda lab: operate(lab, wanted, body))
