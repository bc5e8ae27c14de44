"""A request's body on its way into a temporary file without a name.

The file vanishes with its descriptor, so a crash leaves nothing. A thread is held only while bytes
are written, never while the client is waited for.
"""

import hashlib
import os
from collections.abc import AsyncIterator

from naru.base.errors import InvalidParameter
from naru.kernel.files import write_all
from naru.kernel.threads import offload
from naru.storage.archive import compression
from naru.storage.disk import explained

_WRITE_BYTES = 1 << 20
_PARTS_AT_ONCE = 1000  # of the 1,024 that a call may have


def temporary_file(directory: str) -> int:
    """A descriptor of a new nameless file in `directory`, for reading and writing."""
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    return os.open(directory, flags, 0o600)


class Spool:
    """A body in a file. `fd` stays open until `close`; reads do not move its position."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def pread(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    @property
    def form(self) -> str:
        """How the body is compressed, by its first bytes."""
        return compression.detect(self.pread(0, 6))

    def discard(self) -> None:
        """Let go of the content before the file: what is not on the disk yet never gets there."""
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Give the file up; harmless twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def receive(stream: AsyncIterator[bytes], directory: str) -> Spool:
    """The whole `stream` as it comes. Raises: Internal of the disk, whatever the stream raises."""
    with explained("receive the archive"):
        spool = Spool(temporary_file(directory))
    try:
        parts: list[bytes] = []
        waiting = 0
        async for chunk in stream:
            parts.append(chunk)
            waiting += len(chunk)
            if waiting >= _WRITE_BYTES:
                with explained("receive the archive"):
                    await offload(_append, spool.fd, parts)
                parts, waiting = [], 0
        with explained("receive the archive"):
            await offload(_append, spool.fd, parts)
    except BaseException:
        spool.close()
        raise
    return spool


def _append(fd: int, parts: list[bytes]) -> None:
    """All of `parts`, many with one call: a client may send its body in little pieces."""
    for at in range(0, len(parts), _PARTS_AT_ONCE):
        some = parts[at : at + _PARTS_AT_ONCE]
        written = os.writev(fd, some)
        if written < sum(map(len, some)):
            write_all(fd, b"".join(some)[written:])


def inflate(spool: Spool, directory: str) -> Spool:
    """The plain bytes of a compressed spool in a spool of their own. Raises: ArchiveError."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        data = spool.pread(position, size)
        position += len(data)
        return data

    plain = Spool(temporary_file(directory))
    try:
        with explained("unpack the archive"):
            for chunk in compression.decompress(spool.form, read, compression.Limits()):
                write_all(plain.fd, chunk)
    except BaseException:
        plain.close()
        raise
    return plain


def digest_range(fd: int, offset: int, size: int) -> str:
    """sha256 of a part of the file."""
    found = hashlib.sha256()
    end = offset + size
    while offset < end:
        data = os.pread(fd, min(_WRITE_BYTES, end - offset), offset)
        if not data:
            raise InvalidParameter("invalid archive: it ends within an entry")
        found.update(data)
        offset += len(data)
    return "sha256:" + found.hexdigest()
