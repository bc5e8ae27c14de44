"""A log's files: finding, ordering, reading backwards."""

import asyncio
import os
from pathlib import Path

import pytest

from naru.runtime.logs import files
from naru.runtime.logs.lines import LogQuery, stamp
from naru.runtime.logs.reader import Follower, read_log


def record(text: str, tag: str = "F") -> bytes:
    return stamp(10**18) + f"+00:00 stdout {tag} {text}\n".encode()


def write(path: Path, *records: bytes) -> None:
    path.write_bytes(b"".join(records))


async def collect(path: Path, query: LogQuery, follower: Follower | None = None) -> bytes:
    return b"".join([block async for block in read_log(str(path), query, follower)])


def raw(path: Path, tail: int | None = None) -> bytes:
    return asyncio.run(collect(path, LogQuery(multiplexed=False, tail=tail)))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "container.log"


def test_files_are_read_from_the_oldest(log: Path) -> None:
    write(log.with_name("container.log.10"), record("a"))
    write(log.with_name("container.log.2"), record("b"))
    write(log.with_name("container.log.1"), record("c"))
    write(log, record("d"))
    write(log.with_name("container.log.tmp"), record("not yet"))
    write(log.with_name("container.logbook"), record("another"))
    assert raw(log) == b"a\nb\nc\nd\n"
    assert files.size_bytes(str(log)) == 4 * len(record("a"))


def test_a_missing_log_is_empty(log: Path) -> None:
    assert raw(log) == b""
    assert raw(log, tail=3) == b""


def test_remove_takes_every_file_and_nothing_else(log: Path) -> None:
    for name in ("container.log", "container.log.1", "container.log.tmp", "other"):
        write(log.with_name(name), record("x"))
    files.remove(str(log))
    files.remove(str(log))
    assert os.listdir(log.parent) == ["other"]


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 5, 100])
def test_tail_counts_lines_over_files(log: Path, tail: int) -> None:
    write(log.with_name("container.log.1"), record("a"), record("b"))
    write(log, record("c"), record("d"))
    lines = [b"a\n", b"b\n", b"c\n", b"d\n"]
    assert raw(log, tail) == b"".join(lines[max(0, 4 - tail) :])


@pytest.mark.parametrize("tail", [1, 2, 700, 5000])
def test_tail_reads_backwards_over_block_borders(log: Path, tail: int) -> None:
    lines = [f"{n} " + "x" * (n % 301) for n in range(3000)]
    write(log, *(record(line) for line in lines))
    expected = "".join(line + "\n" for line in lines[-tail:]).encode()
    assert raw(log, tail) == expected


def test_tail_counts_a_line_of_pieces_once(log: Path) -> None:
    pieces = [record("p" * 8000, "P") for _ in range(20)]
    write(log, record("first"), *pieces, record("end"), record("last"))
    assert raw(log, 2) == b"p" * 160_000 + b"end\n" + b"last\n"
    assert raw(log, 1) == b"last\n"


def test_tail_counts_an_unfinished_line(log: Path) -> None:
    write(log, record("first"), record("second"), record("prompt> ", "P"))
    assert raw(log, 1) == b"prompt> "
    assert raw(log, 2) == b"second\nprompt> "


def test_tail_ignores_a_half_record_at_the_end(log: Path) -> None:
    write(log, record("first"), record("second"), record("half")[:-1])
    assert raw(log, 1) == b"second\n"


def test_a_follower_passes_rotations_and_ends_with_the_container(log: Path) -> None:
    async def scenario() -> None:
        write(log, record("1"))
        follower = Follower()
        blocks = read_log(str(log), LogQuery(multiplexed=False), follower)
        seen = await anext(blocks)
        for number in range(2, 8):
            with open(log, "ab") as out:
                out.write(record(f"{number} before"))
            os.replace(log, log.with_name("container.log.1"))
            with open(log.with_name("container.log.1"), "ab") as out:
                out.write(record(f"{number} late"))
            write(log, record(f"{number} after"))
            follower.changed()
            while f"{number} after\n".encode() not in seen:
                seen += await anext(blocks)
        follower.end()
        seen += b"".join([block async for block in blocks])
        expected = "1\n" + "".join(f"{n} before\n{n} late\n{n} after\n" for n in range(2, 8))
        assert seen == expected.encode()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_follower_of_a_log_that_is_not_there_yet(log: Path) -> None:
    async def scenario() -> None:
        follower = Follower()
        blocks = read_log(str(log), LogQuery(multiplexed=False), follower)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(anext(blocks))
            await asyncio.sleep(0)
            write(log, record("hello"))
            follower.changed()
        assert first.result() == b"hello\n"
        await blocks.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_closed_reader_leaves_no_descriptor(log: Path) -> None:
    async def scenario() -> None:
        write(log, *(record("x" * 8000) for _ in range(400)))
        write(log.with_name("container.log.1"), record("a"))
        before = os.listdir("/proc/self/fd")
        blocks = read_log(str(log), LogQuery())
        await anext(blocks)
        await blocks.aclose()
        assert os.listdir("/proc/self/fd") == before

    asyncio.run(scenario())
