"""Finding out how a stream is compressed, and undoing it within limits.

Everything happens in this process with libraries that were loaded beforehand: no program called
`xz` or `gzip` is ever looked for, least of all in an image.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard
from isal import igzip_lib, isal_zlib

from naru.storage.archive.headers import ArchiveError

CHUNK_BYTES = 1 << 20
_WINDOW_BYTES = 128 << 20
_LZMA_MEMORY_BYTES = 512 << 20

GZIP, ZSTD, XZ, BZIP2, PLAIN = "gzip", "zstd", "xz", "bzip2", "plain"
_MAGIC = (
    (b"\x1f\x8b", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\0", XZ),
    (b"BZh", BZIP2),
)

# isal's stub calls the class an instance
_BROKEN: tuple[type[Exception], ...] = (  # type: ignore[assignment]
    zlib.error,
    igzip_lib.IsalError,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
)

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an archive may expand before it is called a bomb.

    A stream that grew past `free_bytes` may not have grown more than `ratio` times.
    """

    free_bytes: int = 16 << 30
    ratio: int = 100
    steep_free_bytes: int = 2 << 30
    steep_ratio: int = 2000

    def check(self, packed: int, plain: int) -> None:
        """Raises: ArchiveError when `packed` bytes became suspiciously many."""
        if (plain > self.free_bytes and plain > packed * self.ratio) or (
            plain > self.steep_free_bytes and plain > packed * self.steep_ratio
        ):
            raise ArchiveError(
                f"refused as a decompression bomb: {packed} bytes expand to more than {plain}"
            )


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """isal's gzip with the interface of bz2 and lzma."""

    def __init__(self) -> None:
        self._inner = isal_zlib.decompressobj(wbits=31)
        self._tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = bytes(self._inner.decompress(self._tail + data, max_length))
        self._tail = self._inner.unconsumed_tail
        return plain


def detect(head: bytes) -> str:
    """The form of a stream that begins with `head` (6 bytes are enough)."""
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    return PLAIN


def decompress(form: str, read: Read, limits: Limits) -> Iterator[bytes]:
    """The plain bytes, in chunks of about CHUNK_BYTES. Raises: ArchiveError."""
    try:
        if form == PLAIN:
            while data := read(CHUNK_BYTES):
                yield data
        elif form == ZSTD:
            yield from _unzstd(read, limits)
        else:
            yield from _stream(_MAKERS[form], read, limits)
    except _BROKEN as error:
        raise ArchiveError(f"invalid archive: broken {form} data: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ArchiveError(f"invalid archive: broken {form} data: {error}") from error


_MAKERS: dict[str, Callable[[], _Decompressor]] = {
    GZIP: _Gzip,
    BZIP2: bz2.BZ2Decompressor,
    XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES),
}


def _stream(make: Callable[[], _Decompressor], read: Read, limits: Limits) -> Iterator[bytes]:
    packed = plain = 0
    decompressor = make()
    data = b""
    while True:
        if not data and decompressor.needs_input:
            data = read(CHUNK_BYTES)
            packed += len(data)
            if not data:
                raise EOFError("it is cut off")
        out = decompressor.decompress(data, CHUNK_BYTES)
        data = b""
        plain += len(out)
        limits.check(packed, plain)
        if out:
            yield out
        if not decompressor.eof:
            continue
        data = decompressor.unused_data or read(CHUNK_BYTES)
        data = data.lstrip(b"\0")  # padding between or after members
        while not data:
            data = read(CHUNK_BYTES)
            if not data:
                return
            data = data.lstrip(b"\0")
        decompressor = make()


class _CountingReader:
    """The file object that zstandard reads from."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.total = 0

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        data = self._read(max(size, 1))
        self.total += len(data)
        return data


def _unzstd(read: Read, limits: Limits) -> Iterator[bytes]:
    counting = _CountingReader(read)
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(
        counting,  # type: ignore[arg-type]  # only read() is asked of it
        read_size=CHUNK_BYTES,
        read_across_frames=True,
    )
    plain = 0
    while data := reader.read(CHUNK_BYTES):
        plain += len(data)
        limits.check(counting.total, plain)
        yield data
