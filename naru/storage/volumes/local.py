"""The driver `local`: directories below one root, and mounts that exist while they are used.

    <root>/NAME/_data     the data; with a device: where it is said to be
    <root>/.removed/…     on its way out: emptied at the start
    <mount root>/NAME     where a volume with a device is mounted

Everything here blocks, and is to be called in a thread.
"""

import contextlib
import errno
import logging
import os
import secrets
import socket
from collections.abc import Collection, Mapping

from naru.base.errors import Internal, InvalidParameter
from naru.kernel import quota
from naru.kernel.files import remove_tree
from naru.kernel.mount import is_mount_point, unmount
from naru.kernel.mount_options import mount_device, split_words
from naru.storage.volumes import local_options

log = logging.getLogger("naru.volumes")

_REMOVED = ".removed"
_FIRST_PROJECT, _LAST_PROJECT = 1 << 20, 1 << 31
_TRIES = 64


class LocalDriver:
    def __init__(self, root: str, mount_root: str | None) -> None:
        self._root = root
        self._mount_root = mount_root
        for folder in (root, os.path.join(root, _REMOVED)):
            os.makedirs(folder, 0o700, exist_ok=True)

    def _folder(self, name: str) -> str:
        return os.path.join(self._root, name)

    def data_dir(self, name: str) -> str:
        """What `Mountpoint` shows."""
        return os.path.join(self._root, name, "_data")

    def exists(self, name: str) -> bool:
        return os.path.isdir(self._folder(name))

    def check_size(self, name: str, options: Mapping[str, str]) -> None:
        """Raises: InvalidParameter when a size is asked for that nobody would hold it to."""
        if local_options.size_bytes(options) and not quota.enforced(self._root):
            raise InvalidParameter(
                f"create {name}: quota size requested but no quota support: the file system of "
                f"{self._root} keeps no project quotas; mount it with prjquota (ext4 made with -O "
                "quota,project) or pquota (xfs), or leave the size out"
            )

    def make(self, name: str, options: Mapping[str, str]) -> None:
        """Idempotent. Raises: OSError."""
        os.makedirs(self._folder(name), 0o700, exist_ok=True)
        data = self.data_dir(name)
        os.makedirs(data, 0o755, exist_ok=True)
        if size := local_options.size_bytes(options):
            quota.limit(data, quota.project_of(data) or _free_project(data), size)

    def discard(self, name: str) -> None:
        """Remove what there is of it now."""
        self._drop_limit(self.data_dir(name))
        remove_tree(self._folder(name))

    def move_aside(self, name: str) -> str:
        """The volume's place is free when this returns; where it is now."""
        aside = os.path.join(self._root, _REMOVED, secrets.token_hex(8))
        self.unmount(name)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder(name), aside)
        return aside

    def move_back(self, name: str, aside: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(aside, self._folder(name))

    def destroy(self, aside: str) -> None:
        """Remove what `move_aside` moved."""
        self._drop_limit(os.path.join(aside, "_data"))
        remove_tree(aside)

    def _drop_limit(self, data: str) -> None:
        with contextlib.suppress(OSError):  # a limit that stays binds nobody
            if project := quota.project_of(data):
                quota.limit(data, project, 0)

    # -- mounts

    def mount_point(self, name: str) -> str:
        if self._mount_root is None:
            return self.data_dir(name)
        return os.path.join(self._mount_root, name)

    def mount(self, name: str, options: Mapping[str, str]) -> str:
        """Where the volume's device is mounted; idempotent. Raises: Internal naming the option."""
        target = self.mount_point(name)
        os.makedirs(target, 0o755, exist_ok=True)
        if is_mount_point(os.path.realpath(target)):
            return target
        shown = self.data_dir(name)
        words = _with_address(shown, options)
        kind, device = options.get("type", ""), options["device"]
        try:
            mount_device(kind, device, target, words)
        except OSError as error:
            raise Internal(
                f"error while mounting volume '{shown}': failed to mount local volume: mount "
                f"{device}:{shown}{_told(options)}: {_reason(kind, error)}"
            ) from error
        return target

    def unmount(self, name: str) -> None:
        """Idempotent."""
        target = self.mount_point(name)
        while is_mount_point(target):
            unmount(target)
        if self._mount_root is not None:
            with contextlib.suppress(OSError):
                os.rmdir(target)

    def unmount_all_but(self, held: Collection[str]) -> None:
        """Let go of what an earlier engine mounted and nobody uses."""
        if self._mount_root is None:
            return
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._mount_root):
                if name not in held:
                    self.unmount(name)

    # -- after a crash

    def empty_removed(self) -> None:
        removed = os.path.join(self._root, _REMOVED)
        for name in os.listdir(removed):
            self.destroy(os.path.join(removed, name))

    def names(self) -> list[str]:
        """Every directory, also of volumes that no record knows."""
        return [name for name in os.listdir(self._root) if not name.startswith(".")]

    def is_empty(self, name: str) -> bool:
        try:
            return not os.listdir(self.data_dir(name))
        except FileNotFoundError:
            return True


def _free_project(directory: str) -> int:
    for _ in range(_TRIES):
        project = _FIRST_PROJECT + secrets.randbelow(_LAST_PROJECT - _FIRST_PROJECT)
        if quota.is_free(directory, project):
            return project
    raise OSError("no free project was found for a quota")


def _with_address(shown: str, options: Mapping[str, str]) -> list[str]:
    """The words of `o`, with the address that the kernel wants for `addr=name`."""
    words = []
    for word in local_options.words(options):
        key, equals, value = word.partition("=")
        if key == "addr" and equals and options.get("type") in local_options.NETWORKED:
            try:
                word = f"addr={socket.getaddrinfo(value, None)[0][4][0]}"
            except OSError as error:
                raise Internal(
                    f"error while mounting volume '{shown}': error resolving passed in network "
                    f"volume address: lookup {value}: {(error.strerror or str(error)).lower()}"
                ) from error
        words.append(word)
    return words


def _told(options: Mapping[str, str]) -> str:
    """What the kernel was told, as Docker shows it: the data without secrets, and the flags."""
    flags, _ = split_words(local_options.words(options))
    _, data = split_words(local_options.shown_data(options).split(","))
    text = f", data: {','.join(data)}" if any(data) else ""
    return f"{text}, flags: {flags:#x}" if flags else text


def _reason(kind: str, error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    if error.errno == errno.ENODEV and kind not in ("none", ""):
        return f"{text} (the kernel knows no file system of type {kind})"
    return text
