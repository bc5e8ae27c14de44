"""Device nodes that are nobody else's."""

import os
import stat

from naru.kernel import syscalls

_ATTR_NOSUID, _ATTR_NOEXEC = 0x02, 0x08
_NULL = os.makedev(1, 3)


def open_null() -> int:
    """A descriptor of a null device on a file system of its own, which goes when it is closed.

    Whoever is given the host's /dev/null as stdio may come to own it: runtimes give a workload's
    stdio to the workload's user, and an owner may change the mode. Raises: OSError.
    """
    fs_fd = syscalls.fsopen("tmpfs")
    try:
        syscalls.fsconfig(fs_fd, syscalls.FSCONFIG_CMD_CREATE)
        folder = syscalls.fsmount(fs_fd, _ATTR_NOSUID | _ATTR_NOEXEC)
    finally:
        os.close(fs_fd)
    try:
        os.mknod("null", stat.S_IFCHR | 0o666, _NULL, dir_fd=folder)
        fd = os.open("null", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
    os.fchmod(fd, 0o666)
    return fd
