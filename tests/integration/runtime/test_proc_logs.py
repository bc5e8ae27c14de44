"""Logs of real containers: order, rotation without loss, following, a full disk."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from proc_harness import DEADLINE_S, Rig, read_until, rig

from naru.kernel import mount
from naru.runtime.logs import files
from naru.runtime.logs.lines import LogQuery
from naru.runtime.logs.service import LogLimits, LogService
from naru.runtime.runtime import Launched

pytestmark = pytest.mark.root

RAW = LogQuery(multiplexed=False)


async def read(service: LogService, path: Path, query: LogQuery = RAW, **options: bool) -> bytes:
    blocks = service.read("c", str(path), query, **options)
    return b"".join([block async for block in blocks])


async def finish(r: Rig, service: LogService, launched: Launched) -> int:
    code = await r.finished("c", launched)
    service.ended("c")
    return code


def test_order_of_both_streams_pieces_and_times(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            script = "for n in 1 2 3; do echo o$n; sleep 0.02; echo e$n >&2; sleep 0.02; done"
            script += "; echo -n pie; sleep 0.05; echo ce; echo -n open"
            launched = await r.started("c", "sh", "-c", script, log_path=str(log))
            await r.finished("c", launched)
            service = LogService()
            assert await read(service, log) == b"o1\ne1\no2\ne2\no3\ne3\npiece\nopen"
            err = LogQuery(multiplexed=False, stdout=False, tail=4)
            assert await read(service, log, err) == b"e3\n"
            timed = await read(service, log, LogQuery(multiplexed=False, timestamps=True))
            stamps = [line.split()[0] for line in timed.splitlines()]
            assert all(stamp.endswith(b"Z") and len(stamp) == 30 for stamp in stamps)
            assert stamps == sorted(stamps)

    asyncio.run(scenario())


def test_without_a_log_nothing_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "echo", "text", log_path=None)
            assert await r.finished("c", launched) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("max_files", [1, 2, 3])
def test_rotation_keeps_the_newest_lines_and_bounds_the_disk(
    tmp_path: Path, max_files: int
) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    log = folder / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            service = LogService()
            script = "for n in $(seq 1 40); do seq 1 500; sleep 0.03; done; echo last"
            launched = await r.started("c", "sh", "-c", script, log_path=str(log))
            service.track(r.runtime.bundle("c"), str(log), LogLimits(100_000, max_files))
            assert await finish(r, service, launched) == 0
            text = await read(service, log)
            assert text.endswith(b"last\n")
            assert len(files.numbered(str(log))) == max_files - 1
            lines = text.split()[:-1]
            for earlier, later in zip(lines, lines[1:], strict=False):
                assert int(later) == int(earlier) % 500 + 1
            assert files.size_bytes(str(log)) < max_files * 100_000 + 200_000
            service.close()

    asyncio.run(scenario())


def test_a_follower_loses_no_line_while_the_log_rotates(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            service = LogService()
            script = "n=0; while [ $n -lt 30 ]; do n=$((n+1)); seq 1 1000; sleep 0.03; done"
            launched = await r.started("c", "sh", "-c", script, log_path=str(log))
            service.track(r.runtime.bundle("c"), str(log), LogLimits(150_000, 3))
            async with asyncio.TaskGroup() as group:
                followers = [group.create_task(read(service, log, follow=True)) for _ in range(2)]
                assert await finish(r, service, launched) == 0
            expected = "".join(f"{n}\n" for n in range(1, 1001)).encode() * 30
            for follower in followers:
                assert follower.result() == expected
            assert len(files.numbered(str(log))) == 2
            service.close()

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_follower_sees_a_line_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            service = LogService()
            session = r.runtime.attach("c", stdin=True)
            launched = await r.started("c", "cat", stdin=True, stdin_once=True, log_path=str(log))
            service.track(r.runtime.bundle("c"), str(log), LogLimits())
            blocks = service.read("c", str(log), RAW, follow=True)
            for text in (b"one\n", b"two\n", b"three\n"):
                await session.write(text)
                async with asyncio.timeout(1):
                    assert await anext(blocks) == text
            session.close_stdin()
            assert await finish(r, service, launched) == 0
            with pytest.raises(StopAsyncIteration):
                await anext(blocks)
            assert await read(service, log, follow=True) == b"one\ntwo\nthree\n"
            service.close()

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


@pytest.mark.parametrize("renamed", [False, True])
def test_an_engine_killed_in_a_rotation_loses_no_line(tmp_path: Path, renamed: bool) -> None:
    """The next one finds the name missing and has conmon make the file."""
    log = tmp_path / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            session = r.runtime.attach("c", stdin=True)
            launched = await r.started("c", "cat", stdin=True, stdin_once=True, log_path=str(log))
            await session.write(b"before\n")
            assert (await session.read()) == (1, b"before\n")
            if renamed:
                os.rename(log, f"{log}.1")
            await session.write(b"between\n")
            assert (await session.read()) == (1, b"between\n")
            service = LogService()
            service.track(r.runtime.bundle("c"), str(log), LogLimits(1000, 3))
            async with asyncio.timeout(5):
                await session.write(b"more\n")
                assert (await session.read()) == (1, b"more\n")
                while not log.exists():  # noqa: ASYNC110 - conmon makes it, with no event for us
                    await asyncio.sleep(0.005)
            await session.write(b"after\n")
            assert (await session.read()) == (1, b"after\n")
            session.close_stdin()
            assert await finish(r, service, launched) == 0
            assert await read(service, log) == b"before\nbetween\nmore\nafter\n"
            assert log.read_bytes().endswith(b"after\n")
            assert files.numbered(str(log)) == ([1] if renamed else [])
            service.close()

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_lines_written_while_no_engine_runs_are_there(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            script = "seq 1 1000; while [ ! -e /tmp/go ]; do sleep 0.01; done; seq 1001 2000"
            launched = await r.started("c", "sh", "-c", script, log_path=str(log))
            async with rig(tmp_path, prefix=r.prefix) as later:
                (r.rootfs / "tmp/go").touch()
                async with asyncio.timeout(DEADLINE_S):
                    await later.runtime.wait_exit("c", launched.monitor, launched.process)
                expected = "".join(f"{n}\n" for n in range(1, 2001)).encode()
                assert await read(LogService(), log) == expected

    asyncio.run(scenario())


def test_a_full_disk_neither_stops_the_container_nor_breaks_reading(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    log = disk / "log"

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            script = "seq 1 50000; echo waiting; read x; seq 1 300; exit 7"
            session = r.runtime.attach("c", stdin=True)
            launched = await r.started(
                "c", "sh", "-c", script, stdin=True, stdin_once=True, log_path=str(log)
            )
            await read_until(session, b"waiting\n")
            half = await read(LogService(), log)
            assert half.startswith(b"1\n2\n3\n")
            (disk / "ballast").unlink()  # room again: new records follow the damaged one
            await session.write(b"\n")
            assert await r.finished("c", launched) == 7
            text = await read(LogService(), log)
            assert text.startswith(half[: half.rfind(b"\n")])
            assert b"waiting" not in text  # there was no room for it
            assert text.endswith(b"299\n300\n")
            tail = LogQuery(multiplexed=False, tail=2)
            assert await read(LogService(), log, tail) == b"299\n300\n"

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        (disk / "ballast").write_bytes(b"x" * 200_000)
        asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
    finally:
        mount.unmount(str(disk))


def test_an_idle_log_service_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            before = len(os.listdir("/proc/self/fd"))
            service = LogService()
            launched = await r.started("c", "sleep", "100", log_path=str(tmp_path / "log"))
            bundle = r.runtime.bundle("c")
            for _ in range(2):
                service.track(bundle, str(tmp_path / "log"), LogLimits())
            r.runtime.kill(launched.process, signal.SIGKILL)
            await finish(r, service, launched)
            service.ended("c")
            service.close()
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())
