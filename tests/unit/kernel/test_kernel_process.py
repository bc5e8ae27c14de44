"""Processes, children, threads: numbers are never trusted alone."""

import asyncio
import contextlib
import errno
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest

from naru.kernel.process import ProcessHandle, ProcessId, identify, is_alive, start_time
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload, offload_bulk

SH = "/bin/sh"


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.close()


def _output(spawner: Spawner, script: str, **more: object) -> tuple[int, bytes]:
    async def run() -> tuple[int, bytes]:
        return await spawner.run([SH, "-c", script], env={"PATH": "/usr/bin:/bin"})

    return asyncio.run(run())


def test_own_process_is_alive() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert is_alive(own)
    assert start_time(own.pid) == own.start


@pytest.mark.parametrize("pid", [0, -1, 1 << 22])
def test_no_process(pid: int) -> None:
    assert start_time(pid) is None
    assert not is_alive(ProcessId(pid, 1))
    with pytest.raises(ProcessLookupError):
        ProcessHandle.open(ProcessId(pid, 1))


def test_another_process_of_the_same_number_is_not_it() -> None:
    own = identify(os.getpid())
    assert own is not None
    other = ProcessId(own.pid, own.start + 1)
    assert not is_alive(other)
    with pytest.raises(ProcessLookupError):
        ProcessHandle.open(other)


def test_a_name_with_brackets_and_blanks_does_not_confuse(spawner: Spawner, tmp_path: Path) -> None:
    program = tmp_path / "a) 1 (b"
    program.symlink_to("/bin/sleep")
    child = spawner.spawn([str(program), "100"], env={})
    try:
        found = identify(child.pid)
        assert found is not None
        assert found.start > 0
    finally:
        child.kill()
        child.wait_blocking(5)


def test_a_zombie_is_not_alive(spawner: Spawner) -> None:
    child = spawner.spawn([SH, "-c", "read x; exit 0"], env={})
    found = identify(child.pid)
    assert found is not None
    with ProcessHandle.open(found) as handle:
        asyncio.run(handle.wait())
        assert start_time(child.pid) == found.start
        assert not is_alive(found)
        child.wait_blocking(5)
        assert not handle.send_signal(signal.SIGTERM)


def test_several_wait_for_one_process(spawner: Spawner) -> None:
    async def run() -> int:
        child = spawner.spawn(["/bin/sleep", "100"], env={})
        found = identify(child.pid)
        assert found is not None
        with ProcessHandle.open(found) as handle:
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(handle.wait())
                group.create_task(handle.wait())
                await asyncio.sleep(0)
                assert handle.send_signal(signal.SIGTERM)
        return await child.wait()

    assert asyncio.run(run()) == -signal.SIGTERM


def test_status_of_children(spawner: Spawner) -> None:
    assert _output(spawner, "exit 7") == (7, b"")
    assert _output(spawner, "kill -KILL $$")[0] == -signal.SIGKILL
    assert _output(spawner, "echo out; echo err >&2") == (0, b"out\nerr\n")


def test_a_child_starts_clean(spawner: Spawner) -> None:
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        _, listing = _output(spawner, "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        os.close(leaked)
    words = listing.split()
    assert words[:4] == [b"0", b"1", b"2", b"3"]
    assert int(words[words.index(b"SigBlk:") + 1], 16) == 0
    # 32 and 33 belong to the C library, which ignores them in every child it spawns.
    assert int(words[words.index(b"SigIgn:") + 1], 16) == 0


def test_descriptors_may_change_places(spawner: Spawner) -> None:
    r1, w1 = os.pipe()
    r2, w2 = os.pipe()
    script = f"echo one > /proc/self/fd/{w1}; echo two > /proc/self/fd/{w2}"
    child = spawner.spawn([SH, "-c", script], env={}, fds={w1: w2, w2: w1})
    assert child.wait_blocking(10) == 0
    assert (os.read(r1, 10), os.read(r2, 10)) == (b"two\n", b"one\n")
    for fd in (r1, w1, r2, w2):
        os.close(fd)


def test_environment_directory_and_session(spawner: Spawner) -> None:
    reading, writing = os.pipe()
    script = "echo $A $(pwd) $(cut -d' ' -f6 /proc/$$/stat) $$"
    child = spawner.spawn([SH, "-c", script], env={"A": "ä b"}, fds={1: writing}, cwd="/proc")
    os.close(writing)
    assert child.wait_blocking(10) == 0
    first, second, cwd, session, pid = os.read(reading, 100).decode().split()
    os.close(reading)
    assert (first, second, cwd) == ("ä", "b", "/proc")
    assert session == pid == str(child.pid)


@pytest.mark.parametrize(
    ("program", "error"), [("/nonexistent", FileNotFoundError), ("/etc/passwd", PermissionError)]
)
def test_what_cannot_be_executed(spawner: Spawner, program: str, error: type[OSError]) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(error) as caught:
        spawner.spawn([program], env={})
    assert caught.value.filename == program
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_grandchild_that_stays_keeps_nobody_waiting(spawner: Spawner) -> None:
    status, output = _output(spawner, "sleep 100 & echo $!")
    os.kill(int(output), signal.SIGKILL)
    assert status == 0


def test_much_output_is_read_to_its_limit(spawner: Spawner) -> None:
    status, output = _output(spawner, "head -c 3000000 /dev/zero; exit 4")
    assert status == 4
    assert 1 << 20 <= len(output) < 3_000_000


def test_out_of_descriptors(spawner: Spawner) -> None:
    """The call fails in words, and neither a descriptor nor a process is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/", os.O_RDONLY))
        with pytest.raises(OSError) as caught:
            spawner.spawn(["/bin/sleep", "100"], env={})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    assert caught.value.errno == errno.EMFILE
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_command_that_does_not_end_is_killed(spawner: Spawner) -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await spawner.run(["/bin/sleep", "100"], env={}, timeout_s=0.05)

    asyncio.run(run())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_waiting_with_a_deadline(spawner: Spawner) -> None:
    child = spawner.spawn(["/bin/sleep", "100"], env={})
    with pytest.raises(TimeoutError, match="still runs"):
        child.wait_blocking(0.01)
    assert child.poll() is None
    child.kill()
    assert child.wait_blocking(5) == child.poll() == -signal.SIGKILL
    child.kill()


def test_many_children_leave_no_descriptor(spawner: Spawner) -> None:
    async def run() -> None:
        children: list[Child] = [spawner.spawn(["/bin/true"], env={}) for _ in range(30)]
        for child in children:
            assert await child.wait() == 0

    asyncio.run(run())
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == before


def test_offload_runs_elsewhere_with_the_context() -> None:
    name: ContextVar[str] = ContextVar("name")

    def work(factor: int, *, plus: int) -> tuple[int, str, int]:
        return factor * 2 + plus, name.get(), threading.get_ident()

    async def run() -> tuple[int, str, int]:
        name.set("request-1")
        return await offload(work, 4, plus=1)

    value, seen, thread = asyncio.run(run())
    assert (value, seen) == (9, "request-1")
    assert thread != threading.get_ident()


def test_offload_raises_what_the_work_raised() -> None:
    def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        asyncio.run(offload(work))


def test_bulk_work_keeps_nobody_else_waiting() -> None:
    go_on = threading.Event()

    async def run() -> list[bool]:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            bulk = [group.create_task(offload_bulk(go_on.wait, 20)) for _ in range(40)]
            await asyncio.sleep(0)
            assert await offload(lambda: "quick") == "quick"
            assert not any(task.done() for task in bulk)
            go_on.set()
        return [task.result() for task in bulk]

    assert all(asyncio.run(run()))
