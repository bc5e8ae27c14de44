"""Shutting the calling process into one directory, for work on hostile data.

Afterwards there is no other file system in view, no network, no device can be opened, no program
started with more privilege, and only the named capabilities are left. There is no way back.
"""

import ctypes
import os
from collections.abc import Callable, Collection

from naru.kernel import syscalls, userns

CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
    "SETFCAP": 31,
}
_CLONE_NEWIPC = 0x08000000
_ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 0x02, 0x04, 0x08
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def detached_root(directory_fd: int, *, read_only: bool = False, recursive: bool = False) -> int:
    """A descriptor of a mount of the directory that is attached nowhere: the root for `confine`.

    Devices and set-user-ID bits are dead in it. `recursive` takes the mounts below along.
    Raises: OSError.
    """
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    tree = syscalls.open_tree(f"/proc/self/fd/{directory_fd}", flags)
    attributes = _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC
    if read_only:
        attributes |= syscalls.MOUNT_ATTR_RDONLY
    try:
        syscalls.mount_setattr(
            tree, set_attr=attributes, propagation=syscalls.MS_PRIVATE, recursive=recursive
        )
    except BaseException:
        os.close(tree)
        raise
    return tree


def confine(
    root: int,
    keep: Collection[str],
    *,
    attach: Callable[[], None] = lambda: None,
    user_ns: int | None = None,
) -> None:
    """Make `root`, of `detached_root`, this process's `/` and drop every capability but `keep`.

    `attach` may mount on it before the rest of the host is let go. `user_ns`: a user namespace
    whose root this process becomes; its capabilities count there only. To be called before any
    thread is started; closes `root`. Raises: OSError.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | _CLONE_NEWIPC)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.move_mount(root, "/")
    os.fchdir(root)
    attach()
    os.close(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    if user_ns is not None:
        userns.enter(user_ns)
        os.close(user_ns)
    drop_capabilities(keep)


def drop_capabilities(keep: Collection[str]) -> None:
    """Keep only the named capabilities, for good. Of the calling thread. Raises: OSError."""
    syscalls.check(syscalls.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    mask = sum(1 << CAPABILITIES[name] for name in keep)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    low = _CapabilitySet(mask & 0xFFFFFFFF, mask & 0xFFFFFFFF, 0)
    high = _CapabilitySet(mask >> 32, mask >> 32, 0)
    sets = (_CapabilitySet * 2)(low, high)
    syscalls.check(syscalls.libc.capset(ctypes.byref(header), ctypes.byref(sets)), "capset")
