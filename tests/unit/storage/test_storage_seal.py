"""The form of sealed streams: what goes in comes out, and nothing else opens."""

import io

import pytest

from naru.storage.seal import service
from naru.storage.seal.form import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MAGIC,
    TAG_BYTES,
    SealError,
    seal,
    unseal,
)

WORD = b"correct horse"
LEAST = 14


def sealed(plain: bytes) -> bytes:
    return b"".join(seal(io.BytesIO(plain).read, WORD, log_n=LEAST))


def opened(data: bytes, passphrase: bytes = WORD) -> bytes:
    return b"".join(unseal(io.BytesIO(data).read, passphrase))


def test_the_magic_is_known_without_the_cryptography() -> None:
    assert service.MAGIC == MAGIC


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 << 20])
def test_round_trip(size: int) -> None:
    plain = bytes(range(256)) * (size // 256 + 1)
    data = sealed(plain[:size])
    assert opened(data) == plain[:size]
    chunks = max(1, -(-size // CHUNK_BYTES))
    assert len(data) == HEADER_BYTES + size + chunks * TAG_BYTES
    slow = io.BytesIO(data)
    assert b"".join(unseal(lambda most: slow.read(min(most, 1000)), WORD)) == plain[:size]


def test_two_seals_share_nothing() -> None:
    assert sealed(b"x" * 100)[HEADER_BYTES:] != sealed(b"x" * 100)[HEADER_BYTES:]


def test_a_wrong_passphrase() -> None:
    with pytest.raises(SealError, match="wrong passphrase"):
        opened(sealed(b"secret"), b"incorrect")


def test_every_cut_is_noticed() -> None:
    data = sealed(bytes(2 * CHUNK_BYTES + 100))
    whole = CHUNK_BYTES + TAG_BYTES
    cuts = [0, 7, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 15, HEADER_BYTES + whole - 1]
    cuts += [HEADER_BYTES + whole, HEADER_BYTES + 2 * whole, len(data) - 1]
    for cut in cuts:
        with pytest.raises(SealError):
            opened(data[:cut])
    with pytest.raises(SealError, match="cut off"):
        opened(data[: HEADER_BYTES + whole])


def test_every_change_is_noticed() -> None:
    data = sealed(bytes(2 * CHUNK_BYTES + 100))
    whole = CHUNK_BYTES + TAG_BYTES
    head, first, second, last = (
        data[:HEADER_BYTES],
        data[HEADER_BYTES : HEADER_BYTES + whole],
        data[HEADER_BYTES + whole : HEADER_BYTES + 2 * whole],
        data[HEADER_BYTES + 2 * whole :],
    )
    for hostile in (
        head + second + first + last,
        head + first + last,
        head + first + first + second + last,
        data + b"x",
        data + last,
        head + last,
    ):
        with pytest.raises(SealError):
            opened(hostile)
    for at in (12, 20, 34, HEADER_BYTES + 5, HEADER_BYTES + whole + 5, len(data) - 1):
        with pytest.raises(SealError):
            opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_header_that_asks_for_too_much() -> None:
    data = sealed(b"x")
    with pytest.raises(SealError, match="2.31 steps of scrypt: refused"):
        opened(data[:9] + bytes([31]) + data[10:])
    with pytest.raises(SealError, match="version 2"):
        opened(data[:8] + bytes([2]) + data[9:])
    with pytest.raises(SealError, match="not encrypted in a form"):
        opened(b"x" * 100)
