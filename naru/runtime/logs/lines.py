"""conmon's log format, and what a client gets of it. Pure.

One record is a line of fixed head and free rest (times are UTC, because we start conmon so):

    2026-11-21T02:17:57.608416512+00:00 stdout F text of a whole line
    2026-11-21T02:17:57.608416512+00:00 stderr P piece of a line, more follows
    |0                                 |36    |43|45

Records are decoded in bulk: whole blocks of complete lines by one comprehension, anything else
(pieces, filters, damaged records) one by one. A record that has no such head (a disk was full in
the middle of writing it) is left out.
"""

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

HEAD_BYTES = 45
TIME_BYTES = 29
_STAMP_BYTES = TIME_BYTES + 2
_JOIN_LIMIT_BYTES = 16384
_FRAME = struct.Struct(">BxxxL")
_TAGS = {
    b"stdout F ": (1, True),
    b"stdout P ": (1, False),
    b"stderr F ": (2, True),
    b"stderr P ": (2, False),
}
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What a client wants of a log. `tail` None is everything; times are ns since the epoch.

    `details`: what stands before each line (Docker's `--details`), None for nothing at all.
    `multiplexed`: each line in a frame that names its stream, else only the text.
    """

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bytes | None = None
    multiplexed: bool = True


def stamp(ns: int) -> bytes:
    """`ns` as records begin: comparable byte by byte."""
    seconds, fraction = divmod(ns, _NS)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}", time.gmtime(seconds)).encode()


class _Heads(dict[int, bytes]):
    """Frame header for a complete record, by the record's length; made when first wanted."""

    def __init__(self, stream: int, overhead_bytes: int) -> None:
        super().__init__()
        self._stream, self._overhead_bytes = stream, overhead_bytes

    def __missing__(self, record_bytes: int) -> bytes:
        head = _FRAME.pack(self._stream, record_bytes + self._overhead_bytes)
        self[record_bytes] = head
        return head


class LineEncoder:
    """Turns blocks of a log into what the client gets. `done` once `until` has passed."""

    def __init__(self, query: LogQuery) -> None:
        self._query = query
        self._since = stamp(query.since_ns) if query.since_ns > 0 else b""
        self._until = stamp(query.until_ns) if query.until_ns > 0 else b""
        self._wanted = {n for n, on in ((1, query.stdout), (2, query.stderr)) if on}
        self._rest = b""
        self._pieces: dict[int, bytes] = {}
        self._begun: set[int] = set()
        self.done = False
        overhead = 1 - HEAD_BYTES + (_STAMP_BYTES if query.timestamps else 0)
        self._heads: Mapping[bytes, _Heads] = {
            b"stdout F ": _Heads(1, overhead),
            b"stderr F ": _Heads(2, overhead),
        }
        self._plain = (
            not self._since and not self._until and query.details is None and self._wanted == {1, 2}
        )

    def feed(self, block: bytes) -> bytes:
        """The encoded form of the records that `block` completes."""
        data = self._rest + block if self._rest else block
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if end == 0 or self.done:
            return b""
        records = data[: end - 1].split(b"\n")
        if self._plain and not self._pieces and not self._begun:
            try:
                return self._whole_lines(records)
            except KeyError:
                pass
        return self._one_by_one(records)

    def _whole_lines(self, records: list[bytes]) -> bytes:
        """Raises: KeyError when a record is not a complete line."""
        heads = self._heads
        if not self._query.multiplexed:
            for tag in {record[36:45] for record in records}:
                heads[tag]
            if self._query.timestamps:
                lines = [record[:29] + b"Z " + record[45:] for record in records]
            else:
                lines = [record[45:] for record in records]
        elif self._query.timestamps:
            lines = [
                b"%b%bZ %b" % (heads[record[36:45]][len(record)], record[:29], record[45:])
                for record in records
            ]
        else:
            lines = [heads[record[36:45]][len(record)] + record[45:] for record in records]
        lines.append(b"")
        return b"\n".join(lines)

    def _one_by_one(self, records: list[bytes]) -> bytes:
        out: list[bytes] = []
        for record in records:
            stream, complete = _TAGS.get(record[36:45], (0, False))
            if stream not in self._wanted or record[:TIME_BYTES] < self._since:
                continue
            if self._until and record[:TIME_BYTES] > self._until:
                self.done = True
                break
            if complete and stream not in self._pieces and stream not in self._begun:
                self._emit(out, stream, record[:TIME_BYTES], record[HEAD_BYTES:] + b"\n")
            else:
                self._join(out, stream, complete, record)
        return b"".join(out)

    def _join(self, out: list[bytes], stream: int, complete: bool, record: bytes) -> None:
        """Adds a piece to its line; lines over 16 KiB are given out in parts."""
        held = self._pieces.pop(stream, b"")
        held = held + record[HEAD_BYTES:] if held else record[:TIME_BYTES] + record[HEAD_BYTES:]
        if complete:
            self._emit(out, stream, held[:TIME_BYTES], held[TIME_BYTES:] + b"\n")
            self._begun.discard(stream)
        elif len(held) >= _JOIN_LIMIT_BYTES:
            self._emit(out, stream, held[:TIME_BYTES], held[TIME_BYTES:])
            self._begun.add(stream)
        else:
            self._pieces[stream] = held

    def _emit(self, out: list[bytes], stream: int, when: bytes, text: bytes) -> None:
        if stream not in self._begun:
            if self._query.details is not None:
                text = self._query.details + b" " + text
            if self._query.timestamps:
                text = when + b"Z " + text
        if self._query.multiplexed:
            out.append(_FRAME.pack(stream, len(text)))
        out.append(text)

    def next_file(self) -> None:
        """What follows is another file: a record that the last one broke off is damaged."""
        self._rest = b""

    def finish(self) -> bytes:
        """What is held of lines that did not end; to be called once, at the log's end."""
        out: list[bytes] = []
        if not self.done:
            for stream, held in sorted(self._pieces.items()):
                self._emit(out, stream, held[:TIME_BYTES], held[TIME_BYTES:])
        self._pieces.clear()
        return b"".join(out)
