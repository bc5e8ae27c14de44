"""Output waiting for a client: order, spilling, cutting off."""

import asyncio
import os
from pathlib import Path

from naru.runtime.output import STDERR, STDOUT, Frame, OutputBuffer


async def drain(buffer: OutputBuffer) -> list[Frame]:
    frames = []
    while (frame := await buffer.read()) is not None:
        frames.append(frame)
    return frames


def test_frames_keep_their_order_and_neighbours_are_joined(tmp_path: Path) -> None:
    async def scenario() -> None:
        buffer = OutputBuffer(str(tmp_path))
        for stream, data in ((1, b"a"), (1, b"b"), (2, b"c"), (1, b"d"), (1, b"")):
            buffer.push(stream, data)
        buffer.end()
        buffer.push(1, b"too late")
        assert await drain(buffer) == [(1, b"ab"), (2, b"c"), (1, b"d")]

    asyncio.run(scenario())


def test_what_does_not_fit_in_memory_waits_in_a_file_without_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = len(os.listdir("/proc/self/fd"))
        buffer = OutputBuffer(str(tmp_path), memory_bytes=100, spill_bytes=100_000)
        expected = b""
        for number in range(3):
            for part in range(200):
                data = f"{number}-{part};".encode() * 3
                expected += data
                buffer.push(STDERR if part % 7 == 0 else STDOUT, data)
            assert os.listdir(tmp_path) == []
            assert len(os.listdir("/proc/self/fd")) == before + 1
            received = b""
            while len(received) < len(expected):
                frame = await buffer.read()
                assert frame is not None
                received += frame[1]
            assert received == expected
            expected = b""
            assert len(os.listdir("/proc/self/fd")) == before
        buffer.end()
        assert await buffer.read() is None

    asyncio.run(scenario())


def test_past_the_bound_the_stream_ends_with_a_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        buffer = OutputBuffer(str(tmp_path), memory_bytes=10, spill_bytes=1 << 20)
        for _ in range(200):
            buffer.push(STDOUT, b"x" * 8192)
        frames = await drain(buffer)
        assert sum(len(data) for stream, data in frames if stream == STDOUT) == 8192 * 127
        assert frames[-1][0] == STDERR
        assert b"the output ends here" in frames[-1][1]

    asyncio.run(scenario())


def test_a_full_disk_cuts_off_instead_of_failing(tmp_path: Path) -> None:
    async def scenario() -> None:
        buffer = OutputBuffer(str(tmp_path / "missing"), memory_bytes=4)
        buffer.push(STDOUT, b"abcd")
        buffer.push(STDOUT, b"e")
        frames = await drain(buffer)
        assert frames[0] == (STDOUT, b"abcd")
        assert frames[1][0] == STDERR

    asyncio.run(scenario())


def test_a_gone_reader_costs_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = len(os.listdir("/proc/self/fd"))
        buffer = OutputBuffer(str(tmp_path), memory_bytes=4)
        buffer.push(STDOUT, b"abcdefgh")
        buffer.discard()
        buffer.push(STDOUT, b"abcdefgh")
        assert await buffer.read() is None
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())


def test_a_waiting_reader_is_woken(tmp_path: Path) -> None:
    async def scenario() -> None:
        buffer = OutputBuffer(str(tmp_path))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(buffer.read())
            await asyncio.sleep(0)
            buffer.push(STDOUT, b"now")
        assert waiting.result() == (STDOUT, b"now")

    asyncio.run(asyncio.wait_for(scenario(), 10))
