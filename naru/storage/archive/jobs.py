"""What the engine asks of an archive worker and what it is told: the words of their conversation.

Over a stream socket go frames of a length and JSON; the job's frame carries the descriptors.
"""

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

from naru.storage.archive.unpack import Unpacked

_LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 64 << 20
MAX_DESCRIPTORS = 4
UNPACK, PACK, EXPORT, REBUILD = "unpack", "pack", "export", "rebuild"
BACKUP, RESTORE = "backup", "restore"


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. The first descriptor is the directory that becomes the worker's `/`.

    unpack: a layer's folder is filled (see `recipe`) from the archive in the second descriptor,
    `size` bytes of it. pack: a container's upper directory becomes a layer's archive, written to
    the second one. export: everything there becomes a plain archive. rebuild: a layer's folder
    gives its archive back. backup: everything there with all attributes and the top itself becomes
    an archive, compressed as `form` says. restore: the directory becomes what such an archive says.

    `mapped`: the files are shown with the ids of the user namespace in the third descriptor, and
    the worker sees them from within it.
    """

    kind: str
    size: int | None = None
    form: str = "plain"
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a job; digest and bytes are those of the plain archive."""

    digest: str | None = None
    archive_bytes: int = 0
    entries: int = 0
    size_bytes: int = 0
    deferred: tuple[tuple[bytes, str, bytes], ...] = ()
    sockets: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """kind: `archive` (the archive is at fault) or `system`; number: the errno, 0 when unknown."""

    kind: str
    message: str
    number: int = 0


def _frame(body: dict[str, Any]) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def encode_job(job: Job) -> bytes:
    return _frame(asdict(job))


def decode_job(data: bytes) -> Job:
    return Job(**json.loads(data))


def encode_done(done: Done) -> bytes:
    body = asdict(done)
    body["deferred"] = [(_text(path), name, _text(value)) for path, name, value in done.deferred]
    return _frame({"done": body})


def encode_failed(failed: Failed) -> bytes:
    return _frame({"failed": asdict(failed)})


def decode_answer_frame(data: bytes) -> Done | Failed:
    """The answer in a frame. Raises: ValueError, KeyError, TypeError for anything else."""
    body = json.loads(data[HEAD_BYTES : HEAD_BYTES + frame_length(data[:HEAD_BYTES])])
    if "failed" in body:
        return Failed(**body["failed"])
    done = body["done"]
    done["deferred"] = tuple(
        (path.encode("latin-1"), name, value.encode("latin-1"))
        for path, name, value in done["deferred"]
    )
    return Done(**done)


def frame_length(head: bytes) -> int:
    """Raises: ValueError for a frame that is too long."""
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise ValueError("frame too long")
    return int(length)


HEAD_BYTES = _LENGTH.size


def receive_job(connection: socket.socket) -> tuple[Job, list[int]] | None:
    """Block until the job and its descriptors came; None when the engine hung up."""
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, MAX_DESCRIPTORS)
    if not data:
        return None
    while len(data) < HEAD_BYTES or len(data) < HEAD_BYTES + frame_length(data[:HEAD_BYTES]):
        more = connection.recv(1 << 20)
        if not more:
            return None
        data += more
    return decode_job(data[HEAD_BYTES:]), list(descriptors)


def encode_notes(unpacked: Unpacked) -> bytes:
    """The part of `Unpacked` that rebuilding needs, as kept beside a recipe."""
    aliases = {str(ordinal): _text(path) for ordinal, path in unpacked.aliases.items()}
    spills = [(ordinal, _text(path)) for ordinal, path in unpacked.spills]
    return json.dumps({"aliases": aliases, "spills": spills}).encode()


def decode_notes(data: bytes) -> Unpacked:
    body = json.loads(data)
    unpacked = Unpacked()
    unpacked.aliases = {int(k): path.encode("latin-1") for k, path in body["aliases"].items()}
    unpacked.spills = [(ordinal, path.encode("latin-1")) for ordinal, path in body["spills"]]
    return unpacked
