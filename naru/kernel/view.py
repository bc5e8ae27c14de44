"""A container's files as the container sees them: its root with its mounts, and nothing else.

For a helper process that copies into or out of a container. The engine takes clones of the mounts
(`ViewClones`), attached nowhere, and hands their descriptors over; the helper puts them together in
a mount namespace of its own and stays inside (`enter_view`). The container may run and swap its
directories for links meanwhile: every mount point is opened within the container's root, and
afterwards that root is all there is.
"""

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from naru.kernel import syscalls
from naru.kernel.confine import confine
from naru.kernel.files import open_in_root
from naru.kernel.userns import Mapped, map_tree

_ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 0x02, 0x04, 0x08
_ATTRIBUTES = _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC


@dataclass(frozen=True, slots=True)
class ViewMount:
    """`source`, a host path, is seen at `destination` in the container.

    `subpath`: only this part of it; links on the way lead to places in `source`.
    `mapped`: with the ids of the view's user namespace, unless it is shown so already.
    """

    destination: str
    source: str
    writable: bool
    subpath: str = ""
    mapped: bool = False


class ViewClones:
    """Clones of a container's root and of what is mounted in it; `close` lets go of them."""

    def __init__(
        self, rootfs: str, mounts: Sequence[ViewMount], mapped: Mapped | None = None
    ) -> None:
        """`mounts` as given, an outer one before what lies in it; `mapped` for those that shall be.

        Raises: OSError.
        """
        self.descriptors: list[int] = []
        try:
            self.descriptors.append(_clone(rootfs, recursive=False, writable=True))
            for mount in mounts:
                self.descriptors.append(_clone_of(mount))
                if mount.mapped and mapped is not None:
                    map_tree(self.descriptors[-1], mapped.fd, mount.source)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def __enter__(self) -> "ViewClones":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _clone_of(mount: ViewMount) -> int:
    if not mount.subpath:
        return _clone(mount.source, recursive=True, writable=mount.writable)
    whole = os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        part = open_in_root(whole, mount.subpath, os.O_PATH)
    finally:
        os.close(whole)
    try:
        return _clone(f"/proc/self/fd/{part}", recursive=True, writable=mount.writable)
    finally:
        os.close(part)


def _clone(path: str, *, recursive: bool, writable: bool) -> int:
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    tree = syscalls.open_tree(path, flags)
    attributes = _ATTRIBUTES | (0 if writable else syscalls.MOUNT_ATTR_RDONLY)
    try:
        syscalls.mount_setattr(
            tree, set_attr=attributes, propagation=syscalls.MS_PRIVATE, recursive=recursive
        )
    except BaseException:
        os.close(tree)
        raise
    return tree


def enter_view(
    root: int,
    trees: Sequence[tuple[str, int]],
    keep: Collection[str],
    *,
    read_only: bool,
    user_ns: tuple[int, tuple[int, int]] | None = None,
) -> None:
    """Make the clone `root` with `trees` (destination, clone) this process's whole file system.

    `read_only` holds for the root; a tree was cloned as it shall be. A mount point that is missing
    is made. Only the capabilities `keep` are left. `user_ns`: a user namespace, and the host's ids
    of its root, which this process becomes. To be called before any thread is started; there
    is no way back. Raises: OSError.
    """

    def attach() -> None:
        if user_ns is not None:  # whose the missing mount points become
            syscalls.set_file_ids(*user_ns[1])
        for destination, tree in trees:
            is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            point = _mount_point(root, destination, is_directory)
            try:
                syscalls.move_mount(tree, f"/proc/self/fd/{point}")
            finally:
                os.close(point)
                os.close(tree)
        if read_only:
            attribute = syscalls.MOUNT_ATTR_RDONLY
            syscalls.mount_setattr(root, set_attr=attribute, recursive=False)

    confine(root, keep, attach=attach, user_ns=None if user_ns is None else user_ns[0])


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
