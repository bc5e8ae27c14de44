"""An engine with userns-remap: every container is mapped that does not ask for the host's ids."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import execute, output, web

pytestmark = pytest.mark.root

# narud in a mount namespace of its own, where /etc/subuid and /etc/subgid are the test's.
PROGRAM = """
import os, sys
from naru.kernel import syscalls
syscalls.unshare(syscalls.CLONE_NEWNS)
syscalls.mount(None, "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
for name in ("subuid", "subgid"):
    syscalls.mount(sys.argv.pop(1), f"/etc/{name}", None, syscalls.MS_BIND)
from naru.engine.main import run
run()
"""


def start(lab: EngineLab) -> None:
    files = [str(lab.directory / name) for name in ("subuid", "subgid")]
    lab.launch(program=("-c", PROGRAM, *files))
    lab.ready()


@pytest.fixture
def lab() -> Iterator[EngineLab]:
    if not (Path("/etc/subuid").exists() and Path("/etc/subgid").exists()):
        pytest.skip("this host has no files of subordinate ids to mount over")
    with engine_lab(71) as engine:
        engine.directory.chmod(0o711)
        (engine.directory / "subuid").write_text("dockremap:600000:65536\n")
        (engine.directory / "subgid").write_text("dockremap:800000:65536\n")
        yield engine


def ids(lab: EngineLab, container: str) -> tuple[int, int]:
    """The host's ids of the container's first process."""
    found = os.stat(f"/proc/{lab.inspect(container)['State']['Pid']}")
    return found.st_uid, found.st_gid


def test_every_container_is_mapped(lab: EngineLab) -> None:
    (lab.directory / "daemon.json").write_text(json.dumps({"userns-remap": "default"}))
    lab.extra = ("--config-file", str(lab.directory / "daemon.json"))
    start(lab)
    lab.make_busybox()
    assert "name=userns" in lab.json("GET", "/info")["SecurityOptions"]
    box, _ = web(lab, Binds=["remap:/v"])
    assert ids(lab, box) == (600_000, 800_000)
    assert lab.inspect(box)["HostConfig"]["UsernsMode"] == ""
    code, text = execute(lab, box, "sh", "-c", "touch /v/f; chown 7:8 /v/f; id -u")
    assert (code, text) == (0, b"0\n")
    assert ids(lab, lab.run("sleep", "60", HostConfig={"UsernsMode": "private"})) == (
        600_000, 800_000,
    )  # fmt: skip
    host = lab.run("sleep", "60", HostConfig={"UsernsMode": "host", "Binds": ["remap:/v"]})
    assert ids(lab, host) == (0, 0)
    assert execute(lab, host, "stat", "-c", "%u:%g", "/v/f") == (0, b"7:8\n")
    with pytest.raises(ApiError, match="privileged mode is incompatible with user namespaces"):
        lab.create("true", HostConfig={"Privileged": True})
    privileged = {"Privileged": True, "UsernsMode": "host", "NetworkMode": "host"}
    assert output(lab, "echo", "privileged", HostConfig=privileged) == "privileged\n"


def test_switched_on_and_off(lab: EngineLab) -> None:
    """A container keeps its files, whatever ids it is shown them with."""
    start(lab)
    lab.make_busybox()
    box = lab.create("sh", "-c", "touch /$(cut -c 1-23 /proc/self/uid_map | tr -d ' '); sleep 60")
    upper = lab.data_root / "snapshots/snapshots" / box / "upper"
    for extra, wanted, files in (
        ((), (0, 0), 1),
        (("--userns-remap", "dockremap"), (600_000, 800_000), 2),
        ((), (0, 0), 2),
    ):
        lab.stop()
        lab.extra = extra
        start(lab)
        lab.call("POST", f"/containers/{box}/start")
        assert ids(lab, box) == wanted, extra
        until(lambda files=files: len(os.listdir(upper)) == files, f"{extra}: it wrote its file")
        lab.call("POST", f"/containers/{box}/stop?t=0")
    assert {os.stat(upper / name).st_uid for name in os.listdir(upper)} == {0}


def test_ids_that_are_not_there(lab: EngineLab) -> None:
    (lab.directory / "subgid").write_text("")
    lab.extra = ("--userns-remap", "default")
    process = lab.launch(
        program=("-c", PROGRAM, *(str(lab.directory / name) for name in ("subuid", "subgid")))
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    assert process.returncode == 1
    assert "/etc/subgid sets no ids aside for dockremap: add the line dockremap:665536:65536" in (
        lab.log.read_text()
    )
