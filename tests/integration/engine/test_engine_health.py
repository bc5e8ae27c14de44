"""Health checks, the init process, and how a running container is asked to end or to pause."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, control_groups, engine_lab, until
from engine_traffic import cgroup_file, docker, events, execute, follow

pytestmark = pytest.mark.root

NS = 1_000_000_000


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(54) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def check(test: list[str], interval_s: float = 0.1, **more: Any) -> dict[str, Any]:
    fields = {name: int(value * NS) if name != "Retries" else value for name, value in more.items()}
    return {"Test": test, "Interval": int(interval_s * NS), **fields}


def health(lab: EngineLab, container: str) -> Any:
    return lab.inspect(container)["State"]["Health"]


def shown(lab: EngineLab, container: str) -> str:
    found = lab.json("GET", "/containers/json?all=1")
    return str(next(item["Status"] for item in found if item["Id"] == container))


FLAG = ["CMD-SHELL", "test -e /ok && echo fine"]


def test_status_follows_the_probes(lab: EngineLab) -> None:
    since = time.time()
    container = lab.run("sleep", "600", Healthcheck=check(FLAG, Retries=3))
    assert health(lab, container)["Status"] == "starting"
    assert shown(lab, container).endswith("(health: starting)")
    until(lambda: health(lab, container)["Status"] == "unhealthy", "three failures")
    assert shown(lab, container).endswith("(unhealthy)")
    assert health(lab, container)["FailingStreak"] >= 3
    execute(lab, container, "touch", "/ok")
    until(lambda: health(lab, container)["Status"] == "healthy", "one success")
    assert shown(lab, container).endswith("(healthy)")
    until(lambda: len(health(lab, container)["Log"]) == 5, "five results")
    until(
        lambda: all(item["ExitCode"] == 0 for item in health(lab, container)["Log"]),
        "the last five results, no more",
    )
    last = health(lab, container)
    assert last["FailingStreak"] == 0
    assert {item["Output"] for item in last["Log"]} == {"fine\n"}
    told = [item["Action"] for item in events(lab, container, since, "health_status")]
    assert told == ["health_status: unhealthy", "health_status: healthy"]
    healthy = lab.json("GET", '/containers/json?filters={"health":["healthy"]}')
    assert [item["Id"] for item in healthy] == [container]
    lab.call("POST", f"/containers/{container}/stop?t=0")
    assert health(lab, container)["Status"] == "unhealthy"
    assert len(health(lab, container)["Log"]) == 5


def test_start_period_forgives_and_start_interval_hurries(lab: EngineLab) -> None:
    forgiven = lab.run(
        "sleep", "600",
        Healthcheck=check(["CMD", "false"], 600, Retries=1, StartPeriod=600, StartInterval=0.1),
    )  # fmt: skip
    until(lambda: len(health(lab, forgiven)["Log"]) >= 3, "three failures in the start period")
    assert health(lab, forgiven)["Status"] == "starting"
    assert health(lab, forgiven)["FailingStreak"] == 0
    hurried = lab.run(
        "sleep", "600",
        Healthcheck=check(["CMD", "true"], 600, StartPeriod=600, StartInterval=0.1),
    )  # fmt: skip
    until(lambda: health(lab, hurried)["Status"] == "healthy", "a success ends the start")
    count = len(health(lab, hurried)["Log"])
    until(lambda: len(health(lab, forgiven)["Log"]) >= 5, "time goes by")
    assert len(health(lab, hurried)["Log"]) == count, "the long interval is in force now"
    over = lab.run(
        "sleep", "600",
        Healthcheck=check(["CMD", "false"], Retries=2, StartPeriod=0.3, StartInterval=0.1),
    )  # fmt: skip
    until(lambda: health(lab, over)["Status"] == "unhealthy", "the start period ends")


def test_probe_that_hangs_is_killed(lab: EngineLab) -> None:
    container = lab.run(
        "sleep", "600",
        Healthcheck=check(["CMD", "sleep", "4242"], Timeout=0.2, Retries=2),
    )  # fmt: skip
    until(lambda: health(lab, container)["Status"] == "unhealthy", "it timed out twice")
    result = health(lab, container)["Log"][-1]
    assert result["ExitCode"] == -1
    assert "exceeded timeout (200ms)" in result["Output"]
    lab.call("POST", f"/containers/{container}/pause")
    lab.call("POST", f"/containers/{container}/unpause")
    rows = lab.json("GET", f"/containers/{container}/top")["Processes"]
    assert sum("4242" in row[-1] for row in rows) <= 1


def test_none_and_missing_commands(lab: EngineLab) -> None:
    without = lab.run("sleep", "600", Healthcheck={"Test": ["NONE"]})
    assert "Health" not in lab.inspect(without)["State"]
    assert "health" not in shown(lab, without)
    missing = lab.run("sleep", "600", Healthcheck=check(["CMD", "nothing-there"], Retries=1))
    until(lambda: health(lab, missing)["Status"] == "unhealthy", "no such command")
    assert "nothing-there" in health(lab, missing)["Log"][-1]["Output"]
    with pytest.raises(ApiError, match="(?i)interval"):
        lab.create("true", Healthcheck={"Test": ["CMD", "true"], "Interval": 5})


def test_health_of_a_container_is_its_runs(lab: EngineLab) -> None:
    container = lab.run("sleep", "600", Healthcheck=check(["CMD", "true"]))
    until(lambda: health(lab, container)["Status"] == "healthy", "it is healthy")
    lab.call("POST", f"/containers/{container}/pause")
    assert "(Paused)" in shown(lab, container)
    lab.call("POST", f"/containers/{container}/unpause")
    lab.call("POST", f"/containers/{container}/restart?t=0")
    until(lambda: health(lab, container)["Status"] == "healthy", "it is healthy again")


def test_docker_cli_shows_health(lab: EngineLab) -> None:
    name = docker(
        lab, "run", "-d", "--health-cmd", "true", "--health-interval", "100ms", "busybox",
        "sleep", "600",
    ).stdout.strip()  # fmt: skip
    until(lambda: health(lab, name)["Status"] == "healthy", "it is healthy")
    assert "(healthy)" in docker(lab, "ps", "--format", "{{.Status}}").stdout
    assert docker(lab, "inspect", "-f", "{{.State.Health.Status}}", name).stdout == "healthy\n"


def trapping(lab: EngineLab, trap: str, **fields: Any) -> str:
    """A container that has set its trap."""
    script = f"{trap}; echo ready; while :; do sleep 0.05; done"
    container = lab.run("sh", "-c", script, **fields)
    until(lambda: lab.logs(container) == b"ready\n", "the trap is set")
    return container


ORPHANS = "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; sleep 600"


def test_init_reaps_and_passes_signals_on(lab: EngineLab) -> None:
    container = lab.run(
        "sh", "-c", f"trap 'exit 9' USR1; echo ready; {ORPHANS} & wait", HostConfig={"Init": True}
    )
    until(lambda: lab.logs(container) == b"ready\n", "the trap is set")

    def zombies() -> int:
        script = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
        return int(execute(lab, container, "sh", "-c", script)[1])

    until(lambda: zombies() == 0, "nobody is left unreaped")
    first = execute(lab, container, "cat", "/proc/1/cmdline")[1]
    assert b"init" in first, first
    lab.call("POST", f"/containers/{container}/kill?signal=USR1")
    assert lab.wait(container) == 9


def test_stop_signal_and_timeout(lab: EngineLab) -> None:
    since = time.time()
    polite = trapping(lab, "trap 'exit 4' QUIT", StopSignal="SIGQUIT")
    lab.call("POST", f"/containers/{polite}/stop")
    assert lab.inspect(polite)["State"]["ExitCode"] == 4
    deaf = trapping(lab, "trap '' TERM", StopTimeout=1)
    begun = time.monotonic()
    lab.call("POST", f"/containers/{deaf}/stop")
    assert 1 <= time.monotonic() - begun < 9
    assert lab.inspect(deaf)["State"]["ExitCode"] == 137
    told = [item["Action"] for item in events(lab, deaf, since, "kill", "stop", "die")]
    assert told == ["kill", "kill", "die", "stop"]
    override = trapping(lab, "trap 'exit 6' USR2")
    lab.call("POST", f"/containers/{override}/stop?signal=SIGUSR2&t=20")
    assert lab.inspect(override)["State"]["ExitCode"] == 6
    with pytest.raises(ApiError, match="(?i)signal"):
        lab.call("POST", f"/containers/{override}/kill?signal=SIGNOTHING")
    with pytest.raises(ApiError, match="not running"):
        lab.call("POST", f"/containers/{override}/kill")


def test_kill_gets_through_while_a_stop_waits(lab: EngineLab) -> None:
    deaf = trapping(lab, "trap '' TERM")
    thread = threading.Thread(target=lab.call, args=("POST", f"/containers/{deaf}/stop?t=60"))
    thread.start()
    until(lambda: events(lab, deaf, time.time() - 30, "kill"), "the stop has asked")
    begun = time.monotonic()
    lab.call("POST", f"/containers/{deaf}/kill")
    assert time.monotonic() - begun < 5
    thread.join()
    assert lab.inspect(deaf)["State"]["ExitCode"] == 137


def test_pause(lab: EngineLab) -> None:
    script = "i=0; while :; do i=$((i+1)); echo line $i; usleep 5000; done"
    container = lab.run("sh", "-c", script)
    with follow(lab, f"/containers/{container}/wait", "POST") as waiting:
        lab.call("POST", f"/containers/{container}/pause")
        state = lab.inspect(container)["State"]
        assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
        if (control_groups(f"{lab.bridge()}/{container}")[0] / "cgroup.freeze").exists():
            assert "frozen 1" in cgroup_file(lab, container, "", "cgroup.events")
        else:
            assert cgroup_file(lab, container, "freezer", "freezer.state") == "FROZEN"
        lines = len(lab.logs(container))
        with pytest.raises(ApiError, match="already paused"):
            lab.call("POST", f"/containers/{container}/pause")
        with pytest.raises(ApiError, match="paused"):
            execute(lab, container, "true")
        with pytest.raises(ApiError, match="paused"):
            lab.call("DELETE", f"/containers/{container}")
        assert len(lab.logs(container)) == lines
        lab.call("POST", f"/containers/{container}/unpause")
        until(lambda: len(lab.logs(container)) > lines, "it goes on")
        with pytest.raises(ApiError, match="not paused"):
            lab.call("POST", f"/containers/{container}/unpause")
        lab.call("POST", f"/containers/{container}/pause")
        assert not waiting.ended.is_set()
        lab.call("POST", f"/containers/{container}/kill")
        assert waiting.ended.wait(20)
    assert lab.inspect(container)["State"]["ExitCode"] == 137
    stopped = lab.run("sleep", "600")
    lab.call("POST", f"/containers/{stopped}/pause")
    begun = time.monotonic()
    lab.call("POST", f"/containers/{stopped}/stop?t=1")
    assert time.monotonic() - begun < 9
    assert lab.status(stopped) == "exited"
    removed = lab.run("sleep", "600")
    lab.call("POST", f"/containers/{removed}/pause")
    lab.call("DELETE", f"/containers/{removed}?force=1")
