"""Blobs by digest: configurations, manifests, and whatever else is kept as the bytes it came as.

A blob is written to `ingest/`, verified, and renamed into `blobs/sha256/`, so a name there always
holds the whole of what its digest names. Layers are not blobs: `snapshots` keeps their files and
rebuilds their archives. All calls are synchronous and belong into a thread when data is large.

    ContentWriter: open ── write* ──▶ open ── commit ──▶ stored
                    └──────────── abort ──▶ gone
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from types import TracebackType

from naru.base.errors import Internal, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.base.ids import is_id
from naru.kernel.files import read_file_limited, remove_tree, syncfs, write_all
from naru.spec.oci.digest import parse_digest
from naru.storage.disk import explain

_WRITTEN = declare("content.written")
_PLACED = declare("content.placed")


class ContentWriter:
    """Takes the bytes of one blob; exactly one of `commit` and `abort` ends it."""

    def __init__(
        self, content: "Content", path: str, expected_digest: str | None, expected_size: int | None
    ) -> None:
        self._content = content
        self._path = path
        self._digest, self._size = expected_digest, expected_size
        self._hash = hashlib.sha256()
        self._written = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes. Raises: InvalidParameter past the expected size, Internal (disk full)."""
        self._written += len(data)
        if self._size is not None and self._written > self._size:
            raise InvalidParameter(f"blob is larger than the {self._size} bytes announced")
        self._hash.update(data)
        try:
            write_all(self._fd, data)
        except OSError as error:
            raise explain(error, "store a blob") from error

    def commit(self) -> tuple[str, int]:
        """Store what was written as (digest, size); the caller syncs before it is acknowledged.

        Raises: InvalidParameter when digest or size are not the expected ones, Internal.
        """
        digest = "sha256:" + self._hash.hexdigest()
        if self._size is not None and self._written != self._size:
            self.abort()
            raise InvalidParameter(f"blob has {self._written} bytes, announced were {self._size}")
        if self._digest is not None and self._digest != digest:
            self.abort()
            raise InvalidParameter(f"blob has digest {digest}, announced was {self._digest}")
        try:
            _WRITTEN()
            self._close()
            os.rename(self._path, self._content.path(digest))
            _PLACED()
        except OSError as error:
            raise explain(error, "store a blob") from error
        return digest, self._written

    def abort(self) -> None:
        """Forget the bytes; harmless after commit."""
        self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "ContentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class Content:
    """The blobs below `root`; making it empties what an earlier engine left half written."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._blobs = os.path.join(root, "blobs", "sha256")
        self._ingest = os.path.join(root, "ingest")
        for folder in (root, os.path.join(root, "blobs"), self._blobs):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        remove_tree(self._ingest)
        os.mkdir(self._ingest, 0o700)

    @property
    def ingest_dir(self) -> str:
        """Where half-made things may lie: emptied at the start."""
        return self._ingest

    def path(self, digest: str) -> str:
        """Where the blob lies, or would. Raises: InvalidParameter for a malformed digest."""
        return os.path.join(self._blobs, parse_digest(digest).removeprefix("sha256:"))

    def has(self, digest: str) -> bool:
        return os.path.isfile(self.path(digest))

    def size(self, digest: str) -> int:
        """Bytes of the blob. Raises: NotFound."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError as error:
            raise NotFound(f"No such blob: {digest}") from error

    def open(self, digest: str) -> int:
        """A descriptor for reading, which the caller closes. Raises: NotFound."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"No such blob: {digest}") from error

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """The whole blob, verified. Raises: NotFound, Internal when it rotted or is larger."""
        if self.size(digest) > limit_bytes:
            raise Internal(f"blob {digest} is larger than {limit_bytes} bytes")
        data = read_file_limited(self.path(digest), limit_bytes)
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise Internal(f"blob {digest} is damaged on disk: load the image again")
        return data

    def delete(self, digest: str) -> None:
        """Remove a blob; a missing one is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def digests(self) -> Iterator[str]:
        """Every stored blob's digest, in no order."""
        with os.scandir(self._blobs) as entries:
            for entry in entries:
                if is_id(entry.name):
                    yield "sha256:" + entry.name

    def writer(
        self, expected_digest: str | None = None, expected_size: int | None = None
    ) -> ContentWriter:
        """Start a blob. Raises: InvalidParameter for a malformed digest."""
        if expected_digest is not None:
            parse_digest(expected_digest)
        path = os.path.join(self._ingest, secrets.token_hex(8))
        return ContentWriter(self, path, expected_digest, expected_size)

    def put(self, data: bytes, expected_digest: str | None = None) -> str:
        """Store a small blob; its digest. Raises: InvalidParameter when it is another one."""
        with self.writer(expected_digest, len(data)) as writer:
            writer.write(data)
            return writer.commit()[0]

    def sync(self) -> None:
        """Make every committed blob survive a power loss: one syncfs, before the record.

        Raises: Internal.
        """
        try:
            syncfs(self._root)
        except OSError as error:
            raise explain(error, "write blobs to the disk") from error
