"""Further processes in a running container."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from proc_harness import DEADLINE_S, Rig, drain, read_until, rig

from naru.base.errors import Conflict, StartFailed

pytestmark = pytest.mark.root

LINES = b"0123456789abcdef\n" * 100_000


def in_container(tmp_path: Path, work: Callable[[Rig], Awaitable[None]], **spec: object) -> None:
    """Runs `work` beside a container `c` that sleeps."""

    async def scenario() -> None:
        async with rig(tmp_path) as r:
            own = r.spec(["sleep", "1000"], "c", **spec)
            await r.started("c", spec=own)
            before = len(os.listdir("/proc/self/fd"))
            async with asyncio.timeout(DEADLINE_S):
                await work(r)
            assert len(os.listdir("/proc/self/fd")) == before
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_and_both_streams(tmp_path: Path, code: int) -> None:
    async def work(r: Rig) -> None:
        session = await r.exec("c", "sh", "-c", f"echo out; echo err >&2; exit {code}")
        assert session.pid > 1
        assert await session.wait() == code
        assert await drain(session) == {1: b"out\n", 2: b"err\n"}

    in_container(tmp_path, work)


def test_it_is_as_dear_to_the_kernel_as_its_container(tmp_path: Path) -> None:
    """crun's exec would leave it with the engine's own, which a unit may set far below zero."""

    async def work(r: Rig) -> None:
        for _ in range(5):
            assert await r.exec_output("c", "cat", "/proc/self/oom_score_adj") == (0, "321\n")

    in_container(tmp_path, work, oomScoreAdj=321)


@pytest.mark.parametrize("size_bytes", [50_000, 130_000, 1_300_000])
def test_large_environments(tmp_path: Path, size_bytes: int) -> None:
    """Of sizes that fit a pipe, a larger pipe, and none."""
    count = size_bytes // 1000
    env = ("PATH=/bin", *(f"V{i}={'x' * 990}" for i in range(count)))

    async def work(r: Rig) -> None:
        code, output = await r.exec_output("c", "sh", "-c", "env | grep -c ^V", env=env)
        assert (code, output) == (0, f"{count}\n")

    in_container(tmp_path, work)


def test_a_signal_is_128_and_its_number(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        assert (await r.exec_output("c", "sh", "-c", "kill -9 $$"))[0] == 137

    in_container(tmp_path, work)


@pytest.mark.parametrize(
    ("command", "fields", "code", "text"),
    [
        ("nope", {}, 127, 'exec: "nope": executable file not found in $PATH'),
        ("/nope", {}, 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", {}, 126, 'exec: "/etc": is a directory: permission denied'),
        ("true", {"cwd": "/no"}, 127, 'chdir to cwd ("/no") set in config.json failed: no such'),
        ("nope", {"tty": True}, 127, 'exec: "nope": executable file not found in $PATH'),
    ],
)
def test_what_cannot_be_started(
    tmp_path: Path, command: str, fields: dict[str, object], code: int, text: str
) -> None:
    async def work(r: Rig) -> None:
        with pytest.raises(StartFailed) as caught:
            await r.exec("c", command, **fields)
        assert caught.value.exit_code == code
        prefix = "OCI runtime exec failed: exec failed: unable to start container process: "
        assert caught.value.message.startswith(prefix + text)

    in_container(tmp_path, work)


async def exec_or_failure(r: Rig, *argv: str) -> tuple[int, str]:
    """crun's error may come before the process's number, with it, or later."""
    try:
        return await r.exec_output("c", *argv)
    except StartFailed as error:
        return error.exit_code, error.message


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        await r.exec_output("c", "sh", "-c", "echo garbage > /bad; echo '#!/no' > /ni")
        await r.exec_output("c", "sh", "-c", "cat /bad /ni > /dev/null")
        (r.rootfs / "bad").chmod(0o755)
        for _ in range(10):
            code, output = await exec_or_failure(r, "/bad")
            assert code == 255
            assert "exec format error" in output.lower()

    in_container(tmp_path, work)


def test_stdin_to_its_end_and_the_output_whole(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        session = await r.exec("c", "sh", "-c", "cat; echo end", attach_stdin=True)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(session.wait())
            output = group.create_task(drain(session))
            await session.write(LINES)
            session.close_stdin()
            session.close_stdin()
        assert waiting.result() == 0
        assert output.result()[1] == LINES + b"end\n"

    in_container(tmp_path, work)


def test_user_environment_and_folder(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        code, output = await r.exec_output(
            "c",
            *("sh", "-c", "id; pwd; env; grep Cap /proc/self/status"),
            uid=12,
            gid=34,
            additional_gids=(56, 78),
            env=("PATH=/bin", "A=b c"),
            cwd="/tmp",
        )
        assert code == 0
        assert output.startswith("uid=12 gid=34 groups=56,78\n/tmp\n")
        assert "A=b c\n" in output
        assert "CapInh:\t0000000000000000\n" in output
        assert "CapEff:\t0000000000000000\n" in output
        assert "CapAmb:\t0000000000000000\n" in output

    in_container(tmp_path, work)


def test_confinement_is_the_containers(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        fields = "grep -E 'Cap|Seccomp|NoNewPrivs' /proc/self/status"
        own = Path(f"/proc/{r.runtime.processes('c')[0]}/status").read_text()
        code, output = await r.exec_output("c", "sh", "-c", fields)
        assert code == 0
        for line in output.splitlines():
            assert line in own.splitlines()
        assert "NoNewPrivs:\t1\n" in output
        privileged = await r.exec_output("c", "sh", "-c", fields, capabilities=("CAP_SYS_CHROOT",))
        assert "CapEff:\t0000000000040000\n" in privileged[1]
        assert "CapInh:\t0000000000000000\n" in privileged[1]

    in_container(tmp_path, work, noNewPrivileges=True)


SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


@pytest.mark.parametrize("precompiled", [False, True])
def test_the_seccomp_filter_is_active_in_an_exec(tmp_path: Path, precompiled: bool) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            spec = r.spec(["sleep", "1000"], "c")
            spec["linux"]["seccomp"] = SECCOMP
            await r.started("c", spec=spec)
            compiled = Path(r.runtime.runtime_state_dir("c"), "seccomp.bpf").read_bytes()
            if precompiled:
                await r.runtime.delete("c")
                del spec["linux"]["seccomp"]
                encoded = msgspec.json.decode(msgspec.json.encode(compiled))
                spec["annotations"] = {"run.oci.seccomp_bpf_data": encoded}
                await r.started("c", spec=spec)
            _, output = await r.exec_output("c", "grep", "Seccomp:", "/proc/self/status")
            assert output == "Seccomp:\t2\n"

    asyncio.run(scenario())


def test_no_descriptor_of_ours_is_in_the_process(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        script = "for n in $(seq 0 40); do [ -L /proc/$$/fd/$n ] && echo $n; done; true"
        code, output = await r.exec_output("c", "sh", "-c", script)
        assert (code, output.split()) == (0, ["0", "1", "2"])
        for number in range(3, 20):
            with pytest.raises(StartFailed):
                await r.exec("c", "pwd", cwd=f"/proc/self/fd/{number}")

    in_container(tmp_path, work)


def test_a_terminal(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        script = "tty; while read x; do stty size; done; exit 5"
        session = await r.exec(
            "c", "sh", "-c", script, tty=True, console_size=(33, 44), attach_stdin=True
        )
        await read_until(session, b"/dev/pts/0\r\n")
        await session.write(b"\n")
        await read_until(session, b"33 44\r\n")
        session.resize(50, 60)
        await session.write(b"\n")
        await read_until(session, b"50 60\r\n")
        session.close_stdin()
        await session.write(b"\x04")
        assert await session.wait() == 5
        with pytest.raises(Conflict):
            session.resize(1, 1)

    in_container(tmp_path, work)


def test_detached_it_has_no_streams(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        session = await r.exec(
            "c",
            *("sh", "-c", "echo text; [ /proc/self/fd/1 -ef /dev/null ] || exit 9"),
            attach_stdout=False,
            attach_stderr=False,
        )
        assert await session.wait() in (0, 9)
        assert await drain(session) == {1: b"", 2: b""}

    in_container(tmp_path, work)


def test_the_process_goes_on_without_its_client(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        script = "head -c 5000000 /dev/zero; echo done > /tmp/mark; exit 6"
        session = await r.exec("c", "sh", "-c", script, attach_stdin=True)
        session.resize(10, 20)  # has no terminal: nothing happens
        session.abandon()
        assert await session.wait() == 6
        assert (r.rootfs / "tmp/mark").read_text() == "done\n"
        assert await session.read() is None

    in_container(tmp_path, work)


def test_a_client_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        session = await r.exec("c", "sh", "-c", "head -c 10000000 /dev/zero; echo end >&2")
        assert await session.wait() == 0
        output = await drain(session)
        assert (len(output[1]), output[2]) == (10_000_000, b"end\n")

    in_container(tmp_path, work)


def test_what_stays_in_the_background_is_waited_for_two_seconds(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        began = time.monotonic()
        session = await r.exec("c", "sh", "-c", "(sleep 0.2; echo late; sleep 100) & echo first")
        assert await session.wait() == 0
        assert time.monotonic() - began < 4
        assert (await drain(session))[1] == b"first\nlate\n"

    in_container(tmp_path, work)


def test_sessions_end_with_their_container(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig(tmp_path) as r:
            launched = await r.started("c", "sleep", "1000")
            sessions = [await r.exec("c", "sleep", "1000", tty=tty) for tty in (False, True)]
            r.runtime.kill(launched.process, signal.SIGKILL)
            async with asyncio.timeout(DEADLINE_S):
                assert [await session.wait() for session in sessions] == [137, 137]
            await r.finished("c", launched)
            with pytest.raises((Conflict, StartFailed)):
                await r.exec("c", "true")
            assert r.leftovers() == []

    asyncio.run(scenario())


def test_many_at_once(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        results = await asyncio.gather(
            *(r.exec_output("c", "sh", "-c", f"echo {n}; exit {n}") for n in range(30))
        )
        assert results == [(n, f"{n}\n") for n in range(30)]

    in_container(tmp_path, work)
