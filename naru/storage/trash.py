"""Directories that are gone for everybody, and whose files are deleted in the background.

Deleting costs a millisecond a file on some disks (a discard for each), which nobody has to wait
for: `discard` renames, one thread deletes. What an engine left there is deleted by the next one.
"""

import contextlib
import logging
import os
import queue
import secrets
import threading

from naru.kernel.files import remove_tree

log = logging.getLogger("naru.storage")

_CLOSE_TIMEOUT_S = 5.0


class Trash:
    """One folder, on the same file system as what is thrown into it. Thread safe."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, 0o700, exist_ok=True)
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for name in os.listdir(folder):
            self._waiting.put(os.path.join(folder, name))
        self._thread = threading.Thread(target=self._empty, name="naru-trash", daemon=True)
        self._thread.start()

    def discard(self, path: str) -> None:
        """`path` is gone when this returns; a missing one is fine. Raises: OSError."""
        gone = os.path.join(self._folder, secrets.token_hex(8))
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, gone)
            self._waiting.put(gone)

    def close(self) -> None:
        """Delete what waits, for five seconds at most."""
        self._waiting.put(None)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _empty(self) -> None:
        while (path := self._waiting.get()) is not None:
            try:
                remove_tree(path)
            except OSError as error:
                log.warning("%s stays until the next start: %s", path, error)
