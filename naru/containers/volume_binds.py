"""Volumes and images that are not bound as they lie: a part of one, or one seen with other ids."""

import errno
import os
import stat

from naru.base.errors import NotFound, StartFailed
from naru.containers.model import MountPoint
from naru.kernel.files import open_in_root
from naru.kernel.mount import bind
from naru.kernel.userns import Mapped, bind_mapped


def bind_volume(volume: str, mount: MountPoint, target: str, mapped: Mapped | None) -> str:
    """The volume or image, or a part that is found with it as the root, bound where no container
    can exchange it for a link. `mapped`: it is seen with these ids.

    Answers `target`, which is made. Raises: NotFound, StartFailed.
    """
    fd = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if mount.subpath:
            whole, fd = fd, _open_part(fd, volume, mount)
            os.close(whole)
        _make_target(fd, target)
        source = f"/proc/self/fd/{fd}"
        if mapped is None:
            bind(source, target)
            return target
        try:
            bind_mapped(source, target, mapped)
        except OSError as error:
            raise StartFailed(
                f"cannot mount volume {mount.name} in a user namespace: {error.strerror}"
            ) from error
    finally:
        os.close(fd)
    return target


def _open_part(volume_fd: int, volume: str, mount: MountPoint) -> int:
    try:
        return open_in_root(volume_fd, mount.subpath, os.O_PATH)
    except OSError as error:
        kind = NotFound if error.errno == errno.ENOENT else StartFailed
        raise kind(
            f"cannot access path {os.path.join(volume, mount.subpath)}: subpath "
            f"{mount.subpath!r} of {mount.type} {mount.name}: "
            f"{(error.strerror or 'it cannot be opened').lower()}"
        ) from error


def _make_target(source_fd: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(source_fd).st_mode):
        os.makedirs(target, mode=0o700, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o600))
