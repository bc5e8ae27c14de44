"""Mounting as mount(8) is told to: a file system's type, a device, and words such as `ro,noatime`.

A mount point given here must be one of Naru's own paths.
"""

from collections.abc import Sequence

from naru.kernel import syscalls
from naru.kernel.mount import bind

_SYNCHRONOUS, _DIRSYNC = 16, 128
_NOATIME, _NODIRATIME, _RELATIME, _STRICTATIME = 1024, 2048, 1 << 21, 1 << 24
_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": _SYNCHRONOUS,
    "dirsync": _DIRSYNC,
    "noatime": _NOATIME,
    "nodiratime": _NODIRATIME,
    "relatime": _RELATIME,
    "strictatime": _STRICTATIME,
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
    "private": syscalls.MS_PRIVATE,
    "rprivate": syscalls.MS_PRIVATE | syscalls.MS_REC,
}
_CLEARING = {
    "rw": syscalls.MS_RDONLY,
    "suid": syscalls.MS_NOSUID,
    "dev": syscalls.MS_NODEV,
    "exec": syscalls.MS_NOEXEC,
    "async": _SYNCHRONOUS,
    "atime": _NOATIME,
    "diratime": _NODIRATIME,
    "norelatime": _RELATIME,
    "nostrictatime": _STRICTATIME,
    "defaults": 0,
}
_KINDS = syscalls.MS_BIND | syscalls.MS_REC | syscalls.MS_PRIVATE


def split_words(words: Sequence[str]) -> tuple[int, list[str]]:
    """The flags that `words` stand for, the last one counts, and what the file system is told."""
    flags, data = 0, []
    for word in words:
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word in _CLEARING:
            flags &= ~_CLEARING[word]
        else:
            data.append(word)
    return flags, data


def mount_device(fstype: str, device: str, target: str, words: Sequence[str]) -> None:
    """Mount `device` on `target`: with `bind` among the words, or as a file system.

    Raises: OSError.
    """
    flags, data = split_words(words)
    if flags & syscalls.MS_BIND or fstype == "bind":
        recursive, read_only = bool(flags & syscalls.MS_REC), bool(flags & syscalls.MS_RDONLY)
        bind(device, target, recursive=recursive, read_only=read_only, propagation="rprivate")
        if rest := flags & ~(_KINDS | syscalls.MS_RDONLY):
            again = syscalls.MS_REMOUNT | syscalls.MS_BIND | rest | flags & syscalls.MS_RDONLY
            syscalls.mount(None, target, None, again)
        return
    syscalls.mount(device, target, fstype, flags & ~_KINDS, ",".join(data))
