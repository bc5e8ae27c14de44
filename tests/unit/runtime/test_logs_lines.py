"""Decoding conmon's log records."""

import struct

import pytest

from naru.runtime.logs.lines import LineEncoder, LogQuery, stamp

SECOND = 1_000_000_000
T0 = 1_795_227_477 * SECOND  # 2026-11-21T02:17:57Z


def record(text: str, *, stream: str = "stdout", tag: str = "F", ns: int = 0) -> bytes:
    return stamp(T0 + ns) + f"+00:00 {stream} {tag} {text}\n".encode()


def frame(text: str, stream: int = 1) -> bytes:
    data = text.encode()
    return struct.pack(">BxxxL", stream, len(data)) + data


def encode(log: bytes, query: LogQuery, block_bytes: int = 1 << 20) -> bytes:
    encoder = LineEncoder(query)
    out = [encoder.feed(log[at : at + block_bytes]) for at in range(0, len(log), block_bytes)]
    return b"".join([*out, encoder.finish()])


BLOCKS = pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])


@BLOCKS
def test_whole_lines_keep_order_and_stream(block_bytes: int) -> None:
    log = record("one") + record("two", stream="stderr") + record("") + record("naïve")
    expected = frame("one\n") + frame("two\n", 2) + frame("\n") + frame("naïve\n")
    assert encode(log, LogQuery(), block_bytes) == expected


@BLOCKS
def test_raw_output_is_only_the_text(block_bytes: int) -> None:
    log = record("one\r") + record("two")
    assert encode(log, LogQuery(multiplexed=False), block_bytes) == b"one\r\ntwo\n"


@BLOCKS
@pytest.mark.parametrize("multiplexed", [True, False])
def test_timestamps_stand_before_each_line(block_bytes: int, multiplexed: bool) -> None:
    line = "2026-11-21T02:17:57.000000005Z one\n"
    query = LogQuery(timestamps=True, multiplexed=multiplexed)
    expected = frame(line) if multiplexed else line.encode()
    assert encode(record("one", ns=5), query, block_bytes) == expected


@BLOCKS
def test_pieces_are_joined_per_stream(block_bytes: int) -> None:
    log = (
        record("a", tag="P")
        + record("x", stream="stderr", tag="P")
        + record("b", tag="P")
        + record("whole", stream="stdout", tag="F")
        + record("y", stream="stderr")
        + record("next")
    )
    expected = frame("abwhole\n") + frame("xy\n", 2) + frame("next\n")
    assert encode(log, LogQuery(), block_bytes) == expected


def test_a_joined_line_has_one_timestamp_of_its_first_piece() -> None:
    log = record("a", tag="P", ns=1) + record("b", ns=2)
    assert encode(log, LogQuery(timestamps=True)) == frame("2026-11-21T02:17:57.000000001Z ab\n")


def test_an_unfinished_line_is_given_at_the_end() -> None:
    assert encode(record("one") + record("prompt> ", tag="P"), LogQuery()) == (
        frame("one\n") + frame("prompt> ")
    )


def test_a_very_long_line_comes_in_parts_that_add_up() -> None:
    pieces = [chr(97 + n) * 8192 for n in range(5)]
    log = b"".join(record(piece, tag="P") for piece in pieces) + record("end") + record("next")
    raw = encode(log, LogQuery(multiplexed=False, timestamps=True))
    when = b"2026-11-21T02:17:57.000000000Z "
    assert raw == when + "".join(pieces).encode() + b"end\n" + when + b"next\n"


def test_a_damaged_record_is_left_out_and_the_rest_is_read() -> None:
    log = record("one") + b"2026-11-21T02:17:57.0000\n" + b"\n\xff\xfe\n" + record("two")
    assert encode(log, LogQuery()) == frame("one\n") + frame("two\n")


def test_a_half_record_at_the_end_is_left_out() -> None:
    assert encode(record("one") + record("two")[:-1], LogQuery()) == frame("one\n")


def test_since_and_until_are_inclusive_and_until_ends_the_reading() -> None:
    log = b"".join(record(str(n), ns=n) for n in range(6))
    encoder = LineEncoder(LogQuery(since_ns=T0 + 2, until_ns=T0 + 4))
    assert encoder.feed(log) == frame("2\n") + frame("3\n") + frame("4\n")
    assert encoder.done
    assert encoder.feed(record("late")) == b""


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (True, False, frame("out\n")),
        (False, True, frame("err\n", 2)),
        (False, False, b""),
    ],
)
def test_only_the_wanted_streams(stdout: bool, stderr: bool, expected: bytes) -> None:
    log = record("out") + record("err", stream="stderr")
    assert encode(log, LogQuery(stdout=stdout, stderr=stderr)) == expected


def test_details_stand_between_time_and_text() -> None:
    query = LogQuery(details=b"a=b", timestamps=True)
    assert encode(record("one"), query) == frame("2026-11-21T02:17:57.000000000Z a=b one\n")


def test_text_that_looks_like_a_head_is_text() -> None:
    inner = record("inner").decode().rstrip("\n")
    assert encode(record(inner), LogQuery()) == frame(inner + "\n")
