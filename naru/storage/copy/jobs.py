"""The conversation between the engine and a copy helper: frames of a length and JSON.

engine ── job + descriptors ──▶ helper
helper ── stat, or failed ────▶ engine        (what the path is)
helper ── done, or failed ────▶ engine        (the whole archive was read or written)
"""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from naru.storage.copy.stat import PathStat

_LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 1 << 20
MAX_DESCRIPTORS = 250
STAT, GET, PUT = "stat", "get", "put"


@dataclass(frozen=True, slots=True)
class Job:
    """`mounts`: (destination, writable). `owner`: whose the copied files become.

    With it come the descriptors of the archive's pipe (not for `stat`), of a user namespace (only
    when `mapped`, the host's ids of its root: the helper works as that), of a clone of the root,
    and of a clone of every mount.
    """

    kind: str
    path: str
    mounts: tuple[tuple[str, bool], ...] = ()
    read_only: bool = False
    owner: tuple[int, int] | None = None
    keep_kinds: bool = False
    mapped: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Exactly one of `stat`, `failed` or `done`. kind: invalid, missing, denied, system."""

    stat: PathStat | None = None
    failed: tuple[str, str, int] | None = None
    done: bool = False


def encode_job(job: Job) -> bytes:
    return _frame(asdict(job))


def decode_job(data: bytes) -> Job:
    body = json.loads(data)
    body["mounts"] = tuple((item[0], item[1]) for item in body["mounts"])
    body["owner"] = tuple(body["owner"]) if body["owner"] is not None else None
    body["mapped"] = tuple(body["mapped"]) if body["mapped"] is not None else None
    return Job(**body)


def encode_answer(answer: Answer) -> bytes:
    return _frame(
        {
            "stat": answer.stat.to_json() if answer.stat is not None else None,
            "failed": answer.failed,
            "done": answer.done,
        }
    )


def decode_answer(data: bytes) -> Answer:
    """Raises: ValueError, KeyError, TypeError for what no helper of ours says."""
    body = json.loads(data)
    stat = PathStat(**body["stat"]) if body["stat"] is not None else None
    failed = body["failed"]
    return Answer(
        stat=stat,
        failed=(str(failed[0]), str(failed[1]), int(failed[2])) if failed is not None else None,
        done=bool(body["done"]),
    )


def _frame(body: dict[str, Any]) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


HEAD_BYTES = _LENGTH.size


def frame_length(head: bytes) -> int:
    """Raises: ValueError for a frame that is too long."""
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise ValueError("frame too long")
    return int(length)
