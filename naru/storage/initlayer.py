"""The thin layer between an image and its containers: mount points that every container needs.

It exists once for each image that has containers. Because it is a layer below the container's own,
the mount points count as no change of the container and are in no committed image; because they
are made here, whatever the image has in their place (a link called `/etc/mtab` or `/dev`) is hidden
before any runtime sees it.
"""

import contextlib
import errno
import os
import stat

from naru.storage.archive.changes import Stack

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
_LINKS = (("etc/mtab", "/proc/mounts"),)


def build(folder: str, lowers: list[str]) -> None:
    """Fill the empty directory `folder` for the image with the layers `lowers`, topmost first.

    Raises: OSError.
    """
    root = os.open(folder, _FOLDER)
    stacks = {"": Stack.open(lowers)}
    try:
        for path in _FOLDERS:
            parent, _, name = path.rpartition("/")
            stacks[path] = stacks[parent].enter(name.encode())
            os.mkdir(path, 0o755, dir_fd=root)
        for path in _FILES:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755, dir_fd=root))
            os.chmod(path, 0o755, dir_fd=root)
        for path, target in _LINKS:
            os.symlink(target, path, dir_fd=root)
        for path in reversed(_FOLDERS):
            _dress(root, path, stacks[path].top)
    finally:
        for stack in stacks.values():
            stack.close()
        os.close(root)


def _dress(root: int, path: str, like: int | None) -> None:
    """Give the directory the looks of the image's own."""
    fd = os.open(path, _FOLDER, dir_fd=root)
    try:
        if like is None:
            os.fchmod(fd, 0o755)
            return
        found = os.fstat(like)
        os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
        for attribute in os.listxattr(like):
            if not attribute.startswith("trusted.overlay."):
                with contextlib.suppress(OSError):
                    os.setxattr(fd, attribute, os.getxattr(like, attribute))
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(fd)


def place(temporary: str, final: str) -> None:
    """Move a built layer to its place; one that somebody else built meanwhile is as good."""
    try:
        os.rename(temporary, final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
