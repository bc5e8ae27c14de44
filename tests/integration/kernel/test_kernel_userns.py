"""User namespaces and id-mapped mounts on the real kernel."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.base.idmap import IdMap, IdRange
from naru.kernel import mount, netns, userns
from naru.kernel.spawn import Spawner
from naru.kernel.userns import Mapped

pytestmark = pytest.mark.root

MAP = IdMap((IdRange(0, 700_000, 65_536),), (IdRange(0, 800_000, 65_536),))


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.close()


@pytest.fixture
def mapped(spawner: Spawner) -> Iterator[Mapped]:
    made = userns.open_userns(spawner, MAP)
    yield made
    os.close(made.fd)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o755)
    yield tmp_path
    for target in mount.mounts_below(str(tmp_path)):
        mount.unmount(target)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_network_namespace_belongs_to_the_user_namespace(spawner: Spawner, place: Path) -> None:
    user, net = str(place / "user"), str(place / "net")
    userns.create_sandbox(spawner, MAP, user, net)
    script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; ip link set lo up && echo up"
    words = ["nsenter", f"--user={user}", f"--net={net}", "sh", "-c", script]
    inside = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert inside.split() == ["0", "700000", "65536", "0", "800000", "65536", "0", "up"]
    own = os.readlink("/proc/thread-self/ns/net")
    assert netns.run_in_netns(net, os.readlink, "/proc/thread-self/ns/net") != own
    second = str(place / "second")
    userns.create_netns_in(spawner, user, second)
    words = ["nsenter", f"--user={user}", f"--net={second}", "ip", "link", "set", "lo", "up"]
    subprocess.run(words, check=True)
    for pin in (net, second, user, user):
        userns.remove_userns(pin)
    assert not os.listdir(place)


def test_a_failure_leaves_nothing(spawner: Spawner, place: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    (place / "net").touch()
    with pytest.raises(FileExistsError):
        userns.create_sandbox(spawner, MAP, str(place / "user"), str(place / "net"))
    assert os.listdir(place) == ["net"]
    with pytest.raises(OSError, match="no user namespaces"):
        userns.create_netns_in(spawner, str(place / "missing"), str(place / "other"))
    broken = IdMap((IdRange(0, 5, 0),), MAP.gids)
    with pytest.raises(OSError):
        userns.open_userns(spawner, broken)
    assert os.listdir(place) == ["net"]
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_map_of_a_process(spawner: Spawner) -> None:
    assert userns.map_of_process(os.getpid()) is None
    with userns._held(spawner, ["unshare", "--user"]) as child:
        assert userns.map_of_process(child.pid) is None
        userns._write_maps(child.pid, MAP)
        assert userns.map_of_process(child.pid) == MAP


def test_files_keep_their_ids_on_disk(place: Path, mapped: Mapped) -> None:
    base = folder(place / "base")
    for name in ("lower", "upper", "work"):
        folder(base / name)
    (base / "lower" / "a").write_text("a")
    os.chown(base / "lower" / "a", 5, 6)
    (base / "lower" / "gone").touch()
    root, staging = folder(place / "root"), folder(place / "staging")
    userns.mount_overlay_mapped(
        str(root), str(base), str(staging), [str(base / "lower")], str(base / "upper"),
        str(base / "work"), mapped,
    )  # fmt: skip
    assert not mount.is_mount_point(str(staging))
    found = os.stat(root / "a")
    assert (found.st_uid, found.st_gid) == (700_005, 800_006)
    with pytest.raises(OSError, match="too large"):
        (root / "by-host").mkdir()
    home = os.getresuid()

    def write() -> None:
        (root / "made").mkdir()
        (root / "a").write_text("changed")
        (root / "gone").unlink()
        os.chown(root / "made", 700_100, 800_100)

    userns.as_root_of(MAP, write)
    assert os.getresuid() == home
    mount.unmount(str(root))
    made = os.stat(base / "upper" / "made")
    assert (made.st_uid, made.st_gid) == (100, 100)
    changed = os.stat(base / "upper" / "a")
    assert (changed.st_uid, changed.st_gid) == (5, 6)
    assert stat.S_ISCHR(os.stat(base / "upper" / "gone").st_mode)


def test_a_bound_directory_is_seen_with_other_ids(place: Path, mapped: Mapped) -> None:
    source, target = folder(place / "source"), folder(place / "target")
    userns.bind_mapped(str(source), str(target), mapped)
    assert os.stat(target).st_uid == 700_000
    userns.as_root_of(MAP, (target / "file").touch)
    found = os.stat(source / "file")
    assert (found.st_uid, found.st_gid) == (0, 0)


def test_what_cannot_be_mapped_is_named(place: Path, mapped: Mapped) -> None:
    target = folder(place / "target")
    with pytest.raises(OSError, match="cannot be shown with the ids") as raised:
        userns.bind_mapped("/proc", str(target), mapped, recursive=False)
    assert raised.value.filename == "/proc"


def test_entering_makes_a_helper_the_containers_root(mapped: Mapped) -> None:
    script = (
        "import os, sys; from naru.kernel import userns; userns.enter(int(sys.argv[1]));"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )
    words = [sys.executable, "-c", script, str(mapped.fd)]
    out = subprocess.run(words, pass_fds=(mapped.fd,), capture_output=True, text=True, check=True)
    assert out.stdout == "(0, 0, 0) (0, 0, 0) []\n"
