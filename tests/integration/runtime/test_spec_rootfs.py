"""What a process inside sees of files: mounts, masked paths, hostile root file systems."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from spec_container import Sandbox, bind

from naru.base.errors import InvalidParameter, StartFailed
from naru.runtime import mountpoints
from naru.runtime.mounts import MASKED_PATHS, READONLY_PATHS, OciMount, tmpfs_mount
from naru.runtime.user import resolve_user
from naru.spec.engine.container_config import HostConfig

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("crun") is None, reason="needs crun"),
]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    yield from Sandbox.make(tmp_path / "spec")


def prepare(sandbox: Sandbox, mounts: Sequence[OciMount] = (), working_dir: str = "") -> None:
    root_fd = os.open(sandbox.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        mountpoints.prepare(root_fd, mounts, working_dir)
    finally:
        os.close(root_fd)


def test_mount_table(sandbox: Sandbox) -> None:
    table = {
        words[4]: (words[5].split(","), words[words.index("-") + 1])
        for words in (line.split() for line in sandbox.sh("cat /proc/self/mountinfo").splitlines())
    }
    assert {place: kind for place, (_, kind) in table.items() if place in (
        "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"
    )} == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }  # fmt: skip
    assert "ro" in table["/sys"][0]
    for place, flags in (
        ("/proc", {"nosuid", "nodev", "noexec"}),
        ("/dev/shm", {"nosuid", "nodev", "noexec"}),
        ("/dev", {"nosuid"}),
        ("/sys", {"nosuid", "nodev", "noexec"}),
    ):
        assert flags <= set(table[place][0])


def test_masked_and_readonly_paths(sandbox: Sandbox) -> None:
    script = "; ".join(
        f"[ -d {path} ] && ls -A {path}; [ -f {path} ] && cat {path}" for path in MASKED_PATHS
    )
    assert sandbox.sh(script + "; true") == ""
    present = [path for path in READONLY_PATHS if os.path.exists(path)]
    table = sandbox.sh("cat /proc/self/mountinfo")
    for path in present:
        (options,) = (line.split()[5] for line in table.splitlines() if line.split()[4] == path)
        assert "ro" in options.split(",")
    refused = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do echo x > $f; done"
    assert sandbox.run(sandbox.spec("/bin/sh", "-c", refused), check=False).returncode == 1


def test_unmasked_on_request(sandbox: Sandbox) -> None:
    host_config = HostConfig(masked_paths=[], readonly_paths=[])
    table = sandbox.sh("cut -d' ' -f5 /proc/self/mountinfo", host_config=host_config).split()
    assert not [path for path in table if path.startswith("/proc/")]


def test_read_only_root_keeps_mounts_writable(sandbox: Sandbox) -> None:
    volume = sandbox.folder / "volume"
    volume.mkdir()
    mounts = (bind("/data", volume), tmpfs_mount("/run", "size=1m,mode=700"))
    prepare(sandbox, mounts)
    output = sandbox.sh(
        "touch /x 2>/dev/null || echo root; touch /data/y && echo data; touch /run/z && echo run;"
        "stat -c %a /run",
        mounts=mounts,
        host_config=HostConfig(readonly_rootfs=True),
    )
    assert output.split() == ["root", "data", "run", "700"]
    assert (volume / "y").exists()


def test_read_only_bind_covers_submounts(sandbox: Sandbox) -> None:
    outer = sandbox.folder / "outer"
    (outer / "inner").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", outer / "inner"], check=True)
    script = "touch /data/a 2>/dev/null || echo outer; touch /data/inner/b 2>/dev/null || echo in"
    try:
        read_only = (bind("/data", outer, read_only=True),)
        assert sandbox.sh(script, mounts=read_only).split() == ["outer", "in"]
        shallow = (bind("/data", outer, read_only=True, read_only_recursive=False),)
        assert sandbox.sh(script, mounts=shallow).split() == ["outer"]
        alone = (bind("/data", outer, recursive=False),)
        assert sandbox.sh("ls /data/inner; mount | grep -c /data", mounts=alone).split() == ["1"]
    finally:
        subprocess.run(["umount", outer / "inner"], check=True)


def test_files_below_etc(sandbox: Sandbox) -> None:
    for name in ("hosts", "hostname", "resolv.conf"):
        (sandbox.folder / name).write_text(f"{name} of the test\n")
    # As images of other distributions have it, and as an attack would.
    (sandbox.rootfs / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    canary = sandbox.folder / "canary"
    canary.write_text("untouched")
    (sandbox.rootfs / "etc/hosts").symlink_to(canary)
    (sandbox.rootfs / "etc/hostname").symlink_to("/proc/self/environ")
    (sandbox.rootfs / "etc/mtab").symlink_to(canary)
    prepare(sandbox)
    output = sandbox.sh(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf",
        hosts_path=str(sandbox.folder / "hosts"),
        hostname_path=str(sandbox.folder / "hostname"),
        resolv_conf_path=str(sandbox.folder / "resolv.conf"),
    )
    assert output.splitlines() == [
        f"{name} of the test" for name in ("hosts", "hostname", "resolv.conf")
    ]
    assert canary.read_text() == "untouched"


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_kernel_directory_as_link_is_refused(sandbox: Sandbox, name: str) -> None:
    target = sandbox.folder / "host"
    target.mkdir()
    (sandbox.rootfs / name).symlink_to(target)
    with pytest.raises(StartFailed, match=f"/{name} is a symbolic link"):
        prepare(sandbox)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("destination", "link", "target"),
    [
        ("/proc", "", ""),
        ("/proc/sys", "", ""),
        ("/proc/self/fd", "", ""),
        ("/data", "data", "/proc"),
        ("/data/sys", "data", "/proc"),
        ("/data", "data", "/dev"),
        ("/a/../..", "", ""),
    ],
)
def test_destination_over_the_kernels_files(
    sandbox: Sandbox, destination: str, link: str, target: str
) -> None:
    if link:
        (sandbox.rootfs / link).symlink_to(target)
    with pytest.raises(StartFailed):
        prepare(sandbox, [bind(destination, sandbox.folder)])


def test_destination_through_a_link_stays_inside(sandbox: Sandbox) -> None:
    (sandbox.rootfs / "outside").symlink_to("/../../../../srv/data")
    mounts = (bind("/outside/here", sandbox.folder), bind("/etc/one", "/etc/passwd"))
    prepare(sandbox, mounts)
    assert (sandbox.rootfs / "srv/data/here").is_dir()
    assert (sandbox.rootfs / "etc/one").is_file()
    assert sandbox.sh("ls -d /srv/data/here/rootfs", mounts=mounts) == "/srv/data/here/rootfs\n"


def test_nested_mount_through_a_link_of_a_volume(sandbox: Sandbox) -> None:
    volume = sandbox.folder / "volume"
    volume.mkdir()
    (volume / "sub").symlink_to("/proc")
    with pytest.raises(StartFailed, match="symbolic link"):
        prepare(sandbox, [bind("/data", volume), bind("/data/sub", sandbox.folder)])


def test_working_dir(sandbox: Sandbox) -> None:
    canary = sandbox.folder / "canary"
    canary.mkdir(mode=0o700)
    (sandbox.rootfs / "srv").symlink_to(canary)
    prepare(sandbox, (), "/srv/deep")
    assert list(canary.iterdir()) == []
    (sandbox.rootfs / "door").symlink_to("/proc/self/fd/7")
    with pytest.raises(InvalidParameter, match="open files"):
        prepare(sandbox, (), "/door")
    with pytest.raises(InvalidParameter, match="is not a directory"):
        prepare(sandbox, (), "/etc/passwd")
    volume = sandbox.folder / "volume"
    volume.mkdir()
    prepare(sandbox, [bind("/data", volume)], "/data/a/b")
    assert (volume / "a/b").is_dir()
    assert not (sandbox.rootfs / "data/a").exists()


def test_passwd_of_another_kind(sandbox: Sandbox) -> None:
    passwd = sandbox.rootfs / "etc/passwd"
    root_fd = os.open(sandbox.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        passwd.unlink()
        os.mkfifo(passwd)
        with pytest.raises(InvalidParameter, match="no regular file"):
            resolve_user(root_fd, "web")
        assert resolve_user(root_fd, "1000:1000").uid == 1000
        passwd.unlink()
        with passwd.open("wb") as sparse:
            sparse.truncate(10 << 30)
        with pytest.raises(InvalidParameter, match="too large"):
            resolve_user(root_fd, "web")
        passwd.unlink()
        secret = sandbox.folder / "secret"
        secret.write_text("web:x:0:0::/:/bin/sh\n")
        passwd.symlink_to(secret)
        with pytest.raises(InvalidParameter, match="unable to find user web"):
            resolve_user(root_fd, "web")
    finally:
        os.close(root_fd)
