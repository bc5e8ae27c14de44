"""The spawner on a host with both cgroup versions: what its children see, and what they do not."""

import asyncio
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.base.errors import Internal
from naru.kernel import cgroup, mount
from naru.kernel.spawn import Spawner

pytestmark = pytest.mark.root

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.fixture
def exec_root(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "run")
    os.makedirs(f"{path}/late")
    mount.make_shared(path)
    yield path
    for target in mount.mounts_below(path):
        mount.unmount(target)
    mount.unmount(path)


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    """The private way, on any host: without a unified hierarchy there is just nothing to hide."""
    if not mount.is_mount_point("/sys/fs/cgroup"):
        pytest.fail("/sys/fs/cgroup is not mounted")
    made = Spawner(hybrid=True)
    yield made
    made.close()


def _run(spawner: Spawner, script: str) -> tuple[int, str]:
    async def run() -> tuple[int, str]:
        status, output = await spawner.run(["/bin/sh", "-c", script], env=ENV)
        return status, output.decode()

    return asyncio.run(run())


@pytest.mark.parametrize("hybrid", [False, True])
def test_no_signal_is_blocked_or_ignored(hybrid: bool) -> None:
    """Not even 32 and 33, which the C library keeps for itself."""
    made = Spawner(hybrid=hybrid)
    try:
        status, output = _run(made, "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        made.close()
    assert status == 0
    assert output.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_children_do_not_see_the_unified_hierarchy(spawner: Spawner) -> None:
    before = mount.is_mount_point("/sys/fs/cgroup/unified")
    status, output = _run(spawner, "grep -c ' /sys/fs/cgroup/unified ' /proc/self/mountinfo")
    assert (status, output.strip()) == (1, "0")
    assert mount.is_mount_point("/sys/fs/cgroup/unified") == before


def test_a_running_child_sees_later_mounts_below_the_exec_root(
    spawner: Spawner, exec_root: str
) -> None:
    reading, writing = os.pipe()
    ready_r, ready_w = os.pipe()
    script = f"echo ready; read line; cat {exec_root}/late/file"
    child = spawner.spawn(["/bin/sh", "-c", script], env=ENV, fds={0: reading, 1: ready_w})
    os.close(ready_w)
    assert os.read(ready_r, 6) == b"ready\n"
    mount.mount_tmpfs(f"{exec_root}/late", "size=64k")
    Path(f"{exec_root}/late/file").write_text("seen")
    os.write(writing, b"go\n")
    assert child.wait_blocking(10) == 0
    assert os.read(ready_r, 100) == b"seen"
    for fd in (reading, writing, ready_r):
        os.close(fd)


def test_later_children_see_mounts_that_do_not_propagate(spawner: Spawner, tmp_path: Path) -> None:
    target = str(tmp_path / "private")
    os.mkdir(target)
    assert _run(spawner, f"cat {target}/file")[0] != 0
    mount.mount_tmpfs(target, "size=64k")
    try:
        Path(target, "file").write_text("seen")
        mount.set_propagation(target, "private")
        assert _run(spawner, f"cat {target}/file") == (0, "seen")
    finally:
        mount.unmount(target)
    assert _run(spawner, f"cat {target}/file")[0] != 0


def test_nothing_that_was_unmounted_is_kept_busy(spawner: Spawner, tmp_path: Path) -> None:
    """The namespace of the spawner must not hold on to what the host let go, from the next
    spawn on."""
    target = str(tmp_path / "mounted")
    os.mkdir(target)
    mount.mount_tmpfs(target, "size=64k")
    assert _run(spawner, f"grep -c ' {target} ' /proc/self/mountinfo") == (0, "1\n")
    mount.unmount(target, lazy=False)
    assert _run(spawner, f"grep -c ' {target} ' /proc/self/mountinfo") == (1, "0\n")


def _thread_mounts() -> list[str]:
    """What each thread of this process sees mounted."""
    return [(task / "mountinfo").read_text() for task in Path("/proc/self/task").iterdir()]


def test_an_idle_spawner_lets_go_too(spawner: Spawner, tmp_path: Path) -> None:
    target = str(tmp_path / "mounted")
    os.mkdir(target)
    mount.mount_tmpfs(target, "size=64k")
    assert _run(spawner, "true")[0] == 0
    mount.unmount(target, lazy=False)
    assert any(f" {target} " in text for text in _thread_mounts())
    deadline = time.monotonic() + 10
    while any(f" {target} " in text for text in _thread_mounts()):
        assert time.monotonic() < deadline, "the spawner holds on to an unmounted file system"
        time.sleep(0.05)


def test_mounts_made_by_a_child_in_a_shared_folder_reach_the_host(
    spawner: Spawner, exec_root: str
) -> None:
    assert _run(spawner, f"mount -t tmpfs -o size=64k none {exec_root}/late")[0] == 0
    assert mount.is_mount_point(f"{exec_root}/late")


def test_many_at_once(spawner: Spawner) -> None:
    async def run() -> list[int]:
        children = [spawner.spawn(["/bin/true"], env=ENV) for _ in range(20)]
        return [await child.wait() for child in children]

    assert asyncio.run(run()) == [0] * 20


def test_errors_come_back_from_the_thread(spawner: Spawner) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        spawner.spawn(["/nonexistent"], env=ENV)
    assert caught.value.filename == "/nonexistent"


def test_a_closed_spawner_refuses(spawner: Spawner) -> None:
    spawner.close()
    spawner.close()
    with pytest.raises(Internal, match="closed"):
        spawner.spawn(["/bin/true"], env=ENV)


@pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")
def test_crun_runs_a_container(exec_root: str) -> None:
    """On a hybrid host crun alone refuses."""
    host = cgroup.detect()
    name = f"naru-t-{secrets.token_hex(4)}"
    bundle, rootfs = f"{exec_root}/bundle", f"{exec_root}/bundle/rootfs"
    os.makedirs(f"{rootfs}/bin")
    shutil.copy("/bin/busybox", f"{rootfs}/bin/busybox")
    spec = {
        "ociVersion": "1.0.0",
        "process": {"cwd": "/", "args": ["/bin/busybox", "echo", "hello"], "env": ["PATH=/bin"],
                    "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "network")],
                  "cgroupsPath": f"/{name}/c1"},
    }  # fmt: skip
    Path(bundle, "config.json").write_text(json.dumps(spec))
    made = Spawner(hybrid=host.hybrid)
    try:
        crun = shutil.which("crun")
        script = f"{crun} --root {exec_root}/state run --bundle {bundle} {name} 2>&1"
        assert _run(made, script) == (0, "hello\n")
    finally:
        made.close()
        cgroup.Cgroup(host, f"/{name}").remove()
