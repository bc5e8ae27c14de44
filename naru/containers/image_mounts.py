"""Mounts of images: the files of an image, read-only, in a container made from another one.

Each is pinned by a snapshot on the image's layers, so that removing the image by force takes
nothing away from the container. It is mounted for a run, and for whoever looks into a stopped
container.
"""

import os
from functools import partial

from msgspec.structs import replace

from naru.base.undo import Undo
from naru.containers.model import Container
from naru.containers.rootfs import RootMounts
from naru.images.service import ImageService
from naru.kernel.mount import mount_overlay
from naru.kernel.userns import Mapped, mount_overlay_mapped


def key_of(container_id: str, number: int) -> str:
    """The snapshot that pins the mount at `number` of the container's mounts."""
    return f"{container_id}.{number}"


def keys_of(container: Container) -> list[str]:
    return [
        key_of(container.id, number)
        for number, mount in enumerate(container.mounts)
        if mount.type == "image"
    ]


class ImageMounts(RootMounts):
    """Below `folder`, one directory per image mount while it is mounted."""

    def path(self, container_id: str) -> str:
        return os.path.join(self._folder, container_id)

    def _mount(self, container_id: str, mapped: Mapped | None) -> None:
        target = self.path(container_id)
        os.makedirs(target, mode=0o700, exist_ok=True)
        _, *layers = self._snapshots.lower_dirs(container_id)  # without the init layer
        lowers = layers or [self._snapshots.upper_dir(container_id)]
        if mapped is None:
            mount_overlay(target, lowers, None, None, read_only=True)
            return
        staging = f"{target}.layers"
        os.makedirs(staging, mode=0o700, exist_ok=True)
        try:
            mount_overlay_mapped(
                target, os.path.commonpath(lowers), staging, lowers, None, None, mapped
            )
        finally:
            os.rmdir(staging)

    async def pin(self, container: Container, images: ImageService, undo: Undo) -> Container:
        """The container with its mounts' images resolved. Raises: NotFound (image)."""
        mounts = list(container.mounts)
        for number, mount in enumerate(container.mounts):
            if mount.type != "image":
                continue
            image = images.resolve(mount.name)
            key = key_of(container.id, number)
            undo.push(f"image mount {number}", partial(self._snapshots.remove, key))
            with images.hold(image):
                await self._snapshots.create(key, image.top_chain)
            mounts[number] = replace(mount, source=self.path(key), image_id=image.id)
        return replace(container, mounts=tuple(mounts))

    async def unpin(self, container: Container) -> None:
        """Idempotent. The mounts must be released."""
        for key in keys_of(container):
            await self._snapshots.remove(key)

    async def hold_all(self, container: Container, mapped: Mapped | None) -> None:
        for key in keys_of(container):
            await self.hold_for_run(key, mapped)

    async def release_all(self, container: Container) -> None:
        for key in keys_of(container):
            await self.release_run(key)
