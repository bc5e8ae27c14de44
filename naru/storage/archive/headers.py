"""What a tar header says: numbers, names, pax records and sparse maps. Pure.

Reads the forms that exist in the wild (V7, ustar, pax, GNU with long names, base-256 numbers and
all four sparse forms) and takes nothing on trust: every size, count and offset is checked before
it is used. Names are bytes and stay so.

Spec: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual,
"Basic Tar Format", "Storing Sparse Files".
"""

import functools
import zlib

from naru.base.errors import InvalidParameter

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
MAX_RECORDS_BYTES = 1 << 20
MAX_SPARSE_PIECES = 1 << 18
_MAX_NUMBER = (1 << 63) - 1
_MAX_OWNER = (1 << 32) - 2
_NUMBERS_KEPT = 1024

REGULAR, LINK, SYMLINK, CHARACTER, DEVICE, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)
GNU_SPARSE, GNU_NAME, GNU_LINK = b"S", b"L", b"K"
PAX, PAX_GLOBAL = b"x", b"g"
_REGULAR_FORMS = (b"0", b"\0", b"7", b"S")

Piece = tuple[int, int]


class ArchiveError(InvalidParameter):
    """The archive itself is wrong: cut off, malformed, hostile, or larger than allowed."""


class Entry:
    """One member of an archive.

    `size` is the file's real size, `stored` how many payload bytes the archive holds for it, and
    `pieces` where they belong when the file is sparse. `kind` is one of the constants above, or
    another type flag, whose payload is skipped.
    """

    __slots__ = (
        "device",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "name",
        "pieces",
        "size",
        "stored",
        "uid",
        "xattrs",
    )

    def __init__(self) -> None:
        self.name = b""
        self.kind = REGULAR
        self.mode = self.uid = self.gid = self.size = self.stored = self.mtime_ns = 0
        self.link = b""
        self.device = (0, 0)
        self.xattrs: dict[bytes, bytes] | None = None
        self.pieces: list[Piece] | None = None


@functools.lru_cache(_NUMBERS_KEPT)
def parse_number(field: bytes) -> int:
    """An octal or base-256 number. Raises: ArchiveError.

    Remembered, since modes, owners and times are the same all over an archive.
    """
    if field[:1] >= b"\x80":
        value = int.from_bytes(field, "big", signed=False) & ((1 << (len(field) * 8 - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (len(field) * 8 - 1)
        if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
            raise ArchiveError("invalid archive: a number in a header is too large")
        return value
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():
        raise ArchiveError(f"invalid archive: {digits!r} in a header is no octal number")
    try:
        return int(digits, 8)
    except ValueError as error:
        raise ArchiveError(f"invalid archive: {digits!r} is no octal number") from error


def check_sum(block: bytes) -> None:
    """Verify a header's checksum, unsigned or (as old programs wrote it) signed."""
    told = parse_number(block[148:156])
    total = _sum(block[:256]) + _sum(block[256:]) - _sum(block[148:156]) + 256
    if told != total:
        high = sum(1 for byte in block if byte > 127) - sum(1 for b in block[148:156] if b > 127)
        if told != total - 256 * high:
            raise ArchiveError("invalid archive: a header's checksum is wrong")


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes: the lower half of adler32, too small to meet its modulus."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def parse_header(block: bytes) -> Entry:
    """The entry of one header block, before extended records. Raises: ArchiveError."""
    check_sum(block)
    entry = Entry()
    name = _text(block[0:100])
    magic = block[257:265]
    if magic[:6] == b"ustar\0":
        prefix_end = 476 if block[508:512] == b"tar\0" else 500
        prefix = _text(block[345:prefix_end])
        if prefix:
            name = prefix + b"/" + name
    kind = block[156:157]
    entry.name = name
    entry.mode = parse_number(block[100:108]) & 0o7777
    entry.uid = parse_number(block[108:116])
    entry.gid = parse_number(block[116:124])
    entry.stored = entry.size = parse_number(block[124:136])
    entry.mtime_ns = parse_number(block[136:148]) * 1_000_000_000
    if kind in (SYMLINK, LINK):
        entry.link = _text(block[157:257])
    elif kind in (CHARACTER, DEVICE):
        entry.device = (parse_number(block[329:337]), parse_number(block[337:345]))
    elif kind == GNU_SPARSE:
        entry.pieces = _old_sparse(block, 386, 4)
        entry.size = parse_number(block[483:495])
    entry.kind = kind
    return entry


def settle(entry: Entry) -> None:
    """Give the entry its final kind once extended records were applied, and check its numbers.

    Raises: ArchiveError.
    """
    if entry.stored < 0 or entry.size < 0 or entry.size > _MAX_NUMBER:
        raise ArchiveError(f"invalid archive: {show(entry.name)} has an impossible size")
    if not (0 <= entry.uid <= _MAX_OWNER and 0 <= entry.gid <= _MAX_OWNER):
        raise ArchiveError(f"invalid archive: {show(entry.name)} has an impossible owner")
    if b"\0" in entry.name or b"\0" in entry.link:
        raise ArchiveError("invalid archive: a name contains a NUL byte")
    if not -(1 << 63) < entry.mtime_ns < (1 << 63):
        entry.mtime_ns = 0
    if entry.kind in _REGULAR_FORMS:
        old_directory = entry.kind == b"\0" and entry.name.endswith(b"/")
        entry.kind = DIRECTORY if old_directory else REGULAR
    if entry.kind in (LINK, SYMLINK, CHARACTER, DEVICE, DIRECTORY, FIFO):
        entry.size = entry.stored = 0
        entry.pieces = None
    elif entry.pieces is not None:
        check_pieces(entry)


def old_sparse_extension(block: bytes) -> tuple[list[Piece], bool]:
    """The pieces of one extension block of an old GNU sparse header, and whether more follow."""
    return _old_sparse(block, 0, 21), block[504] != 0


def _old_sparse(block: bytes, start: int, count: int) -> list[Piece]:
    pieces = []
    for at in range(start, start + 24 * count, 24):
        if block[at] == 0:
            break
        pieces.append((parse_number(block[at : at + 12]), parse_number(block[at + 12 : at + 24])))
    return pieces


def check_pieces(entry: Entry) -> None:
    """Whether the sparse map is in order and matches the sizes. Raises: ArchiveError."""
    position = total = 0
    for offset, length in entry.pieces or ():
        if offset < position or length < 0 or offset + length > entry.size:
            raise ArchiveError(f"invalid archive: {show(entry.name)} has a broken sparse map")
        position, total = offset + length, total + length
    if total != entry.stored:
        raise ArchiveError(f"invalid archive: {show(entry.name)} has a sparse map of another size")


def parse_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records of a pax header in order. Raises: ArchiveError."""
    records = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise ArchiveError("invalid archive: broken pax record")
        following = position + int(digits)
        if following > end or following <= space + 1 or data[following - 1] != 0x0A:
            raise ArchiveError("invalid archive: broken pax record")
        key, equals, value = data[space + 1 : following - 1].partition(b"=")
        if not equals or not key:
            raise ArchiveError("invalid archive: broken pax record")
        records.append((key, value))
        position = following
    return records


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise ArchiveError(f"invalid archive: {value[:40]!r} in a pax record is no number")
    return int(value)


def parse_time_ns(value: bytes) -> int:
    """`-12.000000003` in nanoseconds, exactly. Raises: ArchiveError."""
    negative = value.startswith(b"-")
    whole, _, fraction = value.removeprefix(b"-").partition(b".")
    if fraction and not fraction.isdigit():
        raise ArchiveError(f"invalid archive: {value[:40]!r} is no time")
    total = _decimal(whole or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -total if negative else total


def apply_records(entry: Entry, records: list[tuple[bytes, bytes]]) -> bool:
    """Put pax records into `entry`; True when its sparse map heads the payload (form 1.0).

    An empty value takes an earlier one back, as the standard says. Raises: ArchiveError.
    """
    sparse: dict[bytes, list[bytes]] = {}
    for key, value in records:
        if key.startswith(b"SCHILY.xattr."):
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[key[13:]] = value
        elif not value:
            continue
        elif key.startswith(b"GNU.sparse."):
            sparse.setdefault(key[11:], []).append(value)
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"size":
            entry.stored = _decimal(value)
            if entry.kind != GNU_SPARSE:
                entry.size = entry.stored
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime_ns = parse_time_ns(value)
    return bool(sparse) and _apply_sparse(entry, sparse)


def _apply_sparse(entry: Entry, records: dict[bytes, list[bytes]]) -> bool:
    """Put `GNU.sparse.` records into `entry`; True when the map heads the payload."""
    if b"name" in records:
        entry.name = records[b"name"][-1]
    sizes = records.get(b"realsize") or records.get(b"size")
    if not sizes:
        return False
    entry.size = _decimal(sizes[-1])
    if (records.get(b"major"), records.get(b"minor")) == ([b"1"], [b"0"]):
        return True
    offsets = [_decimal(value) for value in records.get(b"offset", ())]
    lengths = [_decimal(value) for value in records.get(b"numbytes", ())]
    if b"map" in records:
        numbers = [_decimal(number) for number in records[b"map"][-1].split(b",")]
        offsets, lengths = numbers[0::2], numbers[1::2]
    if len(offsets) != len(lengths):
        raise ArchiveError(f"invalid archive: {show(entry.name)} has a broken sparse map")
    entry.pieces = list(zip(offsets, lengths, strict=True))
    return False


def show(name: bytes) -> str:
    """A name for an error's text: readable, short, without control characters."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= 200 else text[:200] + "…"
