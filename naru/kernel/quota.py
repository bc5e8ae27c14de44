"""Project quotas: a limit on what a directory holds, where the file system keeps count of projects.

ext4 counts them with the features `quota` and `project` and enforces them when mounted with
`prjquota`; xfs when mounted with `pquota`. A directory's project is inherited by what is made in
it. Needs Linux 5.14 (quotactl_fd). Spec: quotactl(2), FS_IOC_FSSETXATTR.
"""

import ctypes
import errno
import fcntl
import os
import struct

from naru.kernel import syscalls

_NR_QUOTACTL_FD = 443
_PROJECT = 2
_GET_QUOTA, _SET_QUOTA, _X_GET_STATE = 0x800007, 0x800008, 0x5805
_ENFORCED = 1 << 5
_BLOCK_LIMITS_VALID = 1
_BLOCK_BYTES = 1024
# struct if_dqblk: block limits and space, inode limits and number, times, what is valid
_QUOTA = struct.Struct("=QQQQQQQQI4x")
# struct fs_quota_stat begins with a version and the flags
_STATE_BYTES = 80
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
# struct fsxattr: flags, extent size, extents, project, extent size for copies on write
_ATTRIBUTES = struct.Struct("=IIIII8x")
_INHERIT = 0x200


def _call(fd: int, command: int, identifier: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    number = ctypes.c_long(_NR_QUOTACTL_FD)
    code = ctypes.c_uint(command << 8 | _PROJECT)
    syscalls.check(
        syscalls.libc.syscall(number, ctypes.c_uint(fd), code, ctypes.c_uint(identifier), buffer)
    )


def enforced(directory: str) -> bool:
    """Whether the file system of `directory` holds projects to their limits."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    buffer = ctypes.create_string_buffer(b"\x01", _STATE_BYTES)
    try:
        _call(fd, _X_GET_STATE, 0, buffer)
    except OSError:
        return False
    finally:
        os.close(fd)
    return bool(struct.unpack_from("=H", buffer, 2)[0] & _ENFORCED)


def project_of(directory: str) -> int:
    """The project that what is made in `directory` belongs to; 0: none."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        data = fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            return 0
        raise
    finally:
        os.close(fd)
    flags, _, _, project, _ = _ATTRIBUTES.unpack(data)
    return int(project) if flags & _INHERIT else 0


def is_free(directory: str, project: int) -> bool:
    """Whether nothing is counted or limited for `project` on the file system of `directory`."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    buffer = ctypes.create_string_buffer(_QUOTA.size)
    try:
        _call(fd, _GET_QUOTA, project, buffer)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return True
        raise
    finally:
        os.close(fd)
    return not any(_QUOTA.unpack(buffer.raw)[:6])


def limit(directory: str, project: int, size_bytes: int) -> None:
    """Make the empty `directory` the place of `project`, which holds `size_bytes` at most.

    0 takes the limit away. Raises: OSError.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        blocks = -(-size_bytes // _BLOCK_BYTES)
        wanted = _QUOTA.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS_VALID)
        _call(fd, _SET_QUOTA, project, ctypes.create_string_buffer(wanted, _QUOTA.size))
        if size_bytes:
            data = fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
            flags, extent, extents, _, cow = _ATTRIBUTES.unpack(data)
            data = _ATTRIBUTES.pack(flags | _INHERIT, extent, extents, project, cow)
            fcntl.ioctl(fd, _SET_ATTRIBUTES, data)
    finally:
        os.close(fd)
