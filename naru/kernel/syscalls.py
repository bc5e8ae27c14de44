"""The C library's and the kernel's calls that Python 3.11 does not offer; nothing but calls.

Each function raises OSError with errno (and the file name where there is one). ctypes releases the
interpreter's lock during a call and keeps errno per thread, so every call may be made in a thread.
"""

import ctypes
import errno
import fcntl
import os
import sys

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_STATX_ATTR_MOUNT_ROOT = 0x2000
AT_RECURSIVE = 0x8000

CLONE_NEWNS = 0x00020000
CLONE_FS = 0x00000200
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_UNBINDABLE = 1 << 17

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_RENAME_EXCHANGE = 2
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_SYMLINKS = 16
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_IDMAP = 0x00100000
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

# Numbers that are the same on every architecture since Linux 5.0.
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_OPENAT2 = 437
_NR_MOUNT_SETATTR = 442

_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 4

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def failure(name: str | bytes | None = None, code: int | None = None) -> OSError:
    """The OSError of the last failed call of this thread."""
    number = ctypes.get_errno() if code is None else code
    text = os.strerror(number)
    return OSError(number, text) if name is None else OSError(number, text, os.fsdecode(name))


def check(result: int, name: str | bytes | None = None) -> int:
    """`result`, or the OSError that -1 stands for."""
    if result < 0:
        raise failure(name)
    return result


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str = "") -> None:
    check(
        libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if fstype is None else fstype.encode(),
            ctypes.c_ulong(flags),
            os.fsencode(data) if data else None,
        ),
        target,
    )


def umount2(target: str, flags: int) -> None:
    check(libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """Of the calling thread alone (a namespace or its file-system state)."""
    check(libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread alone."""
    check(libc.setns(fd, kind))


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    """Opens `path` below `dir_fd` under the `resolve` rules; a lost race (EAGAIN) is repeated.

    Spec: openat2(2).
    """
    name = os.fsencode(path)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(64):
        fd = int(
            libc.syscall(
                ctypes.c_long(_NR_OPENAT2),
                ctypes.c_int(dir_fd),
                name,
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    raise failure(path)


def open_tree(path: str, flags: int) -> int:
    number = ctypes.c_long(_NR_OPEN_TREE)
    return check(
        libc.syscall(number, AT_FDCWD, os.fsencode(path), ctypes.c_uint(flags | os.O_CLOEXEC)), path
    )


def move_mount(mount_fd: int, target: str) -> None:
    number = ctypes.c_long(_NR_MOVE_MOUNT)
    flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)
    check(libc.syscall(number, mount_fd, b"", AT_FDCWD, os.fsencode(target), flags), target)


def mount_setattr(
    fd: int, *, set_attr: int = 0, propagation: int = 0, recursive: bool, userns_fd: int = 0
) -> None:
    attr = _MountAttr(set_attr, 0, propagation, userns_fd)
    flags = ctypes.c_uint(AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0))
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    number = ctypes.c_long(_NR_MOUNT_SETATTR)
    check(libc.syscall(number, fd, b"", flags, ctypes.byref(attr), size))


def set_file_ids(uid: int, gid: int) -> None:
    """Whose the files are that the calling thread makes; its capabilities stay. For good."""
    check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "securebits")
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    if (libc.setfsuid(uid), libc.setfsgid(gid)) != (uid, gid):
        raise failure(None, errno.EPERM)


def fsopen(fstype: str) -> int:
    return check(libc.syscall(ctypes.c_long(_NR_FSOPEN), fstype.encode(), ctypes.c_uint(1)), fstype)


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """One step of configuring what `fsopen` opened; an error carries the kernel's own words."""
    result = libc.syscall(
        ctypes.c_long(_NR_FSCONFIG),
        fs_fd,
        ctypes.c_uint(command),
        None if key is None else key.encode(),
        None if value is None else os.fsencode(value),
        0,
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), _fs_message(fs_fd), value)


def _fs_message(fs_fd: int) -> str:
    code = ctypes.get_errno()
    try:
        text = os.read(fs_fd, 4096).decode(errors="replace").strip()
    except OSError:
        text = ""
    ctypes.set_errno(code)
    return text[2:] if text else os.strerror(code)


def fsmount(fs_fd: int, attributes: int) -> int:
    flags = ctypes.c_uint(1)
    number = ctypes.c_long(_NR_FSMOUNT)
    return check(libc.syscall(number, fs_fd, flags, ctypes.c_uint(attributes)))


def exchange(one: str, other: str) -> None:
    """Each of the two names means afterwards what the other one meant before. Linux 3.15."""
    names = os.fsencode(one), os.fsencode(other)
    flags = ctypes.c_uint(_RENAME_EXCHANGE)
    check(libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], flags), one)


def syncfs(fd: int) -> None:
    check(libc.syncfs(fd))


def is_mount_root(path: str) -> bool:
    """Whether something is mounted on `path` itself. False when it is missing. Linux 5.8."""
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT
    if libc.statx(AT_FDCWD, os.fsencode(path), flags, ctypes.c_uint(0), buffer) < 0:
        if ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise failure(path)
    attributes = int.from_bytes(buffer.raw[8:16], sys.byteorder)
    return bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def duplicate_above(fd: int, least: int) -> int:
    """A copy of `fd` numbered `least` or higher, which no child inherits."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)


def pivot_root(new_root: str, put_old: str) -> None:
    number = ctypes.c_long(155 if os.uname().machine == "x86_64" else 41)
    check(libc.syscall(number, os.fsencode(new_root), os.fsencode(put_old)), new_root)
