"""Restart policies: after an end, after a new engine, after a reboot; and what people said."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, control_groups, engine_lab, until
from engine_traffic import events, execute

pytestmark = pytest.mark.root

POLICIES = ("no", "always", "unless-stopped", "on-failure")


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(53) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    if lab.process is None or lab.process.poll() is not None:
        lab.start()
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def policy(name: str, retries: int = 0) -> dict[str, Any]:
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": retries}}


def pid(lab: EngineLab, container: str) -> int:
    return int(lab.inspect(container)["State"]["Pid"])


def power_cut(lab: EngineLab) -> None:
    """What a reboot leaves of an engine: the data root. Processes, mounts, links are gone."""
    bridge = lab.bridge()
    running = [item["Id"] for item in lab.json("GET", "/containers/json")]
    pids = [pid(lab, item) for item in running]
    lab.kill()
    mark = os.fsencode(lab.exec_root)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in words and b"conmon" in words.split(b"\0")[0]:
                pids.append(int(entry.name))
    for number in pids:
        os.kill(number, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{number}") for number in pids), "all ended")
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split()[4]
        if target.startswith(f"{lab.exec_root}"):
            subprocess.run(["umount", "-l", target], check=False)
    shutil.rmtree(lab.exec_root)
    lab.exec_root.mkdir()
    subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
    table = bridge.replace("-", "_")
    subprocess.run(["nft", "delete", "table", "inet", table], check=False, capture_output=True)
    for container in running:
        for group in control_groups(f"{bridge}/{container}"):
            until(lambda g=group: removed(g), f"{group} is empty")


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


def test_after_a_reboot(lab: EngineLab) -> None:
    """Who was up comes up, unless policy or people said otherwise."""
    running = {name: lab.run("sleep", "600", HostConfig=policy(name)) for name in POLICIES}
    stopped = {name: lab.run("sleep", "600", HostConfig=policy(name)) for name in POLICIES}
    created = {name: lab.create("sleep", "600", HostConfig=policy(name)) for name in POLICIES}
    ended = lab.run("true", HostConfig=policy("on-failure"))
    removing = lab.run("sleep", "600", HostConfig={"AutoRemove": True})
    port = lab.run(
        "sleep", "600",
        HostConfig={"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                    **policy("always")},
    )  # fmt: skip
    lab.wait(ended)
    for container in stopped.values():
        lab.call("POST", f"/containers/{container}/stop?t=0")
    power_cut(lab)
    lab.start()
    for name in ("always", "unless-stopped", "on-failure"):
        until(lambda n=name: lab.status(running[n]) == "running", f"{name} is up again")
        assert execute(lab, running[name], "true")[0] == 0
    until(lambda: lab.status(stopped["always"]) == "running", "always is up though stopped")
    until(lambda: lab.status(port) == "running", "the one with a port is up")
    assert lab.inspect(port)["NetworkSettings"]["Ports"]["80/tcp"]
    state = lab.inspect(running["no"])["State"]
    assert (state["Status"], state["Running"], state["Pid"]) == ("exited", False, 0)
    assert "exit status is unknown" in state["Error"]
    for name in ("no", "unless-stopped", "on-failure"):
        assert lab.status(stopped[name]) == "exited", name
    for name in POLICIES:
        assert lab.status(created[name]) == "created", name
    assert lab.status(ended) == "exited"
    until(lambda: removing not in ids(lab), "--rm containers do not outlive a reboot")
    lab.call("POST", f"/containers/{running['no']}/start")
    assert lab.inspect(running["no"])["State"]["Error"] == ""


def test_after_a_reboot_those_who_need_others_wait_for_them(lab: EngineLab) -> None:
    first = lab.run("sleep", "600", HostConfig={"IpcMode": "shareable", **policy("always")})
    mode = f"container:{first}"
    joined = lab.run(
        "sleep", "600", HostConfig={"NetworkMode": mode, "IpcMode": mode, **policy("always")}
    )
    name = lab.inspect(first)["Name"].removeprefix("/")
    linked = lab.run("sleep", "600", HostConfig={"Links": [f"{name}:db"], **policy("always")})
    power_cut(lab)
    lab.start()
    for container in (joined, linked):
        until(lambda c=container: lab.status(c) == "running", "who needs another is up")
    assert b"db" in execute(lab, linked, "cat", "/etc/hosts")[1]


def ids(lab: EngineLab) -> list[str]:
    return [item["Id"] for item in lab.json("GET", "/containers/json?all=1")]


def test_after_a_new_engine(lab: EngineLab) -> None:
    """Nothing is restarted that runs; what was stopped stays so, `always` alone excepted."""
    running = lab.run("sleep", "600", HostConfig=policy("always"))
    before = pid(lab, running)
    stopped = {name: lab.run("sleep", "600", HostConfig=policy(name)) for name in POLICIES}
    for container in stopped.values():
        lab.call("POST", f"/containers/{container}/stop?t=0")
    assert lab.stop() == 0
    lab.start()
    until(lambda: lab.status(stopped["always"]) == "running", "always is always")
    assert pid(lab, running) == before
    assert lab.inspect(running)["RestartCount"] == 0
    for name in ("no", "unless-stopped", "on-failure"):
        assert lab.status(stopped[name]) == "exited", name


def test_back_off_is_counted_and_on_failure_ends(lab: EngineLab) -> None:
    since = time.time()
    container = lab.run("false", HostConfig=policy("on-failure", 3))
    until(lambda: lab.status(container) == "exited", "it is given up")
    found = lab.inspect(container)
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (3, 1)
    told = events(lab, container, since, "start", "die")
    assert [item["Action"] for item in told] == ["start", "die"] * 4
    starts = [item["timeNano"] / 1e9 for item in told if item["Action"] == "start"]
    waits = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
    for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait >= least
    lab.call("POST", f"/containers/{container}/start")
    until(lambda: lab.status(container) == "exited", "it is given up again")
    assert lab.inspect(container)["RestartCount"] == 3, "a start by hand counts anew"
    done = lab.run("true", HostConfig=policy("on-failure", 3))
    lab.wait(done)
    until(lambda: lab.status(done) == "exited", "success is no failure")
    assert lab.inspect(done)["RestartCount"] == 0


def restarting(state: dict[str, Any]) -> bool:
    return bool(state["Status"] == "restarting" and state["Restarting"])


def test_restarting_container_obeys(lab: EngineLab) -> None:
    container = lab.run("false", HostConfig=policy("always"), name="looping")
    until(lambda: lab.inspect(container)["RestartCount"] >= 3, "it is restarted")
    # It may start again between two questions: each is asked once, in one piece.
    until(lambda: restarting(lab.inspect(container)["State"]), "it waits for its next turn")
    with pytest.raises(ApiError, match="container is (restarting|running)"):
        lab.call("DELETE", f"/containers/{container}")
    lab.call("POST", f"/containers/{container}/stop")
    assert lab.status(container) == "exited"
    count = lab.inspect(container)["RestartCount"]
    lab.call("POST", f"/containers/{container}/start")
    lab.json("POST", f"/containers/{container}/update", policy("no"))
    until(lambda: lab.status(container) == "exited", "an update of the policy ends it")
    assert lab.inspect(container)["RestartCount"] <= count + 1
    lab.call("POST", f"/containers/{container}/start")
    assert lab.wait(container) == 1


def test_stopped_by_hand_stays_stopped(lab: EngineLab) -> None:
    for name in ("always", "unless-stopped", "on-failure"):
        container = lab.run("sleep", "600", HostConfig=policy(name))
        lab.call("POST", f"/containers/{container}/kill")
        assert lab.status(container) == "exited", name
        assert lab.inspect(container)["RestartCount"] == 0
        lab.call("POST", f"/containers/{container}/start")
        os.kill(pid(lab, container), signal.SIGKILL)
        until(lambda c=container: lab.inspect(c)["RestartCount"] == 1, f"{name} starts it again")


def test_restarting_container_is_restarted_by_the_next_narud(lab: EngineLab) -> None:
    container = lab.run("sh", "-c", "sleep 0.2; exit 1", HostConfig=policy("unless-stopped"))
    limited = lab.run("false", HostConfig=policy("on-failure", 4))
    until(lambda: lab.status(limited) == "restarting", "it is between two starts")
    lab.kill()
    lab.start()
    until(lambda: lab.inspect(container)["RestartCount"] >= 1, "it goes on")
    until(lambda: lab.inspect(limited)["RestartCount"] == 4, "its tries go on", deadline_s=40)
    until(lambda: lab.status(limited) == "exited", "its tries end")
    assert lab.inspect(limited)["RestartCount"] == 4
