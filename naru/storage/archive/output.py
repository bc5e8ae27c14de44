"""The end of a pipe that an archive is written to: large writes, hashed on the way."""

import os

from naru.storage.archive.source import Hasher

_FLUSH_BYTES = 1 << 20


class Output:
    """Collects small pieces and writes them to `fd` about a MiB at a time."""

    def __init__(self, fd: int, *, digest: bool) -> None:
        self._fd = fd
        self._hasher = Hasher() if digest else None
        self._parts: list[bytes | memoryview] = []
        self._waiting = 0
        self.total = 0

    def write(self, data: bytes | memoryview) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; blocks while the reader is slow."""
        if not self._waiting:
            return
        data = b"".join(self._parts)
        self._parts.clear()
        self._waiting = 0
        self.total += len(data)
        if self._hasher is not None:
            self._hasher.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self) -> str | None:
        """Write the rest; the digest of everything when one was wanted."""
        self.flush()
        return self._hasher.digest() if self._hasher is not None else None
