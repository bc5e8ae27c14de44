"""The packaged unit under a real systemd: a restart ends narud alone, its containers go on. Skipped
where systemd is not the first process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ROOT, EngineLab, control_groups, engine_lab, until
from engine_traffic import numbers_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.path.isdir("/run/systemd/system"), reason="systemd does not run here"
    ),
]

UNITS = Path("/run/systemd/system")


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


class Unit:
    """naru.service and naru.socket under other names, for an engine of this test's own."""

    def __init__(self, lab: EngineLab) -> None:
        self.lab, self.name = lab, lab.directory.name
        narud = (
            f"{sys.executable} -m naru.engine.main --data-root {lab.data_root} --exec-root"
            f" {lab.exec_root} --pidfile {lab.directory}/pid --bip {lab.bip}"
        )
        for kind in ("service", "socket"):
            text = (ROOT / f"packaging/systemd/naru.{kind}").read_text()
            for old, new in (
                ("ExecStart=/usr/bin/narud", f"ExecStart={narud}\nWorkingDirectory={ROOT}"),
                ("ListenStream=/run/naru/naru.sock", f"ListenStream={lab.socket}"),
                ("SocketGroup=naru", "SocketGroup=root"),
                ("StateDirectory=naru\n", ""),
                ("StateDirectoryMode=0711\n", ""),
                ("naru.socket", f"{self.name}.socket"),
            ):
                text = text.replace(old, new)
            (UNITS / f"{self.name}.{kind}").write_text(text)
        systemctl("daemon-reload")
        systemctl("start", f"{self.name}.socket")

    def main_pid(self) -> int:
        return int(systemctl("show", "-P", "MainPID", f"{self.name}.service"))

    def remove(self) -> None:
        self.lab.remove_all()
        systemctl("stop", f"{self.name}.socket", f"{self.name}.service")
        for kind in ("service", "socket"):
            (UNITS / f"{self.name}.{kind}").unlink()
        systemctl("daemon-reload")


@pytest.fixture
def unit() -> Iterator[Unit]:
    with engine_lab(58) as lab:
        made = Unit(lab)
        try:
            yield made
        finally:
            made.remove()


def test_a_restart_ends_narud_alone(unit: Unit) -> None:
    lab = unit.lab
    lab.make_busybox()
    script = "i=0; while :; do i=$((i+1)); echo line $i; usleep 100000; done"
    host = {"Memory": 32 << 20, "PidsLimit": 30}
    container = lab.run("sh", "-c", script, HostConfig=host)
    before, narud = lab.inspect(container)["State"]["Pid"], unit.main_pid()
    (group, *_) = control_groups(f"{lab.bridge()}/{container}")
    for how in ("restart", "kill"):
        if how == "restart":
            systemctl("restart", f"{unit.name}.service")
        else:
            systemctl("kill", "--kill-whom=main", "--signal=KILL", f"{unit.name}.service")
        until(lambda old=narud: unit.main_pid() not in (0, old), "there is a new narud")
        narud = unit.main_pid()
        state = lab.inspect(container)["State"]
        assert (state["Status"], state["Pid"]) == ("running", before), how
        assert str(before) in (group / "cgroup.procs").read_text().split()
        lines = len(lab.logs(container))
        until(lambda seen=lines: len(lab.logs(container)) > seen, "it still writes")
    numbers = numbers_in(lab.logs(container))
    assert numbers == list(range(1, len(numbers) + 1))
    # systemd changes the root group's controllers as units come and go: limits stay.
    systemctl("daemon-reload")
    limits = [path.read_text() for path in _limits(unit, container)]
    assert limits == ["30\n"]
    read = lab.json("GET", f"/containers/{container}/stats?stream=0&one-shot=1")
    assert read["memory_stats"]["limit"] == 32 << 20
    assert read["pids_stats"]["limit"] == 30


def _limits(unit: Unit, container: str) -> list[Path]:
    groups = control_groups(f"{unit.lab.bridge()}/{container}")
    return [path for group in groups for path in group.glob("pids.max")]


def test_a_stopped_unit_leaves_containers_and_the_next_one_adopts_them(unit: Unit) -> None:
    lab = unit.lab
    lab.make_busybox()
    container = lab.run("sleep", "600")
    before = lab.inspect(container)["State"]["Pid"]
    systemctl("stop", f"{unit.name}.service")
    assert os.path.exists(f"/proc/{before}")
    assert lab.inspect(container)["State"]["Pid"] == before  # the socket started the next narud
    lab.call("POST", f"/containers/{container}/kill")
    assert lab.wait(container) == 137
    until(lambda: not control_groups(f"{lab.bridge()}/{container}"), "its group is removed")
