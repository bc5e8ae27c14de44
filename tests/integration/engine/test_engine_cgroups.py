"""Control groups of containers as the host's version has them: where they lie, what a container
sees of them, what it may make below its own, and that none stays."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import EngineLab, control_groups, engine_lab, until
from engine_traffic import cgroup_file, execute, output

from naru.kernel.cgroups.model import weight_of_blkio

pytestmark = pytest.mark.root

MIB = 1 << 20
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
OWN = ("cat", "/proc/self/cgroup")


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(57) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def own_groups(lab: EngineLab) -> list[Path]:
    return control_groups(lab.bridge())


def test_info_tells_the_version(lab: EngineLab) -> None:
    info = lab.json("GET", "/info")
    assert (info["CgroupVersion"], info["CgroupDriver"]) == ("2" if UNIFIED else "1", "cgroupfs")
    assert ("name=cgroupns" in info["SecurityOptions"]) == UNIFIED
    assert info["OomKillDisable"] is not UNIFIED
    told = info["Warnings"] or []
    for name, text in (
        ("MemoryLimit", "memory limit"), ("SwapLimit", "swap limit"), ("CPUShares", "cpu shares"),
        ("CpuCfsQuota", "cpu cfs quota"), ("CPUSet", "cpuset"),
    ):  # fmt: skip
        assert info[name] is not (f"WARNING: No {text} support" in told), name


@pytest.mark.parametrize("privileged", [False, True])
def test_the_namespace_is_private_on_version_2(lab: EngineLab, privileged: bool) -> None:
    host = {"Privileged": privileged}
    mode = lab.inspect(lab.create("true", HostConfig=host))["HostConfig"]["CgroupnsMode"]
    assert mode == ("private" if UNIFIED else "host")
    seen = output(lab, *OWN, HostConfig=host)
    assert (seen == "0::/\n") if UNIFIED else (lab.bridge() in seen)
    for asked, private in (("private", True), ("host", False)):
        seen = output(lab, *OWN, HostConfig={**host, "CgroupnsMode": asked})
        assert (f"/{lab.bridge()}/" not in seen) is private, asked


@pytest.mark.parametrize("shape", ["/{}", "{}", "/{}/inner/"])
def test_a_parent_of_its_own(lab: EngineLab, shape: str) -> None:
    top = f"naru-t-{secrets.token_hex(4)}"
    parent = shape.format(top)
    try:
        host = {"CgroupParent": parent, "PidsLimit": 20}
        container = lab.run("sleep", "600", HostConfig=host)
        groups = control_groups(f"{parent.strip('/')}/{container}")
        assert groups
        limits = [path.read_text() for group in groups for path in group.glob("pids.max")]
        assert limits == ["20\n"]
        assert not control_groups(f"{lab.bridge()}/{container}")
        pid = str(lab.inspect(container)["State"]["Pid"])
        assert pid in (groups[0] / "cgroup.procs").read_text().split()
        lab.call("POST", f"/containers/{container}/kill")
        lab.wait(container)
        until(lambda: not any(group.exists() for group in groups), "its group is removed")
    finally:
        for group in control_groups(top):
            for path in (*group.glob("*/"), group):
                with contextlib.suppress(OSError):
                    path.rmdir()


def test_weights(lab: EngineLab) -> None:
    container = lab.create("sleep", "600", HostConfig={"BlkioWeight": 300})
    files = ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight")
    lab.call("POST", f"/containers/{container}/start")
    found = {name: value for name in files if (value := cgroup_file(lab, container, "blkio", name))}
    kept = lab.inspect(container)["HostConfig"]["BlkioWeight"]
    if kept == 0:
        assert not (UNIFIED and found)  # version 1: the root of the hierarchy has to have it too
        answer = lab.json("POST", f"/containers/{container}/update", {"BlkioWeight": 200})
        assert "Block I/O weight" in answer["Warnings"][0]
        return
    assert kept == 300
    wanted = {"io.weight": f"default {weight_of_blkio(300)}"}
    assert all(text in (wanted.get(name, "300"), "default 300") for name, text in found.items())
    lab.json("POST", f"/containers/{container}/update", {"BlkioWeight": 200})
    name = next(iter(found))
    value = cgroup_file(lab, container, "blkio", name)
    assert value in ("200", "default 200", f"default {weight_of_blkio(200)}")


def test_what_version_2_lacks_is_discarded(lab: EngineLab) -> None:
    host = {
        "Memory": 32 * MIB, "OomKillDisable": True, "MemorySwappiness": 10,
        "KernelMemoryTCP": 16 * MIB,
    }  # fmt: skip
    made = lab.json("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
    kept = lab.inspect(made["Id"])["HostConfig"]
    if UNIFIED:
        text = " ".join(made["Warnings"])
        assert all(word in text for word in ("OomKillDisable", "swappiness", "kernel memory TCP"))
        assert (kept["OomKillDisable"], kept["MemorySwappiness"]) == (None, None)
    else:
        assert made["Warnings"] == []
        assert (kept["OomKillDisable"], kept["MemorySwappiness"]) == (True, 10)
    lab.call("POST", f"/containers/{made['Id']}/start")


def test_groups_below_a_container_are_its_own(lab: EngineLab) -> None:
    """A workload that manages groups, as a service manager does: its processes sit in leaves."""
    if not UNIFIED:
        pytest.skip("version 1 delegates nothing")
    script = (
        "cd /sys/fs/cgroup; mkdir init work; echo $$ > init/cgroup.procs;"
        " echo '+pids +memory' > cgroup.subtree_control; sleep 601 &"
        " echo $! > work/cgroup.procs; cat cgroup.subtree_control; exec sleep 600"
    )
    host = {"SecurityOpt": ["writable-cgroups=true"], "Memory": 64 * MIB}
    container = lab.run("sh", "-c", script, HostConfig=host)
    until(lambda: b"memory pids" in lab.logs(container), "it handed controllers on")
    top = lab.json("GET", f"/containers/{container}/top")
    assert len(top["Processes"]) == 2
    read: Any = json.loads(lab.call("GET", f"/containers/{container}/stats?stream=0&one-shot=1"))
    assert read["pids_stats"]["current"] == 2
    assert execute(lab, container, "echo", "in") == (0, b"in\n")
    lab.call("POST", f"/containers/{container}/pause")
    lab.call("POST", f"/containers/{container}/unpause")
    lab.call("POST", f"/containers/{container}/kill")
    assert lab.wait(container) == 137


def test_a_stopped_engine_leaves_no_group(lab: EngineLab) -> None:
    lab.wait(lab.run("true"))
    groups = own_groups(lab)
    assert groups
    assert lab.stop() == 0
    try:
        assert not [group for group in groups if group.exists()]
    finally:
        lab.start()
