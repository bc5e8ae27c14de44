"""Containers as processes: their life, and what may happen to them."""

import asyncio
import errno
import os
import random
import signal
import time
from pathlib import Path

import proc_harness
import pytest
from engine_lab import until
from proc_harness import Rig, rig

from naru.base.errors import Conflict, StartFailed
from naru.kernel.process import ProcessId
from naru.runtime import conmon
from naru.runtime.crun import RuntimeBinary

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("script", "code"),
    [("true", 0), ("exit 3", 3), ("exit 255", 255)],
)
def test_exit_codes_and_nothing_is_left(tmp_path: Path, script: str, code: int) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            before = len(os.listdir("/proc/self/fd"))
            wall = time.time_ns()
            launched = await r.started("c", "sh", "-c", script)
            ended = await r.runtime.wait_exit("c", launched.monitor, launched.process)
            assert (ended.code, ended.known, ended.oom) == (code, True, False)
            assert wall - 10**9 < ended.finished_ns < time.time_ns() + 10**9
            await r.runtime.delete("c")
            await r.runtime.delete("c")
            assert r.leftovers() == []
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scenario())


def test_a_killed_workload_shows_its_signal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "sleep", "100")
            stale = ProcessId(launched.process.pid, launched.process.start + 1)
            assert not r.runtime.kill(stale, signal.SIGKILL)
            assert r.runtime.kill(launched.process, signal.SIGKILL)
            assert await r.finished("c", launched) == 137
            assert not r.runtime.kill(launched.process, signal.SIGKILL)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", 126, 'exec: "/etc": is a directory: permission denied'),
    ],
)
@pytest.mark.parametrize("tty", [False, True])
def test_a_command_that_cannot_be_started(
    tmp_path: Path, command: str, code: int, text: str, tty: bool
) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            with pytest.raises(StartFailed) as caught:
                await r.runtime.create(r.launch("c", command, tty=tty))
            assert caught.value.exit_code == code
            assert caught.value.message.endswith(text)
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_a_container_that_was_never_started_is_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            await r.runtime.create(r.launch("c", "true"))
            assert [state.status for state in r.runtime.states()] == ["created"]
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_an_untested_runtime_version_is_driven_by_its_commands(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path, crun=RuntimeBinary("/usr/bin/crun", "crun 0.0")) as r:
            launched = await r.started("c", "sh", "-c", "exit 4")
            assert await r.finished("c", launched) == 4
            await r.started("d", "sleep", "100")
            await r.runtime.delete("d")
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_hooks_are_run_though_there_are_shortcuts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            spec = r.spec(["true"], "c")
            hook = {"path": "/bin/busybox", "args": ["touch", str(tmp_path / "poststop")]}
            spec["hooks"] = {"poststop": [hook]}
            launched = await r.started("c", spec=spec)
            assert await r.finished("c", launched) == 0
            assert (tmp_path / "poststop").exists()
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_pause_stops_and_resume_continues(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "sleep", "100")
            await r.runtime.pause("c")
            assert r.runtime.cgroup("c").frozen
            await r.runtime.resume("c")
            assert not r.runtime.cgroup("c").frozen
            await r.runtime.pause("c")
            began = time.monotonic()
            await r.runtime.delete("c")
            assert time.monotonic() - began < 1
            assert r.leftovers() == []
            assert not r.runtime.kill(launched.process, signal.SIGKILL)

    asyncio.run(scenario())


def test_processes_outside_the_workloads_namespace_are_ended_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            spec = r.spec(["sh", "-c", "sleep 100 & sleep 100 & exit 0"], "c")
            spec["linux"]["namespaces"] = [{"type": "mount"}]
            del spec["hostname"]
            launched = await r.started("c", spec=spec)
            assert (await r.runtime.wait_exit("c", launched.monitor, launched.process)).code == 0
            left = r.runtime.processes("c")
            assert len(left) == 2
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_out_of_memory_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            spec = r.spec(["tail", "/dev/zero"], "c")
            spec["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
            launched = await r.started("c", spec=spec)
            ended = await r.runtime.wait_exit("c", launched.monitor, launched.process)
            assert (ended.code, ended.oom) == (137, True)
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_a_killed_monitor_leaves_the_workload_and_an_unknown_status(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "sleep", "100")
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(
                    r.runtime.wait_exit("c", launched.monitor, launched.process)
                )
                os.kill(launched.monitor.pid, signal.SIGKILL)
                for _ in range(3):
                    await asyncio.sleep(0.01)
                assert not waiting.done()
                assert r.runtime.processes("c") == [launched.process.pid]
                began = time.monotonic()
                r.runtime.kill(launched.process, signal.SIGTERM)
                r.runtime.kill(launched.process, signal.SIGKILL)
            assert time.monotonic() - began < 2
            assert not waiting.result().known
            assert r.runtime.states()[0].status == "stopped"
            await r.runtime.delete("c")
            assert r.leftovers() == []
            again = await r.started("c", "sh", "-c", "exit 7")
            assert await r.finished("c", again) == 7

    asyncio.run(scenario())


def test_monitor_and_workload_killed_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "sleep", "100")
            os.kill(launched.monitor.pid, signal.SIGKILL)
            os.kill(launched.process.pid, signal.SIGKILL)
            async with asyncio.timeout(2):
                ended = await r.runtime.wait_exit("c", launched.monitor, launched.process)
            assert not ended.known
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario())


WRAPPER = """#!/bin/sh
case " $* " in
*" create "*) {action} ;;
*) exec /usr/bin/crun "$@" ;;
esac
"""


@pytest.mark.parametrize(
    "action",
    [
        "kill -9 $$",  # before it did anything
        '/usr/bin/crun "$@"; kill -9 $$',  # with the container made
        '/usr/bin/crun "$@"; echo some words >&2; exit 1',
    ],
)
def test_a_runtime_killed_in_create_leaves_nothing(tmp_path: Path, action: str) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(WRAPPER.format(action=action))
    wrapper.chmod(0o755)

    async def scenario() -> None:
        async with rig(tmp_path, crun=RuntimeBinary(str(wrapper), "crun 1.8.1")) as r:
            with pytest.raises(StartFailed) as caught:
                async with asyncio.timeout(proc_harness.DEADLINE_S):
                    await r.runtime.create(r.launch("c", "sleep", "100"))
            assert caught.value.exit_code == 128
            assert ("some words" in caught.value.message) == ("some words" in action)
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_a_runtime_that_outlives_its_monitor_makes_nothing(tmp_path: Path) -> None:
    """conmon is killed in create; a runtime that does not die with it would come afterwards."""
    wrapper, reached = tmp_path / "wrapper", tmp_path / "wrapper.reached"
    orphan = '(echo > "$0.reached"; sleep 0.5; exec /usr/bin/crun "$@") & wait'
    wrapper.write_text(WRAPPER.format(action=orphan))
    wrapper.chmod(0o755)

    async def scenario() -> None:
        async with rig(tmp_path, crun=RuntimeBinary(str(wrapper), "crun 1.8.1")) as r:

            async def kill_the_monitor() -> None:
                await asyncio.to_thread(until, reached.exists, "the runtime is called")
                for line in proc_harness.processes_mentioning(str(tmp_path / "exec/containers")):
                    if "conmon" in line.split()[1]:
                        os.kill(int(line.partition(":")[0]), signal.SIGKILL)

            async with asyncio.timeout(proc_harness.DEADLINE_S), asyncio.TaskGroup() as group:
                group.create_task(kill_the_monitor())
                with pytest.raises(StartFailed):
                    await r.runtime.create(r.launch("c", "sleep", "100"))
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_a_full_disk_after_the_monitor_was_spawned_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever conmon and the runtime are by then; and no zombie of ours."""
    instants = random.Random(1)

    def full() -> None:
        time.sleep(instants.random() * 0.02)  # that far they get
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(conmon, "SPAWNED", full)

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            for number in range(40):
                with pytest.raises(OSError, match="no space left"):
                    await r.runtime.create(r.launch(f"c{number}", "sleep", "100"))
                assert own_children() == before
            assert r.leftovers() == []

    before = own_children()
    asyncio.run(scenario())


def own_children() -> set[str]:
    lists = Path("/proc/self/task").glob("*/children")
    return {number for path in lists for number in path.read_text().split()}


def test_a_cancelled_create_leaves_nothing(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(WRAPPER.format(action='echo > "$0.reached"; sleep 30; exec crun "$@"'))
    wrapper.chmod(0o755)

    async def scenario() -> None:
        async with rig(tmp_path, crun=RuntimeBinary(str(wrapper), "crun 1.8.1")) as r:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await r.runtime.create(r.launch("c", "sleep", "100"))
            assert (tmp_path / "wrapper.reached").exists()
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_what_is_not_there_cannot_be_controlled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            with pytest.raises(Conflict):
                r.runtime.processes("missing")
            with pytest.raises(Conflict):
                await r.exec("missing", "true")
            await r.runtime.delete("missing")

    asyncio.run(scenario())


def test_fifty_at_once(tmp_path: Path) -> None:
    async def one(r: Rig, number: int) -> int:
        launched = await r.started(f"c{number}", "sh", "-c", f"exit {number}")
        return await r.finished(f"c{number}", launched)

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            codes = await asyncio.gather(*(one(r, number) for number in range(50)))
            assert codes == list(range(50))
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_no_descriptor_of_ours_is_in_the_workload(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            script = "for n in $(seq 0 60); do [ -L /proc/$$/fd/$n ] && echo $n; done; true"
            session = r.runtime.attach("c")
            launched = await r.started("c", "sh", "-c", script)
            assert (await proc_harness.drain(session))[1].split() == [b"0", b"1", b"2"]
            await r.finished("c", launched)

    asyncio.run(scenario())


def test_a_working_directory_by_descriptor_does_not_reach_the_host(tmp_path: Path) -> None:
    (tmp_path / "canary").touch()

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            for number in range(3, 16):
                spec = r.spec(["sh", "-c", "pwd; ls; ls .. ../.. ../../.."], "c")
                spec["process"]["cwd"] = f"/proc/self/fd/{number}"
                session = r.runtime.attach("c")
                try:
                    launched = await r.started("c", spec=spec)
                except StartFailed:
                    continue
                output = (await proc_harness.drain(session))[1]
                await r.finished("c", launched)
                for word in (b"canary", b"exec\n", b"launch.json", b"cgroup.procs", b"config.json"):
                    assert word not in output, (number, output)

    asyncio.run(scenario())


def test_what_lies_in_the_exec_root_is_for_the_owner_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            await r.started("c", "sleep", "100")
            folder = Path(r.runtime.bundle("c").path)
            assert folder.stat().st_mode & 0o077 == 0
            assert folder.parent.stat().st_mode & 0o077 == 0
            assert (folder / "attach").stat().st_mode & 0o077 == 0
            assert Path(r.runtime.runtime_state_dir("c")).stat().st_mode & 0o077 == 0
            assert "@" not in " ".join(
                line.split()[-1]
                for line in Path("/proc/net/unix").read_text().splitlines()
                if str(tmp_path) in line
            )

    asyncio.run(scenario())
