"""What is done with a volume's tree from outside of it: counted, and filled from an image."""

import os

from naru.kernel.files import open_in_root
from naru.storage.tree_copy import copy_tree


def tree_bytes(path: str) -> int:
    """Bytes of all files below, each inode once. What vanishes meanwhile is not counted."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, _, files, folder in os.fwalk(path, follow_symlinks=False):
        for name in files:
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_size
    return total


def copy_up(path: str, rootfs: str, destination: str) -> None:
    """Give the empty directory `path` what the root file system has at `destination`, if anything.

    Raises: OSError.
    """
    if os.listdir(path):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            source = open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                copy_tree(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
    finally:
        os.close(root)
