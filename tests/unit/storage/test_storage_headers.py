"""Headers as the wild has them, and headers that lie."""

import gzip
import io
import tarfile

import pytest

from naru.base.errors import InvalidParameter
from naru.storage.archive import headers, writing
from naru.storage.archive.compression import Limits, decompress, detect
from naru.storage.archive.headers import Entry
from naru.storage.archive.reading import Feed, Reader
from naru.storage.archive.tree import clean


def read(data: bytes, step: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    """Every entry and payload, the archive cut into chunks of `step` bytes."""
    reader = Reader(Feed(data[at : at + step] for at in range(0, len(data), step)))
    found = []
    while (entry := reader.next()) is not None:
        found.append((entry, b"".join(bytes(piece) for piece in reader.payload())))
    return found


def entry_of(**fields: object) -> Entry:
    entry = Entry()
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        entry_of(name=b"plain", mode=0o644, mtime_ns=10**18),
        entry_of(name=b"n" * 300, mtime_ns=10**18 + 1),
        entry_of(name=b"\xff\xfe/\x80", uid=3_000_000_000, gid=2_097_152),
        entry_of(name=b"old", mtime_ns=-1_500_000_000),
        entry_of(name=b"big", size=9 << 30, stored=9 << 30),
        entry_of(name=b"link", kind=headers.SYMLINK, link=b"t" * 200),
        entry_of(name=b"hard", kind=headers.LINK, link=b"\xff"),
        entry_of(name=b"dev", kind=headers.DEVICE, device=(259, 1_000_000)),
        entry_of(name=b"dir/", kind=headers.DIRECTORY, mode=0o1777),
        entry_of(name=b"x", xattrs={b"user.a": b"\n=\0", b"user.b": b""}),
        entry_of(name=b"a/sparse", size=1 << 40, stored=3, pieces=[(5, 3), (1 << 40, 0)]),
    ],
)
@pytest.mark.parametrize("step", [1 << 20, 512, 7])
def test_what_is_written_is_read(entry: Entry, step: int) -> None:
    if entry.stored > 100:
        data = writing.encode(entry)
        reader = Reader(Feed([data]))
        got = reader.next()
    else:
        payload = b"abc"[: entry.stored]
        data = writing.encode(entry) + payload + writing.padding(entry.stored) + writing.END
        ((got, content),) = read(data, step)
        assert content == payload
    assert got is not None
    for field in Entry.__slots__:
        assert getattr(got, field) == getattr(entry, field), field


def test_python_reads_what_is_written() -> None:
    entry = entry_of(name=b"d/" + "é".encode() * 100, size=5, stored=5, mtime_ns=1_500_000_000)
    data = writing.encode(entry) + b"12345" + writing.padding(5) + writing.END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (member,) = tar.getmembers()
        file = tar.extractfile(member)
        assert file is not None
        assert (member.name, member.mtime, file.read()) == ("d/" + "é" * 100, 1.5, b"12345")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"\0" * 8, 0),
        (b"\x80\0\0\0\0\0\x01\0", 256),
        (b"\xff" * 8, -1),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert headers.parse_number(field) == value


@pytest.mark.parametrize(
    "field", [b"00009\0", b"0x10\0", b"-1\0\0", b"1_0\0", b"\xbf" + b"\xff" * 11]
)
def test_bad_numbers(field: bytes) -> None:
    with pytest.raises(InvalidParameter):
        headers.parse_number(field)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1.5", 1_500_000_000),
        (b"-0.000000001", -1),
        (b"7", 7 * 10**9),
        (b"1.1234567899", 1123456789),
    ],
)
def test_times(text: bytes, value: int) -> None:
    assert headers.parse_time_ns(text) == value
    if len(text) < 12:
        assert headers.parse_time_ns(writing.format_time(value)) == value


@pytest.mark.parametrize(
    "data",
    [b"5 a=\n1", b"0 a=b\n", b"x a=b\n", b"6 a=b", b"99 a=b\n", b"6 =bc\n", b"5 ab\n", b" a=b\n"],
)
def test_bad_records(data: bytes) -> None:
    with pytest.raises(InvalidParameter):
        headers.parse_records(data)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [(b"./a//b/./c/", b"a/b/c"), (b".", b""), (b"a/../b", b"b"), (b"...", b"..."), (b"a/..", b"")],
)
def test_clean(name: bytes, wanted: bytes) -> None:
    assert clean(name) == wanted


@pytest.mark.parametrize("name", [b"/a", b"..", b"a/../..", b"../a", b"//", b"a/b/../../../c"])
def test_names_that_leave(name: bytes) -> None:
    with pytest.raises(InvalidParameter):
        clean(name)


def test_bombs_are_noticed_across_members() -> None:
    packed = gzip.compress(bytes(1 << 20)) * 8
    limits = Limits(free_bytes=4 << 20, ratio=100)
    source = io.BytesIO(packed)
    with pytest.raises(InvalidParameter, match="decompression bomb"):
        for _ in decompress(detect(packed), source.read, limits):
            pass


def test_names_in_errors_are_harmless() -> None:
    assert headers.show(b"a\x1b[31m\n\xff") == "a\\x1b[31m\\x0a\\xff"
    assert len(headers.show(b"x" * 1000)) == 201


def summed(fill: int, told: int) -> bytes:
    """A header full of one byte that tells the sum `told`."""
    block = bytearray([fill]) * headers.BLOCK
    block[148:156] = b"%07o\0" % told
    return bytes(block)


@pytest.mark.parametrize("fill", [0, 1, 127, 255])
def test_a_checksum_is_compared_whole(fill: int) -> None:
    total = 504 * fill + 8 * 0x20
    headers.check_sum(summed(fill, total))
    for other in (total + 1, total + 65521, total + 65536, abs(total - 65521)):
        with pytest.raises(InvalidParameter, match="checksum"):
            headers.check_sum(summed(fill, other))
