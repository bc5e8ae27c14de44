"""Blobs: whole or absent, verified, never outside their folder."""

import os
from pathlib import Path

import pytest

from naru.base.errors import Internal, InvalidParameter, NotFound
from naru.spec.oci.digest import digest_of
from naru.storage.content import Content


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return Content(str(tmp_path / "content"))


def test_store_and_read(content: Content) -> None:
    with content.writer() as writer:
        writer.write(b"one ")
        writer.write(memoryview(b"two"))
        digest, size = writer.commit()
    assert (digest, size) == (digest_of(b"one two"), 7)
    assert content.has(digest)
    assert content.size(digest) == 7
    assert content.read(digest, 100) == b"one two"
    assert list(content.digests()) == [digest]
    fd = content.open(digest)
    assert os.read(fd, 100) == b"one two"
    os.close(fd)
    content.sync()
    content.delete(digest)
    content.delete(digest)
    assert not content.has(digest)


def test_expectations(content: Content, tmp_path: Path) -> None:
    good = digest_of(b"abc")
    with pytest.raises(InvalidParameter, match="digest"):
        content.put(b"other", good)
    with content.writer(good, 3) as writer, pytest.raises(InvalidParameter, match="larger"):
        writer.write(b"abcd")
    with content.writer(good, 4) as writer, pytest.raises(InvalidParameter, match="announced"):
        writer.write(b"abc")
        writer.commit()
    assert list(content.digests()) == []
    assert os.listdir(content.ingest_dir) == []
    assert content.put(b"abc", good) == good


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../etc/passwd", "md5:" + "0" * 32,
     "sha256:" + "0" * 63 + "/", "sha256:" + "0" * 64 + "\n", "0" * 64],
)  # fmt: skip
def test_malformed_digests(content: Content, digest: str) -> None:
    for call in (content.path, content.has, content.open, content.delete, content.writer):
        with pytest.raises(InvalidParameter):
            call(digest)


def test_missing_and_damaged(content: Content) -> None:
    digest = digest_of(b"gone")
    for call in (content.size, content.open):
        with pytest.raises(NotFound):
            call(digest)
    content.put(b"gone")
    with pytest.raises(Internal, match="larger"):
        content.read(digest, 2)
    Path(content.path(digest)).write_bytes(b"rot!")
    with pytest.raises(Internal, match="damaged"):
        content.read(digest, 100)


def test_half_written_is_forgotten(content: Content, tmp_path: Path) -> None:
    writer = content.writer()
    writer.write(b"half")
    assert os.listdir(content.ingest_dir)
    again = Content(str(tmp_path / "content"))
    assert os.listdir(again.ingest_dir) == []
    writer.abort()
