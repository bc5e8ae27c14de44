"""A directory mounted on itself by us, and taken away by nobody but us.

Mounts below the exec root, and their ends, must reach the runtimes' mount namespaces: so it is a
shared mount of its own. Where the host has mounted something there already, that one is shared.
What was made by us is noted in a file: boot and number of the mount. Only a mount that is the noted
one *and* shows its own directory is taken away: none of the host's, whatever has the number.
"""

import contextlib
import os

from naru.kernel import mount, syscalls
from naru.kernel.files import write_atomic

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def share(path: str, note: str) -> None:
    """Make `path` a shared mount; where that takes a mount of ours, `note` is written before it.

    Idempotent. Raises: OSError.
    """
    path = os.path.realpath(path)
    if mount.mount_at(path) is None:
        fd = syscalls.open_tree(path, syscalls.OPEN_TREE_CLONE)
        try:
            write_atomic(note, f"{_boot()} {_number_of(fd)}\n".encode())
            syscalls.move_mount(fd, path)
        finally:
            os.close(fd)
        mount.set_propagation(path, "private")  # of no peer group of the host's
    mount.make_shared(path)


def take_away(path: str, note: str) -> bool:
    """Unmount what `share` made, unless something is mounted below. Raises: OSError."""
    path = os.path.realpath(path)
    noted = _read(note).split()
    entry = mount.mount_at(path)
    if entry is None or noted != [_boot(), str(entry.mount_id)] or not _shows_itself(entry):
        return False
    if mount.mounts_below(path):
        return False
    mount.unmount(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(note)
    return True


def _shows_itself(entry: mount.MountEntry) -> bool:
    """Whether the mount shows the directory that it is mounted on."""
    below = None
    for other in mount.mount_table():
        if other.mount_id != entry.mount_id and _is_within(entry.target, other.target):
            longer = below is None or len(other.target) >= len(below.target)
            below = other if longer else below
    if below is None or below.device != entry.device:
        return False
    within = os.path.relpath(entry.target, below.target)
    return os.path.normpath(os.path.join(below.root, within)) == entry.root


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _number_of(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name == "mnt_id":
                return int(value)
    raise OSError(f"/proc/self/fdinfo/{fd} has no mnt_id")


def _boot() -> str:
    return _read(_BOOT_ID).strip()


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            return source.read(256)
    except FileNotFoundError:
        return ""
