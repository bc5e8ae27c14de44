"""Reading an archive as a stream: chunks become entries and their payloads.

`Feed` hands out exact amounts of a chunked stream without copying where it can. `Reader` walks the
entries; when it keeps a recipe, everything except the payload of regular files goes there, so that
the archive can be rebuilt to the byte from the recipe and the unpacked files.
"""

from collections.abc import Callable, Iterable, Iterator

from naru.storage.archive import headers
from naru.storage.archive.headers import ArchiveError, Entry

MAX_EXTENDED_IN_A_ROW = 32
_MAX_MAP_BYTES = 8 << 20

Bytes = bytes | memoryview
Keep = Callable[[Bytes], None]


def _forget(data: Bytes) -> None:
    return


class Feed:
    """Exact amounts of the bytes that `chunks` yields."""

    __slots__ = ("_chunks", "_view", "_at", "_end")

    def __init__(self, chunks: Iterable[Bytes]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self._at = self._end = 0

    def _next(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._view = memoryview(chunk)
                self._at, self._end = 0, len(chunk)
                return True
        return False

    def take(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        at = self._at
        if at + size <= self._end:
            self._at = at + size
            return bytes(self._view[at : at + size])
        return b"".join(bytes(piece) for piece in self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes as they lie in memory; fewer only at the end."""
        while size > 0:
            at = self._at
            if at == self._end:
                if not self._next():
                    return
                at = 0
            piece = self._view[at : min(at + size, self._end)]
            self._at = at + len(piece)
            size -= len(piece)
            yield piece

    def whole(self, size: int) -> memoryview | None:
        """The next `size` bytes without a copy when they lie in one chunk, else None."""
        at = self._at
        if at + size <= self._end:
            self._at = at + size
            return self._view[at : at + size]
        return None


class Reader:
    """The entries of an archive, one `next` at a time, each payload read (or not) in between."""

    def __init__(
        self,
        feed: Feed,
        *,
        keep: Keep | None = None,
        has_payload: Callable[[Entry], bool] = lambda entry: entry.kind == headers.REGULAR,
        cut: bool = False,
    ) -> None:
        """`keep` receives the recipe. `has_payload` says whose payload is left out of it.

        `cut`: the feed is itself a recipe, which has no such payloads.
        """
        self._feed = feed
        self._keep = keep or _forget
        self._has_payload = has_payload
        self._cut = cut
        self._left = 0
        self._padding = 0
        self._kept = False
        self.ended = False
        """Whether the end mark was seen."""

    def next(self) -> Entry | None:
        """The next entry, None at the end of the archive. Raises: ArchiveError."""
        self._finish_payload()
        records: list[tuple[bytes, bytes]] = []
        name = link = None
        for _ in range(MAX_EXTENDED_IN_A_ROW):
            block = self._header_block()
            if block is None:
                return None
            entry = headers.parse_header(block)
            match entry.kind:
                case headers.PAX:
                    records = headers.parse_records(self._extended(entry))
                case headers.PAX_GLOBAL:
                    headers.parse_records(self._extended(entry))
                case headers.GNU_NAME:
                    name = self._extended(entry).partition(b"\0")[0]
                case headers.GNU_LINK:
                    link = self._extended(entry).partition(b"\0")[0]
                case _:
                    entry.name = name or entry.name
                    entry.link = link or entry.link
                    return self._complete(entry, block, records)
        raise ArchiveError("invalid archive: too many extended headers before one entry")

    def _header_block(self) -> bytes | None:
        block = self._feed.take(headers.BLOCK)
        self._keep(block)
        if not block:
            return None
        if len(block) < headers.BLOCK:
            raise ArchiveError("invalid archive: it ends within a header")
        if block != headers.ZERO_BLOCK:
            return block
        self.ended = True
        second = self._feed.take(headers.BLOCK)
        self._keep(second)
        if second.strip(b"\0"):
            raise ArchiveError("invalid archive: a lone zero block between entries")
        return None

    def _extended(self, entry: Entry) -> bytes:
        if not 0 <= entry.stored <= headers.MAX_RECORDS_BYTES:
            raise ArchiveError(
                f"invalid archive: an extended header of {entry.stored} bytes; at most "
                f"{headers.MAX_RECORDS_BYTES} are allowed"
            )
        data = self._exactly(entry.stored)
        self._exactly(-entry.stored % headers.BLOCK)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._feed.take(size)
        if len(data) < size:
            raise ArchiveError("invalid archive: it ends within an entry")
        self._keep(data)
        return data

    def _complete(self, entry: Entry, block: bytes, records: list[tuple[bytes, bytes]]) -> Entry:
        map_first = bool(records) and headers.apply_records(entry, records)
        if entry.kind == headers.GNU_SPARSE:
            self._extend_sparse(entry, block)
        if map_first:
            self._read_map(entry)
        headers.settle(entry)
        self._left = entry.stored
        self._padding = -entry.stored % headers.BLOCK
        self._kept = entry.stored > 0 and not self._has_payload(entry)
        return entry

    def _extend_sparse(self, entry: Entry, block: bytes) -> None:
        more = block[482] != 0
        pieces = entry.pieces or []
        while more:
            found, more = headers.old_sparse_extension(self._exactly(headers.BLOCK))
            pieces += found
            if len(pieces) > headers.MAX_SPARSE_PIECES:
                raise ArchiveError("invalid archive: a sparse map with too many pieces")
        entry.pieces = pieces

    def _read_map(self, entry: Entry) -> None:
        """Form 1.0: decimal numbers, one a line, padded to a block, ahead of the data."""
        text = b""
        numbers: list[bytes] = []
        wanted = 1
        consumed = 0
        while len(numbers) < wanted:
            if consumed >= min(entry.stored, _MAX_MAP_BYTES):
                raise ArchiveError(f"invalid archive: {headers.show(entry.name)} has a broken map")
            text += self._exactly(headers.BLOCK)
            consumed += headers.BLOCK
            *lines, text = text.split(b"\n")
            for line in lines:
                if not line.isdigit() or len(line) > 19:
                    raise ArchiveError("invalid archive: a sparse map is no list of numbers")
                numbers.append(line)
                if len(numbers) == 1:
                    wanted = 1 + 2 * int(line)
                    if wanted > 2 * headers.MAX_SPARSE_PIECES:
                        raise ArchiveError("invalid archive: a sparse map with too many pieces")
                elif len(numbers) == wanted:
                    break
        values = [int(number) for number in numbers[1:wanted]]
        entry.pieces = list(zip(values[0::2], values[1::2], strict=True))
        entry.stored -= consumed
        entry.kind = headers.REGULAR

    def whole(self) -> memoryview | None:
        """The payload without a copy when it lies in one chunk, else None: use `payload`."""
        view = self._feed.whole(self._left)
        if view is not None:
            self._left = 0
        return view

    def payload(self, size: int | None = None) -> Iterator[memoryview]:
        """The next `size` bytes of the payload, or all that is left. Raises: ArchiveError."""
        wanted = self._left if size is None else size
        self._left -= wanted
        for piece in self._feed.pieces(wanted):
            wanted -= len(piece)
            yield piece
        if wanted:
            raise ArchiveError("invalid archive: it ends within a file")

    def _finish_payload(self) -> None:
        """Skip what is left of the payload, then its padding."""
        if self._kept:
            for piece in self.payload():
                self._keep(piece)
            self._kept = False
        elif not self._cut:
            for _ in self.payload():
                pass
        self._left = 0
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def drain(self) -> None:
        """Read what follows the end of the archive, so that it is hashed and kept."""
        while data := self._feed.take(1 << 20):
            self._keep(data)
