"""Writing archive headers: ustar where it suffices, pax records for whatever it cannot say. Pure.

Spec: POSIX.1-2017 pax; GNU tar manual, "PAX Format, Version 1.0" (sparse files); attributes as
`SCHILY.xattr.NAME` records, as Docker and GNU tar write them.
"""

from collections.abc import Iterable, Sequence

from naru.storage.archive import headers
from naru.storage.archive.headers import BLOCK, Entry, Piece

_MAX_OCTAL_SIZE = 0o77777777777
_MAX_OCTAL_ID = 0o7777777
END = bytes(2 * BLOCK)


def padding(size: int) -> bytes:
    """The zeros that fill the last block of a payload."""
    return bytes(-size % BLOCK)


def encode(entry: Entry) -> bytes:
    """The header of `entry` with all that must precede it; the payload follows.

    `stored` is set for a sparse entry: the sparse map, which is part of the payload, is included.
    """
    records: list[tuple[bytes, bytes]] = []
    name, link, stored = entry.name, entry.link, entry.stored
    sparse_map = b""
    if entry.pieces is not None:
        sparse_map = _sparse_map(entry.pieces)
        stored += len(sparse_map)
        folder, slash, base = name.rpartition(b"/")
        records += [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", name),
            (b"GNU.sparse.realsize", b"%d" % entry.size),
        ]
        name = folder + slash + b"GNUSparseFile.0/" + base
    if len(name) > 100:
        records.append((b"path", name))
    if len(link) > 100:
        records.append((b"linkpath", link))
    if stored > _MAX_OCTAL_SIZE:
        records.append((b"size", b"%d" % stored))
    if entry.uid > _MAX_OCTAL_ID:
        records.append((b"uid", b"%d" % entry.uid))
    if entry.gid > _MAX_OCTAL_ID:
        records.append((b"gid", b"%d" % entry.gid))
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds <= _MAX_OCTAL_SIZE:
        records.append((b"mtime", format_time(entry.mtime_ns)))
    for key, value in sorted((entry.xattrs or {}).items()):
        records.append((b"SCHILY.xattr." + key, value))
    block = _block(entry, name, link, stored)
    if not records:
        return block + sparse_map
    data = encode_records(records)
    head = Entry()
    head.name, head.kind, head.mode = b"PaxHeaders/" + name.rpartition(b"/")[2][:80], b"x", 0o644
    before = _block(head, head.name, b"", len(data))
    return b"".join((before, data, padding(len(data)), block, sparse_map))


def _block(entry: Entry, name: bytes, link: bytes, stored: int) -> bytes:
    kind = headers.REGULAR if entry.kind == headers.GNU_SPARSE else entry.kind
    major, minor = entry.device
    seconds = entry.mtime_ns // 1_000_000_000
    head = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name[:100].ljust(100, b"\0"),
        entry.mode & 0o7777,
        entry.uid if entry.uid <= _MAX_OCTAL_ID else 0,
        entry.gid if entry.gid <= _MAX_OCTAL_ID else 0,
        stored if stored <= _MAX_OCTAL_SIZE else 0,
        seconds if 0 <= seconds <= _MAX_OCTAL_SIZE else 0,
    )
    tail = b"%s%sustar\00000%s%07o\0%07o\0%s" % (
        kind,
        link[:100].ljust(100, b"\0"),
        bytes(64),
        major,
        minor,
        bytes(167),
    )
    total = sum(head) + sum(tail) + 256
    return b"%s%06o\0 %s" % (head, total, tail)


def encode_records(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """pax records; each one's length counts its own digits."""
    out = []
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length = rest + len(str(length))
        out.append(b"%d %s=%s\n" % (length, key, value))
    return b"".join(out)


def format_time(time_ns: int) -> bytes:
    """Seconds with as many digits of a fraction as it takes."""
    sign = b"-" if time_ns < 0 else b""
    seconds, fraction = divmod(abs(time_ns), 1_000_000_000)
    if not fraction:
        return b"%s%d" % (sign, seconds)
    return (b"%s%d.%09d" % (sign, seconds, fraction)).rstrip(b"0")


def _sparse_map(pieces: Sequence[Piece]) -> bytes:
    numbers = [len(pieces)]
    for offset, length in pieces:
        numbers += (offset, length)
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + padding(len(text))
