"""How a run ended is known whatever becomes of narud while it takes the run away."""

import contextlib
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

STEPS = (
    "exit.seen",
    "exit.recorded",
    "runtime.delete-killed",
    "runtime.delete-state-removed",
    "exit.cleared",
)
OUT_OF_MEMORY = {"Memory": 16 << 20, "MemorySwap": 16 << 20}


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineLab]:
    with engine_lab(21) as lab:
        lab.start()
        lab.make_busybox()
        assert lab.stop() == 0
        yield lab


@pytest.fixture
def lab(engine: EngineLab) -> Iterator[EngineLab]:
    """Not started yet; what a test leaves is removed, and that leaves nothing."""
    yield engine
    if engine.process is None or engine.process.poll() is not None:
        engine.start()
    engine.remove_all()
    until(lambda: not engine.leftovers(), "nothing is left")
    assert engine.stop() == 0


def ended(lab: EngineLab) -> bool:
    return lab.process is not None and lab.process.poll() is not None


def run_until_killed(lab: EngineLab, point: str, *command: str, **fields: Any) -> str:
    """A container whose end narud does not survive, on the narud that comes after."""
    lab.start({"NARU_FAILPOINTS": f"{point}=kill"})
    container = lab.create(*command, **fields)
    with contextlib.suppress(OSError, ApiError):
        lab.call("POST", f"/containers/{container}/start")
    until(lambda: ended(lab), f"{point} kills narud")
    lab.start()
    return container


@pytest.mark.parametrize("point", STEPS)
def test_the_exit_code_outlives_narud(lab: EngineLab, point: str) -> None:
    container = run_until_killed(lab, point, "sh", "-c", "usleep 100000; exit 5")
    assert lab.wait(container) == 5
    found = lab.inspect(container)["State"]
    assert (found["Status"], found["ExitCode"], found["Error"]) == ("exited", 5, "")
    assert found["StartedAt"] < found["FinishedAt"]
    until(lambda: not lab.leftovers(), "nothing is left of the run")


@pytest.mark.parametrize("point", ["exit.recorded", "exit.cleared"])
def test_out_of_memory_outlives_narud(lab: EngineLab, point: str) -> None:
    container = run_until_killed(lab, point, "tail", "/dev/zero", HostConfig=OUT_OF_MEMORY)
    found = lab.inspect(container)["State"]
    assert (found["Status"], found["ExitCode"], found["OOMKilled"]) == ("exited", 137, True)


@pytest.mark.parametrize("point", ["exit.recorded", "exit.cleared"])
def test_a_restart_that_was_due_counts(lab: EngineLab, tmp_path: Path, point: str) -> None:
    """`on-failure:2` is three runs, with narud killed at the end of the first one."""
    container = run_until_killed(
        lab,
        point,
        *("sh", "-c", "echo run >> /runs/list; usleep 100000; exit 5"),
        HostConfig={
            "Binds": [f"{tmp_path}:/runs"],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        },
    )

    def given_up() -> bool:
        found = lab.inspect(container)
        return found["State"]["Status"] == "exited" and found["RestartCount"] == 2

    until(given_up, "the policy gives up")
    assert (tmp_path / "list").read_text().split() == ["run"] * 3
    assert lab.inspect(container)["State"]["ExitCode"] == 5


@pytest.mark.parametrize("point", ["exit.recorded", "exit.cleared"])
def test_what_removes_itself_is_removed(lab: EngineLab, point: str) -> None:
    run_until_killed(
        lab, point, "true", name="brief", HostConfig={"AutoRemove": True, "Binds": ["/scratch"]}
    )
    until(lambda: not lab.json("GET", "/containers/json?all=1"), "it removes itself")
    assert not lab.json("GET", "/volumes")["Volumes"]
    lab.create("true", name="brief")


def test_a_start_that_was_not_answered_is_finished(lab: EngineLab) -> None:
    """With its address and ports, which no record had yet."""
    container = run_until_killed(
        lab,
        "start.running",
        *("sh", "-c", "mkdir /www && echo page > /www/index.html && exec httpd -f -h /www"),
        ExposedPorts={"80/tcp": {}},
        HostConfig={"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
    )
    found = lab.inspect(container)
    assert found["State"]["Status"] == "running"
    assert found["NetworkSettings"]["IPAddress"]
    port = found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    assert until(lambda: page(port), "the page is served") == b"page\n"


def page(port: str) -> bytes:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/") as got:
        return bytes(got.read())
    return b""


def test_a_short_run_that_was_not_answered_is_known(lab: EngineLab) -> None:
    container = run_until_killed(lab, "start.running", "sh", "-c", "exit 5")
    assert lab.wait(container) == 5
    found = lab.inspect(container)["State"]
    assert (found["Status"], found["ExitCode"], found["Error"]) == ("exited", 5, "")
    assert lab.inspect(container)["Created"] < found["StartedAt"] <= found["FinishedAt"]


def test_an_end_that_was_not_told_is_told(lab: EngineLab) -> None:
    container = run_until_killed(lab, "exit.recorded", "sh", "-c", "usleep 100000; exit 5")
    told = lab.call("GET", f"/events?since=1&until={lab.json('GET', '/info')['SystemTime']}")
    assert b'"Action":"die"' in told
    assert b'"exitCode":"5"' in told
    assert container.encode() in told


@pytest.mark.parametrize("point", STEPS[1:])
def test_the_end_of_a_run_goes_before_the_end_of_narud(lab: EngineLab, point: str) -> None:
    """SIGTERM in the middle of it: the step is finished, and nothing waits for the next narud."""
    lab.start({"NARU_FAILPOINTS": f"{point}=pause"})
    container = lab.run("sh", "-c", "usleep 100000; exit 5")
    assert lab.process is not None
    stat = Path(f"/proc/{lab.process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", f"{point} stops narud")
    lab.process.send_signal(signal.SIGTERM)
    lab.process.send_signal(signal.SIGCONT)
    assert lab.process.wait(30) == 0
    assert os.listdir(lab.exec_root / "containers") == []
    assert os.listdir(lab.exec_root / "rootfs") == []
    lab.start()
    found = lab.inspect(container)["State"]
    assert (found["Status"], found["ExitCode"]) == ("exited", 5)
