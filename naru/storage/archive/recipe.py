"""How a layer's exact archive is made again from the layer's files.

While a layer is unpacked, its recipe is written: the archive without the content of regular files,
compressed. To rebuild the archive the recipe is read by the same reader, which names each file in
its turn. Content whose file was replaced by a later entry of the same archive lies in `spill`.

    layer/  diff/      the files, an overlayfs lower directory
            recipe     zstd(archive without contents)
            spill/N    what entry N of the archive replaced
            layer.json sizes and digests
"""

import bisect
import os
from collections.abc import Iterator

import zstandard

from naru.kernel.files import open_beneath
from naru.storage.archive.headers import ArchiveError, Entry, show
from naru.storage.archive.output import Output
from naru.storage.archive.reading import Feed, Reader
from naru.storage.archive.tree import Tree, clean
from naru.storage.archive.unpack import Unpacked, has_layer_payload

_LEVEL = 1
_FLUSH_BYTES = 1 << 20
_MAX_RECIPE_BYTES = 3 << 30
_PIECE_BYTES = 1 << 20


class RecipeWriter:
    """Takes what a Reader keeps and writes it, compressed, to `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._parts: list[bytes | memoryview] = []
        self._waiting = 0
        self._total = 0

    def keep(self, data: bytes | memoryview) -> None:
        """Raises: ArchiveError when an archive is all headers and no end."""
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._total += self._waiting
        if self._total > _MAX_RECIPE_BYTES:
            raise ArchiveError(f"refused: more than {_MAX_RECIPE_BYTES} bytes of headers")
        self._write(self._compressor.compress(b"".join(self._parts)))
        self._parts.clear()
        self._waiting = 0

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def finish(self) -> None:
        self._flush()
        self._write(self._compressor.flush())


class _Contents:
    """Finds the file that has an entry's content."""

    def __init__(self, tree: Tree, spill_fd: int, unpacked: Unpacked) -> None:
        self._tree = tree
        self._spill_fd = spill_fd
        self._aliases = unpacked.aliases
        self._spills: dict[bytes, list[int]] = {}
        for ordinal, path in unpacked.spills:
            self._spills.setdefault(path, []).append(ordinal)

    def open(self, ordinal: int, entry: Entry) -> int:
        path = self._aliases.get(ordinal)
        if path is None:
            folder, _, name = entry.name.rpartition(b"/")
            if not self._spills and name not in (b"", b".", b".."):
                return os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._tree.place(folder)[0]
                )
            path = clean(entry.name)
        if self._spills:
            spilled = self._spilled(ordinal, path)
            if spilled is not None:
                return spilled
        folder, _, name = path.rpartition(b"/")
        parent = self._tree.place_canonical(folder)
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)

    def _spilled(self, ordinal: int, path: bytes) -> int | None:
        """The first replacement of the path or of a directory above it, after `ordinal`."""
        first: tuple[int, bytes] | None = None
        cut = len(path)
        while cut > 0:
            ordinals = self._spills.get(path[:cut], ())
            at = bisect.bisect_right(ordinals, ordinal)
            if at < len(ordinals) and (first is None or ordinals[at] < first[0]):
                first = (ordinals[at], path[cut + 1 :])
            cut = path.rfind(b"/", 0, cut)
        if first is None:
            return None
        name = b"%d/%s" % first if first[1] else b"%d" % first[0]
        return open_beneath(self._spill_fd, name, os.O_RDONLY | os.O_NOFOLLOW)


def rebuild(
    recipe_fd: int, diff_fd: int, spill_fd: int, unpacked: Unpacked, output: Output
) -> None:
    """Write the archive again. Raises: ArchiveError when the layer was damaged, OSError."""
    tree = Tree(diff_fd)
    contents = _Contents(tree, spill_fd, unpacked)
    reader = Reader(
        Feed(_chunks(recipe_fd)), keep=output.write, has_payload=has_layer_payload, cut=True
    )
    ordinal = -1
    while (entry := reader.next()) is not None:
        ordinal += 1
        if not entry.stored or not has_layer_payload(entry):
            continue
        try:
            fd = contents.open(ordinal, entry)
        except OSError as error:
            raise _damaged(entry) from error
        try:
            if entry.pieces is None:
                _copy(fd, entry, 0, entry.stored, output)
            else:
                for offset, length in entry.pieces:
                    _copy(fd, entry, offset, length, output)
        finally:
            os.close(fd)
    reader.drain()
    tree.forget()


def _copy(fd: int, entry: Entry, offset: int, length: int, output: Output) -> None:
    while length:
        data = os.pread(fd, min(length, _PIECE_BYTES), offset)
        if not data:
            raise _damaged(entry)
        output.write(data)
        offset += len(data)
        length -= len(data)


def _damaged(entry: Entry) -> ArchiveError:
    return ArchiveError(f"the layer is damaged on disk: {show(entry.name)} was changed or lost")


def _chunks(recipe_fd: int) -> Iterator[bytes]:
    with open(recipe_fd, "rb", closefd=False) as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        while data := reader.read(_FLUSH_BYTES):
            yield data
