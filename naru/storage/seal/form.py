"""The form of a sealed stream: encrypted and authenticated with a passphrase, in order, to its end.

    header   `NARUSEAL`, version (1), log2 of scrypt's N, 0, 0, salt (16), nonce prefix (7), 0
    chunk    up to 1 MiB of the plain stream, encrypted, and a tag of 16 bytes; and so on

The key is scrypt(passphrase, salt, N, r=8, p=1), 32 bytes. A chunk is AES-256-GCM under the nonce
prefix ‖ number of the chunk (4, big-endian) ‖ 1 for the last one, else 0, with the header as the
associated data (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár). So a chunk that
was changed, moved, left out or added is noticed, and so is an end that is missing. The last chunk
is there even if it is empty. Why this form: docs/adr/0011-sealed-streams.md.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from naru.base.errors import InvalidParameter

MAGIC = b"NARUSEAL"
CHUNK_BYTES = 1 << 20
TAG_BYTES = 16
_VERSION = 1
_LOG_N, _LEAST_LOG_N, _MOST_LOG_N = 17, 14, 20
_R, _P = 8, 1
_SALT_BYTES, _PREFIX_BYTES = 16, 7
_HEADER = struct.Struct(f">8sBBBB{_SALT_BYTES}s{_PREFIX_BYTES}sB")
HEADER_BYTES = _HEADER.size
_MOST_CHUNKS = (1 << 32) - 1

Read = Callable[[int], bytes]


class SealError(InvalidParameter):
    """The stream cannot be opened: the text says why."""


def _key(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    memory = 256 * _R * (1 << log_n)
    return hashlib.scrypt(passphrase, salt=salt, n=1 << log_n, r=_R, p=_P, maxmem=memory, dklen=32)


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    if number > _MOST_CHUNKS:
        raise SealError("the stream is too long to be sealed")
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _exactly(read: Read, size: int) -> bytes:
    """`size` bytes; fewer only at the end."""
    parts: list[bytes] = []
    while size and (data := read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def seal(read: Read, passphrase: bytes, *, log_n: int = _LOG_N) -> Iterator[bytes]:
    """The sealed form of everything that `read` gives."""
    salt, prefix = os.urandom(_SALT_BYTES), os.urandom(_PREFIX_BYTES)
    header = _HEADER.pack(MAGIC, _VERSION, log_n, 0, 0, salt, prefix, 0)
    cipher = AESGCM(_key(passphrase, salt, log_n))
    yield header
    number = 0
    chunk = _exactly(read, CHUNK_BYTES)
    while True:
        following = _exactly(read, CHUNK_BYTES) if len(chunk) == CHUNK_BYTES else b""
        yield cipher.encrypt(_nonce(prefix, number, not following), chunk, header)
        if not following:
            return
        chunk, number = following, number + 1


def unseal(read: Read, passphrase: bytes) -> Iterator[bytes]:
    """The plain stream; nothing of it is proven whole before the iterator has ended.

    Raises: SealError.
    """
    header = _exactly(read, HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise SealError("the archive is not encrypted in a form that Naru knows")
    _, version, log_n, zero, other, salt, prefix, last_zero = _HEADER.unpack(header)
    if version != _VERSION or zero or other or last_zero:
        raise SealError(f"the archive is encrypted in version {version} of the form, not in 1")
    if not _LEAST_LOG_N <= log_n <= _MOST_LOG_N:
        raise SealError(f"the archive asks for 2^{log_n} steps of scrypt: refused")
    cipher = AESGCM(_key(passphrase, salt, log_n))
    number = 0
    sealed = _exactly(read, CHUNK_BYTES + TAG_BYTES)
    while True:
        following = _exactly(read, CHUNK_BYTES + TAG_BYTES) if _is_full(sealed) else b""
        yield _opened(cipher, prefix, number, not following, sealed, header)
        if not following:
            return
        sealed, number = following, number + 1


def _is_full(sealed: bytes) -> bool:
    return len(sealed) == CHUNK_BYTES + TAG_BYTES


def _opened(
    cipher: AESGCM, prefix: bytes, number: int, last: bool, sealed: bytes, header: bytes
) -> bytes:
    try:
        return cipher.decrypt(_nonce(prefix, number, last), sealed, header)
    except (InvalidTag, ValueError):
        pass
    if last and _is_full(sealed):
        try:
            cipher.decrypt(_nonce(prefix, number, False), sealed, header)
        except InvalidTag:
            pass
        else:
            raise SealError("the encrypted archive is cut off")
    if number == 0:
        raise SealError("wrong passphrase, or the encrypted archive is damaged or cut off")
    what = "damaged or cut off" if last else "damaged"
    raise SealError(f"the encrypted archive is {what} at chunk {number}")
