"""The outer archive of a load: where each member lies in the spooled file.

Nothing is unpacked: a member is read from its place, or handed on as a range of the file. Names are
only keys here and never become paths.
"""

import posixpath
from dataclasses import dataclass

from naru.images.spool import Spool, digest_range
from naru.storage.archive import headers
from naru.storage.archive.headers import ArchiveError

MEMBERS_LIMIT = 100_000
_LINKS_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Range:
    """Part of the spooled file."""

    offset: int
    size: int


class TruncatedArchive(ArchiveError):
    """The archive ends too early, or is none at all."""

    def __init__(self) -> None:
        super().__init__("invalid archive: unexpected end of file")


class ImageArchive:
    """The members of a spooled, plain tar."""

    def __init__(self, spool: Spool) -> None:
        """Raises: ArchiveError, when the spool is no tar."""
        self._spool = spool
        self._members: dict[str, Range] = {}
        self._links: dict[str, str] = {}
        self._scan()

    def _scan(self) -> None:
        position, end = 0, self._spool.size
        name: bytes | None = None
        records: list[tuple[bytes, bytes]] = []
        extended = 0
        while position < end:
            block = self._spool.pread(position, headers.BLOCK)
            if len(block) < headers.BLOCK:
                raise TruncatedArchive
            if block == headers.ZERO_BLOCK:
                return
            entry = headers.parse_header(block)
            position += headers.BLOCK
            extended += 1
            if extended > MEMBERS_LIMIT:
                raise ArchiveError(f"invalid archive: more than {MEMBERS_LIMIT} entries")
            if entry.kind in (headers.PAX, headers.PAX_GLOBAL, headers.GNU_NAME, headers.GNU_LINK):
                data = self._text(position, entry.stored)
                if entry.kind == headers.PAX:
                    records = headers.parse_records(data)
                elif entry.kind == headers.GNU_NAME:
                    name = data.partition(b"\0")[0]
            else:
                entry.name = name or entry.name
                headers.apply_records(entry, records)
                headers.settle(entry)
                self._admit(entry, position, end)
                name, records = None, []
            position += entry.stored + (-entry.stored % headers.BLOCK)

    def _text(self, position: int, size: int) -> bytes:
        if not 0 <= size <= headers.MAX_RECORDS_BYTES:
            raise ArchiveError(f"invalid archive: an extended header of {size} bytes")
        return self._spool.pread(position, size)

    def _admit(self, entry: headers.Entry, position: int, end: int) -> None:
        name = posixpath.normpath("/" + entry.name.decode("utf-8", "surrogateescape"))[1:]
        if entry.kind == headers.REGULAR and entry.pieces is None:
            if position + entry.stored > end:
                raise TruncatedArchive
            self._members[name] = Range(position, entry.stored)
        elif entry.kind in (headers.SYMLINK, headers.LINK):
            target = entry.link.decode("utf-8", "surrogateescape")
            base = posixpath.dirname(name) if entry.kind == headers.SYMLINK else ""
            self._links[name] = posixpath.normpath("/" + posixpath.join(base, target))[1:]

    def find(self, name: str) -> Range | None:
        """Where the member lies; links within the archive are followed."""
        key = posixpath.normpath("/" + name)[1:]
        for _ in range(_LINKS_LIMIT):
            if key in self._members:
                return self._members[key]
            if key not in self._links:
                return None
            key = self._links[key]
        return None

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A small member whole. Raises: ArchiveError when it is missing or too large."""
        place = self.find(name)
        if place is None:
            raise ArchiveError(f"invalid archive: {headers.show(name.encode())} is missing")
        if place.size > limit_bytes:
            raise ArchiveError(
                f"invalid archive: {headers.show(name.encode())} has {place.size} bytes, "
                f"{limit_bytes} at most"
            )
        return self._spool.pread(place.offset, place.size)

    def digest(self, place: Range) -> str:
        return digest_range(self._spool.fd, place.offset, place.size)
