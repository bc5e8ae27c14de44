"""An archive on its way out, compressed: zstd or gzip, in the process that packs it."""

import os
from typing import Protocol

import zstandard
from isal import isal_zlib

from naru.storage.archive import compression
from naru.storage.archive.output import Output

_ZSTD_LEVEL = 3
_GZIP_LEVEL, _GZIP_WINDOW = 2, 31


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class PackedOutput(Output):
    """`form`: plain, zstd or gzip. `total` counts the plain bytes."""

    def __init__(self, fd: int, form: str) -> None:
        super().__init__(fd, digest=False)
        self._compressor = _compressor(form)

    def flush(self) -> None:
        if self._compressor is None:
            super().flush()
            return
        data = b"".join(self._parts)
        self._parts.clear()
        self._waiting = 0
        self.total += len(data)
        self._write_all(self._compressor.compress(data))

    def finish(self) -> str | None:
        self.flush()
        if self._compressor is not None:
            self._write_all(self._compressor.flush())
        return None

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _compressor(form: str) -> _Compressor | None:
    if form == compression.ZSTD:
        # the checksum of the frame tells a damaged archive from a whole one
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    if form == compression.GZIP:
        found: _Compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        return found
    return None
