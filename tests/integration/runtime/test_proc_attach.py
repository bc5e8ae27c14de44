"""Clients at a container's stdio."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from proc_harness import drain, read_until, rig

from naru.kernel.process import ProcessId

pytestmark = pytest.mark.root

LINES = b"0123456789abcdef\n" * 150_000


def processor_ticks(process: ProcessId) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_clients_before_the_start_miss_no_byte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            for _ in range(15):
                sessions = [r.runtime.attach("c") for _ in range(3)]
                only_err = r.runtime.attach("c", stdout=False)
                launched = await r.started("c", "sh", "-c", "echo out; echo err >&2")
                for session in sessions:
                    assert await drain(session) == {1: b"out\n", 2: b"err\n"}
                assert await drain(only_err) == {1: b"", 2: b"err\n"}
                assert await r.finished("c", launched) == 0

    asyncio.run(scenario())


def test_large_output_arrives_whole_at_every_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            sessions = [r.runtime.attach("c") for _ in range(2)]
            launched = await r.started("c", "seq", "1", "300000")
            expected = "".join(f"{n}\n" for n in range(1, 300001)).encode()
            for output in await asyncio.gather(*(drain(session) for session in sessions)):
                assert output == {1: expected, 2: b""}
            await r.finished("c", launched)

    asyncio.run(scenario())


@pytest.mark.parametrize("script", ["cat", "sleep 0.2; cat"])
def test_half_close_is_eof_and_the_output_still_comes(tmp_path: Path, script: str) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            launched = await r.started(
                "c", "sh", "-c", f"{script}; echo end", stdin=True, stdin_once=True
            )
            async with asyncio.TaskGroup() as group:
                output = group.create_task(drain(session))
                await session.write(LINES)
                session.close_stdin()
            assert output.result()[1] == LINES + b"end\n"
            assert await r.finished("c", launched) == 0

    asyncio.run(scenario())


def test_stdin_of_the_first_client_only_ends_where_stdin_once_is_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "cat", stdin=True, stdin_once=False)
            for text in (b"one\n", b"two\n"):
                session = r.runtime.attach("c", stdin=True)
                await session.write(text)
                await read_until(session, text)
                session.close_stdin()
                session.close()
            watching = r.runtime.attach("c")
            await r.runtime.resume("c")
            assert r.runtime.processes("c") == [launched.process.pid]
            r.runtime.kill(launched.process, signal.SIGKILL)
            await drain(watching)
            await r.finished("c", launched)

            watching = r.runtime.attach("d")
            session = r.runtime.attach("d", stdin=True)
            launched = await r.started("d", "cat", stdin=True, stdin_once=True)
            await session.write(b"text")
            session.close()  # the client is gone
            assert (await drain(watching))[1] == b"text"
            assert await r.finished("d", launched) == 0

    asyncio.run(scenario())


def test_a_watching_client_that_leaves_does_not_end_stdin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "cat", stdin=True, stdin_once=True)
            r.runtime.attach("c").close()
            session = r.runtime.attach("c", stdin=True)
            await session.write(b"still open\n")
            await read_until(session, b"still open\n")
            session.close_stdin()
            assert (await drain(session)) == {1: b"", 2: b""}
            assert await r.finished("c", launched) == 0

    asyncio.run(scenario())


def test_a_client_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            lazy = r.runtime.attach("c")
            script = "head -c 90000000 /dev/zero; echo end >&2; sleep 100"
            launched = await r.started("c", "sh", "-c", script)
            eager = r.runtime.attach("c", stdout=False)
            await read_until(eager, b"end\n")
            began = time.monotonic()
            r.runtime.kill(launched.process, signal.SIGKILL)
            assert await r.finished("c", launched) == 137
            assert time.monotonic() - began < 1
            output = await drain(lazy)
            assert 60_000_000 < len(output[1]) < 70_000_000
            assert b"the output ends here" in output[2]

    asyncio.run(scenario())


def test_a_workload_that_does_not_read_blocks_only_its_writer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            launched = await r.started("c", "sleep", "100", stdin=True, stdin_once=True)
            for _ in range(1000):
                r.runtime.resize("c", 1, 1)  # has no terminal: nothing happens
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(session.write(LINES))
                await asyncio.sleep(0.05)
                assert not writing.done()
                began = time.monotonic()
                r.runtime.kill(launched.process, signal.SIGKILL)
                assert await r.finished("c", launched) == 137
                assert time.monotonic() - began < 1

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_workload_that_closed_stdin_keeps_no_processor_busy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            script = "exec 0<&-; echo closed; sleep 100"
            launched = await r.started("c", "sh", "-c", script, stdin=True, stdin_once=True)
            await read_until(session, b"closed\n")
            await session.write(LINES)
            before = processor_ticks(launched.monitor)
            await asyncio.sleep(0.3)
            assert processor_ticks(launched.monitor) - before < 10
            session.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_terminal_and_its_size(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            launch = r.launch(
                "c", "sh", "-c", "while read x; do stty size; done", tty=True, stdin=True
            )
            launched = await r.runtime.create(launch)
            r.runtime.resize("c", 10, 20)
            await r.runtime.start("c")
            for rows in range(30, 40):
                r.runtime.resize("c", rows, 99)
            await session.write(b"\n")
            while b"39 99\r\n" not in (seen := await read_until(session, b"99\r\n")):
                assert b"99\r\n" in seen
                await session.write(b"\n")
            session.close_stdin()  # a terminal has no half-close
            session.close()
            again = r.runtime.attach("c", stdin=True)
            await again.write(b"\n")
            await read_until(again, b"39 99\r\n")
            await again.write(b"\x04")  # what a person types to end the input
            await drain(again)
            assert await r.finished("c", launched) == 0

    asyncio.run(scenario())


def test_every_client_is_released_when_the_start_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            with pytest.raises(Exception, match="not found"):
                await r.runtime.create(r.launch("c", "nope", stdin=True))
            assert await drain(session) == {1: b"", 2: b""}
            await session.write(b"nobody")

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_new_engine_attaches_to_what_the_old_one_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "cat", stdin=True, stdin_once=False)
            async with rig(tmp_path, prefix=r.prefix) as later:
                states = later.runtime.states()
                assert [(s.status, s.process, s.monitor) for s in states] == [
                    ("running", launched.process, launched.monitor)
                ]
                session = later.runtime.attach("c", stdin=True)
                await session.write(b"hello\n")
                await read_until(session, b"hello\n")
                assert await later.exec_output("c", "echo", "x") == (0, "x\n")
                later.runtime.kill(launched.process, signal.SIGTERM)
                later.runtime.kill(launched.process, signal.SIGKILL)
                ended = await later.runtime.wait_exit("c", launched.monitor, launched.process)
                assert (ended.code, ended.known) == (137, True)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(5):
                sessions = [r.runtime.attach("c", stdin=True) for _ in range(4)]
                launched = await r.started("c", "cat", stdin=True, stdin_once=True)
                await sessions[0].write(b"x")
                for session in sessions:
                    session.close()
                    session.close()
                assert await r.finished("c", launched) == 0
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())
