"""Entering a container's files as the container sees them: its root with its mounts, nothing else.

For a helper process that copies into or out of a container. The container may run and swap its
directories for links meanwhile: every mount point is opened within the container's root, and
afterwards that root is all there is.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from naru.kernel import syscalls
from naru.kernel.confine import drop_capabilities
from naru.kernel.files import open_in_root

_CLONE_NEWIPC = 0x08000000
_ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 0x02, 0x04, 0x08
_ATTRIBUTES = _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC


@dataclass(frozen=True, slots=True)
class ViewMount:
    """`source`, a host path, is seen at `destination` in the container."""

    destination: str
    source: str
    writable: bool


def enter_view(
    root_fd: int, mounts: Sequence[ViewMount], keep: Collection[str], *, read_only: bool
) -> None:
    """Make `root_fd` with `mounts` this process's whole file system, keep only the capabilities.

    `read_only` holds for the root; a mount says itself. A mount point that is missing is made. To
    be called before any thread is started; there is no way back. Raises: OSError.
    """
    os.fchdir(root_fd)
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | _CLONE_NEWIPC)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = syscalls.open_tree(".", syscalls.OPEN_TREE_CLONE)
    syscalls.mount_setattr(
        root, set_attr=_ATTRIBUTES, propagation=syscalls.MS_PRIVATE, recursive=False
    )
    syscalls.move_mount(root, ".")
    os.fchdir(root)
    for mount in sorted(mounts, key=lambda mount: mount.destination.count("/")):
        _attach(root, mount)
    if read_only:
        attribute = syscalls.MOUNT_ATTR_RDONLY
        syscalls.mount_setattr(root, set_attr=attribute, recursive=False)
    os.close(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    drop_capabilities(keep)


def _attach(root: int, mount: ViewMount) -> None:
    tree = syscalls.open_tree(mount.source, syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
    try:
        attributes = _ATTRIBUTES | (0 if mount.writable else syscalls.MOUNT_ATTR_RDONLY)
        syscalls.mount_setattr(
            tree, set_attr=attributes, propagation=syscalls.MS_PRIVATE, recursive=True
        )
        is_directory = os.path.isdir(mount.source)
        point = _mount_point(root, mount.destination, is_directory)
        try:
            syscalls.move_mount(tree, f"/proc/self/fd/{point}")
        finally:
            os.close(point)
    finally:
        os.close(tree)


def _mount_point(root: int, path: str, is_directory: bool) -> int:
    """The mount point itself, made within the root when it is missing."""
    try:
        return open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        parent, _, name = path.rstrip("/").rpartition("/")
        above = _mount_point(root, parent or "/", True)
        try:
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=above)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=above))
        finally:
            os.close(above)
        return open_in_root(root, path, os.O_PATH)
