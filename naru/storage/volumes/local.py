"""The driver `local`: directories below one root, some of them held to a size.

    <root>/NAME/_data     the data; with a device: where it is said to be
    <root>/.removed/…     on its way out, or not in its place yet: emptied at the start

Everything here blocks, and is to be called in a thread.
"""

import contextlib
import os
import secrets
from collections.abc import Mapping

from naru.base.errors import InvalidParameter
from naru.kernel import quota
from naru.kernel.files import remove_tree, sync_directory, syncfs
from naru.kernel.syscalls import exchange
from naru.storage.volumes import local_options

_REMOVED = ".removed"
_FIRST_PROJECT, _LAST_PROJECT = 1 << 20, 1 << 31
_TRIES = 64


class LocalDriver:
    def __init__(self, root: str) -> None:
        self._root = root
        for folder in (root, os.path.join(root, _REMOVED)):
            os.makedirs(folder, 0o700, exist_ok=True)

    def _folder(self, name: str) -> str:
        return os.path.join(self._root, name)

    def data_dir(self, name: str) -> str:
        """What `Mountpoint` shows."""
        return os.path.join(self._root, name, "_data")

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
        self._make_in(self._folder(name), options)

    def _make_in(self, folder: str, options: Mapping[str, str]) -> None:
        os.makedirs(folder, 0o700, exist_ok=True)
        data = os.path.join(folder, "_data")
        os.makedirs(data, 0o755, exist_ok=True)
        if size := local_options.size_bytes(options):
            quota.limit(data, quota.project_of(data) or _free_project(data), size)

    def prepare(self, options: Mapping[str, str]) -> str:
        """An empty volume without a name: what it is given before it gets its place. `destroy` it
        when it gets none. Raises: OSError."""
        folder = os.path.join(self._root, _REMOVED, secrets.token_hex(8))
        self._make_in(folder, options)
        return folder

    def place(self, name: str, prepared: str) -> None:
        """What was prepared becomes the volume `name`, which has no directory. Durable."""
        syncfs(self._root)
        os.rename(prepared, self._folder(name))
        sync_directory(self._root)

    def take_back(self, name: str, prepared: str) -> None:
        """Undo `place`; idempotent."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder(name), prepared)

    def exchange(self, name: str, prepared: str) -> None:
        """What was prepared becomes the volume, and what the volume was is prepared. Durable."""
        syncfs(self._root)
        exchange(prepared, self._folder(name))
        sync_directory(self._root)

    def rename(self, old: str, new: str) -> None:
        """Idempotent. Durable."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder(old), self._folder(new))
        sync_directory(self._root)

    def discard(self, name: str) -> None:
        """Remove what there is of it now."""
        self._drop_limit(self.data_dir(name))
        remove_tree(self._folder(name))

    def move_aside(self, name: str) -> str:
        """The volume's place is free when this returns; where it is now."""
        aside = os.path.join(self._root, _REMOVED, secrets.token_hex(8))
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
