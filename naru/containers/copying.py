"""`cp` in both directions: a container's files as a client names them, volumes and binds included.

Spec: Engine API 1.51, ContainerArchive, ContainerArchiveInfo, PutContainerArchive.
"""

import contextlib
import os
from collections.abc import AsyncIterator

from naru.base.errors import Conflict, InvalidParameter
from naru.base.ids import new_id
from naru.containers import labels
from naru.containers.deps import Deps
from naru.containers.image_mounts import key_of
from naru.containers.model import Container
from naru.containers.presence import while_present
from naru.kernel.threads import offload
from naru.kernel.view import ViewMount
from naru.runtime.user import resolve_user
from naru.storage.copy.service import ContainerCopy, ContainerFiles
from naru.storage.copy.stat import PathStat


class Copying:
    def __init__(self, deps: Deps, copy: ContainerCopy) -> None:
        self._deps, self._copy = deps, copy

    async def stat(self, ref: str, path: str) -> PathStat:
        """Raises: NotFound for container or path, InvalidParameter."""
        container = self._find(ref, path)
        async with self._view(container, ref) as files:
            return await self._copy.stat_path(files, path)

    async def get(self, ref: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """What is there, and its tar, to be read to the end or closed. Raises: NotFound."""
        container = self._find(ref, path)
        stack = contextlib.AsyncExitStack()
        try:
            files = await stack.enter_async_context(self._view(container, ref))
            stat, pieces = await self._copy.get_archive(files, path)
        except BaseException:
            await stack.aclose()
            raise
        self._emit("archive-path", container)
        return stat, _until_the_end(stack, pieces)

    async def put(
        self,
        ref: str,
        path: str,
        stream: AsyncIterator[bytes],
        *,
        copy_owner: bool = False,
        no_overwrite_dir_non_dir: bool = False,
    ) -> None:
        """Unpack a tar into the directory `path`; `copy_owner`: it belongs to the container's user.

        Raises: NotFound, InvalidParameter (no directory, read-only, a bad archive).
        """
        container = self._find(ref, path)
        async with self._view(container, ref) as files:
            owner = None
            if copy_owner and container.config.user:
                owner = await offload(_owner, files.rootfs, container.config.user)
            await self._copy.put_archive(
                files,
                path,
                stream,
                owner=owner,
                no_overwrite_dir_non_dir=no_overwrite_dir_non_dir,
            )
        self._emit("extract-to-dir", container)

    def close(self) -> None:
        self._copy.close()

    def _find(self, ref: str, path: str) -> Container:
        if not path:
            raise InvalidParameter("bad parameter: path cannot be empty")
        container = self._deps.store.find(ref)
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"container {container.id} is being removed: its files are gone")
        return container

    @contextlib.asynccontextmanager
    async def _view(self, container: Container, ref: str) -> AsyncIterator[ContainerFiles]:
        """The root file system mounted, and the host paths of its volumes and binds."""
        deps = self._deps
        async with contextlib.AsyncExitStack() as held:
            held.enter_context(while_present(deps.store, container.id))
            mapped = await deps.users.of(container.host_config)
            rootfs = await held.enter_async_context(deps.roots.visit(container.id, mapped))
            mapped = deps.roots.mapped(container.id)
            token = new_id()
            mounts = []
            for number, mount in enumerate(container.mounts):
                source, subpath = mount.source, mount.subpath
                if mount.type == "image":
                    visit = deps.image_mounts.visit(key_of(container.id, number), mapped)
                    source = await held.enter_async_context(visit)
                if mount.type == "volume" and deps.volumes.get(mount.name).options:
                    held.push_async_callback(deps.volumes.release, mount.name, token)
                    source = await deps.volumes.acquire(mount.name, token)
                elif mount.type == "volume":  # nothing to mount: its removal need not wait for us
                    source = deps.volumes.data_dir(mount.name)
                bound = os.path.join(deps.settings.subpath_dir(container.id), str(number))
                is_bound = mount.type == "volume" and os.path.exists(bound)
                if is_bound:  # as the run has it, with its ids
                    source, subpath = bound, ""
                if mount.type != "tmpfs" and os.path.exists(source):
                    mounts.append(
                        ViewMount(
                            mount.destination,
                            source,
                            writable=mount.rw,
                            subpath=subpath,
                            mapped=mount.type == "volume" and not is_bound,
                        )
                    )
            mounts += self._engine_files(container)
            yield ContainerFiles(
                name=ref.removeprefix("/"),
                rootfs=rootfs,
                mounts=tuple(mounts),
                read_only=container.host_config.readonly_rootfs,
                mapped=mapped,
            )

    def _engine_files(self, container: Container) -> list[ViewMount]:
        """/etc/hosts and its like, which the engine writes, while they are mounted."""
        if container.state.status not in ("running", "paused"):
            return []
        joined = container.host_config.network_mode.partition("container:")[2]
        directory = self._deps.settings.container_dir(joined or container.id)
        own = {mount.destination for mount in container.mounts}
        return [
            ViewMount(path, source, writable=not container.host_config.readonly_rootfs)
            for name in ("hosts", "hostname", "resolv.conf")
            if (path := f"/etc/{name}") not in own
            and os.path.exists(source := os.path.join(directory, name))
        ]

    def _emit(self, action: str, container: Container) -> None:
        self._deps.emit("container", action, container.id, labels.of_event(container))


async def _until_the_end(
    stack: contextlib.AsyncExitStack, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in pieces:
            yield piece


def _owner(rootfs: str, user: str) -> tuple[int, int]:
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = resolve_user(root_fd, user)
        return found.uid, found.gid
    finally:
        os.close(root_fd)
