"""A container's files: changes, export, commit, and `cp` both ways."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from naru.base.errors import Conflict
from naru.base.undo import run_to_end
from naru.containers import labels
from naru.containers.deps import Deps
from naru.containers.model import Container
from naru.containers.presence import while_present
from naru.images.create import CommitRequest
from naru.images.service import join_reference
from naru.spec.engine.container_config import ContainerConfig
from naru.storage.archive.changes import Change


class Files:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def changes(self, ref: str) -> list[Change]:
        """What the container changed in its image's files. Raises: NotFound."""
        identifier = self._deps.store.find(ref).id
        with while_present(self._deps.store, identifier):
            return await self._deps.snapshots.changes(identifier)

    async def size(self, container: Container) -> tuple[int, int]:
        """(bytes that it wrote, bytes of its whole root file system)."""
        with while_present(self._deps.store, container.id):
            written = await self._deps.snapshots.usage(container.id)
            chain = self._deps.snapshots.parent(container.id)
            below = 0
            while chain is not None:
                layer = self._deps.snapshots.layer(chain)
                below += layer.size_bytes
                chain = layer.parent
            return written, written + below

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """The root file system as a tar. Raises: NotFound, Conflict when it is being removed."""
        container = self._deps.store.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"You cannot export container {container.id} which is being removed")
        self._deps.emit("container", "export", container.id, labels.of_event(container))
        deps = self._deps
        with while_present(deps.store, container.id):
            mapped = await deps.users.of(container.host_config)
            async with deps.roots.visit(container.id, mapped) as rootfs:
                ids = deps.roots.mapped(container.id)
                async for piece in deps.snapshots.export(rootfs, ids):
                    yield piece

    async def commit(
        self,
        ref: str,
        *,
        repository: str = "",
        tag: str = "",
        comment: str = "",
        author: str = "",
        pause: bool = True,
        changes: Sequence[str] = (),
        config: ContainerConfig | None = None,
    ) -> str:
        """The id of a new image of the container's state. Raises: NotFound, Conflict."""
        deps = self._deps
        container = deps.store.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"You cannot commit container {container.id} which is being removed")
        request = CommitRequest(
            container_id=container.id,
            image=deps.images.resolve(container.image_id),
            config=config,
            container_config=container.config,
            command=(container.path, *container.args),
            author=author,
            comment=comment,
            changes=changes,
        )
        paused_here = pause and await self._freeze(container)
        try:
            with while_present(deps.store, container.id):
                image_id = await deps.images.commit(request, repository, tag)
        finally:
            if paused_here:
                await run_to_end(self._thaw(container.id))
        name = join_reference(repository, tag).familiar if repository else ""
        deps.emit(
            "container",
            "commit",
            container.id,
            labels.of_event(container, comment=comment, imageID=image_id, imageRef=name),
        )
        return image_id

    async def _freeze(self, container: Container) -> bool:
        """Whether it is frozen now: one that does not run, or has just ended, needs no pause."""
        if container.state.status != "running":
            return False
        try:
            await self._deps.runtime.pause(container.id)
        except Conflict:
            return False
        return True

    async def _thaw(self, identifier: str) -> None:
        with contextlib.suppress(Conflict):  # it was killed meanwhile
            await self._deps.runtime.resume(identifier)
