"""conmon, the runtime or the workload killed: what is told is true, and life goes on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import docker, events, execute, follow, output

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(51) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def words_of(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def processes(lab: EngineLab, program: bytes, mark: str) -> list[int]:
    """Those of this engine that run `program` for what `mark` names."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            words = words_of(int(entry))
            if words and words[0].rpartition(b"/")[2] == program:
                line = b" ".join(words)
                if mark.encode() in line and os.fsencode(lab.exec_root) in line:
                    found.append(int(entry))
    return found


def monitor(lab: EngineLab, container: str) -> int:
    return processes(lab, b"conmon", container)[0]


def pid(lab: EngineLab, container: str) -> int:
    return int(lab.inspect(container)["State"]["Pid"])


def start_again(lab: EngineLab, container: str) -> None:
    lab.call("POST", f"/containers/{container}/start")
    assert execute(lab, container, "true")[0] == 0
    lab.call("DELETE", f"/containers/{container}?force=1")


def test_workload_killed(lab: EngineLab) -> None:
    container = lab.run("sleep", "600")
    os.kill(pid(lab, container), signal.SIGKILL)
    begun = time.monotonic()
    until(lambda: lab.status(container) == "exited", "its end is told")
    assert time.monotonic() - begun < 5
    state = lab.inspect(container)["State"]
    assert (state["ExitCode"], state["Error"], state["Running"]) == (137, "", False)
    start_again(lab, container)


def test_monitor_killed_then_the_workload_ends(lab: EngineLab) -> None:
    container = lab.run("sleep", "600")
    workload = pid(lab, container)
    os.kill(monitor(lab, container), signal.SIGKILL)
    with follow(lab, f"/containers/{container}/wait", "POST") as waiting:
        assert lab.status(container) == "running", "it does run"
        assert execute(lab, container, "echo", "alive") == (0, b"alive\n")
        os.kill(workload, signal.SIGKILL)
        begun = time.monotonic()
        assert waiting.ended.wait(20)
        assert time.monotonic() - begun < 5
    state = lab.inspect(container)["State"]
    assert state["Status"] == "exited"
    assert "exit status is unknown" in state["Error"]
    start_again(lab, container)


def test_container_without_monitor_can_be_stopped_and_removed(lab: EngineLab) -> None:
    stopped, killed, removed = (lab.run("sleep", "600") for _ in range(3))
    for container in (stopped, killed, removed):
        os.kill(monitor(lab, container), signal.SIGKILL)
    lab.call("POST", f"/containers/{stopped}/stop?t=0")
    lab.call("POST", f"/containers/{killed}/kill")
    for container in (stopped, killed):
        state = lab.inspect(container)["State"]
        assert state["Status"] == "exited"
        assert "exit status is unknown" in state["Error"]
        start_again(lab, container)
    lab.call("DELETE", f"/containers/{removed}?force=1")


def test_everything_killed_at_once(lab: EngineLab) -> None:
    container = lab.run("sleep", "600", HostConfig={"RestartPolicy": {"Name": "always"}})
    watcher = monitor(lab, container)
    for number in (watcher, pid(lab, container)):
        os.kill(number, signal.SIGKILL)
    until(lambda: lab.inspect(container)["RestartCount"] == 1, "its policy starts it again")
    until(lambda: lab.status(container) == "running", "it runs")


def test_monitor_killed_while_narud_is_away(lab: EngineLab) -> None:
    container = lab.run("sleep", "600")
    other = lab.run("sleep", "600")
    numbers = monitor(lab, container), monitor(lab, other), pid(lab, other)
    lab.kill()
    for number in numbers:
        os.kill(number, signal.SIGKILL)
    lab.start()
    assert lab.status(container) == "running"
    until(lambda: lab.status(other) == "exited", "the other's end is seen")
    assert "unknown" in lab.inspect(other)["State"]["Error"]
    lab.call("POST", f"/containers/{container}/kill")
    assert "unknown" in lab.inspect(container)["State"]["Error"]
    start_again(lab, container)
    start_again(lab, other)


@pytest.mark.parametrize("program", [b"crun", b"conmon"])
def test_killed_during_create(lab: EngineLab, program: bytes) -> None:
    """Whenever it hits, the start fails with a reason or succeeds; nothing hangs or is left."""
    hits = 0
    for _ in range(25):
        container = lab.create("sleep", "600")
        answer: list[str] = []
        thread = threading.Thread(target=start, args=(lab, container, answer))
        thread.start()
        while thread.is_alive():
            for number in processes(lab, program, container):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
                    hits += 1
                    break
            else:
                continue
            break
        begun = time.monotonic()
        thread.join()
        assert time.monotonic() - begun < 10
        if answer == ["started"]:
            assert lab.status(container) == "running"
        else:
            state = lab.inspect(container)["State"]
            assert state["Status"] == "created"
            assert state["Error"] in answer[0]
            start_again(lab, container)
        lab.remove_all()
        if hits >= 10:
            break
    assert hits


def start(lab: EngineLab, container: str, answer: list[str]) -> None:
    try:
        lab.call("POST", f"/containers/{container}/start")
        answer.append("started")
    except ApiError as error:
        answer.append(error.message)


def test_out_of_memory_is_told_once(lab: EngineLab) -> None:
    since = time.time()
    container = lab.run(
        "sh", "-c", "exec tail /dev/zero",
        HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20},
    )  # fmt: skip
    assert lab.wait(container) == 137
    state = lab.inspect(container)["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    found = [item["Action"] for item in events(lab, container, since, "oom", "die")]
    assert sorted(found) == ["die", "oom"]
    lab.call("POST", f"/containers/{container}/start")
    lab.wait(container)


def test_out_of_memory_of_a_child_is_told_at_once(lab: EngineLab) -> None:
    """The container goes on; the event comes when it happens, not when the container ends."""
    since = time.time()
    container = lab.run(
        "sh", "-c", "tail /dev/zero; echo child $?; sleep 600",
        HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20},
    )  # fmt: skip
    until(lambda: b"child 137" in lab.logs(container), "the child was killed")
    until(lambda: events(lab, container, since, "oom"), "it is told")
    assert lab.status(container) == "running"
    assert lab.inspect(container)["State"]["OOMKilled"] is True
    lab.call("POST", f"/containers/{container}/kill")
    assert len(events(lab, container, since, "oom")) == 1


def test_exit_codes_through_the_docker_cli(lab: EngineLab) -> None:
    run = ("run", "--rm", "busybox")
    assert docker(lab, *run, "true").returncode == 0
    assert docker(lab, *run, "sh", "-c", "exit 42").returncode == 42
    killed = "sh -c 'kill -9 $$'; exit $?"
    assert docker(lab, *run, "sh", "-c", killed).returncode == 137
    assert docker(lab, *run, "sh", "-c", killed.replace("-9", "-15")).returncode == 143
    missing = docker(lab, *run, "no-such-command")
    assert (missing.returncode, "no-such-command" in missing.stderr) == (127, True)
    assert docker(lab, *run, "/etc").returncode == 126
    assert docker(lab, "run", "--rm", "--no-such-flag", "busybox").returncode == 125
    assert docker(lab, "run", "--rm", "--memory", "1k", "busybox", "true").returncode == 125
    holder = docker(lab, "run", "-d", "-p", "127.0.0.1:0:80", "busybox", "sleep", "600")
    port = docker(lab, "port", holder.stdout.strip(), "80/tcp").stdout.strip()
    taken = docker(lab, "run", "-d", "-p", f"{port}:80", "busybox", "true")
    assert (taken.returncode, "allocated" in taken.stderr) == (125, True), taken.stderr
    inside = holder.stdout.strip()
    assert docker(lab, "exec", inside, "sh", "-c", "exit 3").returncode == 3
    assert docker(lab, "exec", inside, "no-such-command").returncode == 127
    assert docker(lab, "exec", inside, "/etc").returncode == 126
    assert output(lab, "echo", "still here") == "still here\n"
