"""Mounts on the real kernel: many layers, read-only trees, propagation, mounts inside trees."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import files, mount, syscalls

pytestmark = pytest.mark.root


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "m")
    os.mkdir(path)
    mount.bind(path, path, recursive=False, propagation="private")
    yield path
    for target in mount.mounts_below(path):
        mount.unmount(target)
    mount.unmount(path)


def _layers(base: str, count: int, pad: str = "") -> list[str]:
    found = []
    for number in range(count):
        layer = f"{base}/layer-{number:03d}{pad}"
        os.mkdir(layer)
        Path(layer, f"file{number}").write_text(str(number))
        Path(layer, "top").write_text(str(number))
        found.append(layer)
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    return found


@pytest.mark.parametrize(
    ("count", "pad"),
    [(1, ""), (2, ""), (128, "x" * 64), (300, "x" * 64), (128, ",:\\ x"), (3, ",:\\ x")],
)
def test_an_overlay_of_any_number_of_layers(base: str, count: int, pad: str) -> None:
    layers = _layers(base, count, pad)
    mount.mount_overlay(f"{base}/root", layers, f"{base}/upper", f"{base}/work")
    assert len(os.listdir(f"{base}/root")) == count + 1
    assert Path(f"{base}/root/top").read_text() == "0"
    Path(f"{base}/root/top").write_text("changed")
    assert Path(layers[0], "top").read_text() == "0"
    assert Path(f"{base}/upper/top").read_text() == "changed"


@pytest.mark.parametrize("count", [1, 2, 150])
def test_an_overlay_without_upper_is_read_only(base: str, count: int) -> None:
    mount.mount_overlay(f"{base}/root", _layers(base, count, "y" * 64), None, None)
    assert len(os.listdir(f"{base}/root")) == count + 1
    with pytest.raises(OSError) as caught:
        Path(f"{base}/root/new").touch()
    assert caught.value.errno == errno.EROFS


def test_layers_by_descriptor(base: str) -> None:
    """The way for kernels before 6.8, which have no `lowerdir+`."""
    layers = _layers(base, 180, "z" * 64)
    rest = [f"upperdir={base}/upper", f"workdir={base}/work"]
    before = len(os.listdir("/proc/self/fd"))
    mount._mount_overlay_by_fd(f"{base}/root", layers, rest, 0)
    assert len(os.listdir(f"{base}/root")) == 181
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_layer_is_an_error_and_mounts_nothing(base: str) -> None:
    layers = [*_layers(base, 150, "x" * 64), f"{base}/missing"]
    with pytest.raises(OSError):
        mount.mount_overlay(f"{base}/root", layers, f"{base}/upper", f"{base}/work")
    assert mount.mounts_below(base) == []


def test_read_only_binds_reach_the_mounts_below(base: str) -> None:
    for name in ("source/sub", "target"):
        os.makedirs(f"{base}/{name}")
    mount.mount_tmpfs(f"{base}/source/sub", "size=64k")
    mount.bind(f"{base}/source", f"{base}/target", read_only=True)
    for path in (f"{base}/target/x", f"{base}/target/sub/x"):
        with pytest.raises(OSError) as caught:
            Path(path).touch()
        assert caught.value.errno == errno.EROFS
    Path(f"{base}/source/sub/x").touch()
    assert os.listdir(f"{base}/target/sub") == ["x"]


def test_a_plain_bind_leaves_the_mounts_below_out(base: str) -> None:
    for name in ("source/sub", "target"):
        os.makedirs(f"{base}/{name}")
    mount.mount_tmpfs(f"{base}/source/sub", "size=64k")
    Path(f"{base}/source/sub/x").touch()
    mount.bind(f"{base}/source", f"{base}/target", recursive=False)
    assert os.listdir(f"{base}/target/sub") == []


@pytest.mark.parametrize(
    ("word", "tag"), [("rshared", "shared:"), ("private", None), ("rslave", None)]
)
def test_propagation_of_a_bind(base: str, word: str, tag: str | None) -> None:
    os.makedirs(f"{base}/target")
    mount.bind(f"{base}", f"{base}/target", recursive=False, propagation=word)
    entry = mount.mount_at(f"{base}/target")
    assert entry is not None
    assert [item[:7] for item in entry.propagation] == ([tag] if tag else [])


def test_an_unknown_propagation_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="unknown mount propagation"):
        mount.set_propagation(base, "rpublic")


def test_files_are_bound_too(base: str) -> None:
    Path(f"{base}/a").write_text("source")
    Path(f"{base}/b").touch()
    mount.bind(f"{base}/a", f"{base}/b", read_only=True)
    assert Path(f"{base}/b").read_text() == "source"


def test_tmpfs_options(base: str) -> None:
    os.mkdir(f"{base}/t")
    mount.mount_tmpfs(f"{base}/t", "size=64k,mode=711,nosuid,noexec,nodev")
    entry = mount.mount_at(f"{base}/t")
    assert entry is not None
    assert {"nosuid", "noexec", "nodev"} <= set(entry.options.split(","))
    assert "size=64k" in entry.super_options
    assert os.stat(f"{base}/t").st_mode & 0o777 == 0o711
    with pytest.raises(OSError):
        mount.mount_tmpfs(f"{base}/t", "size=many")


def test_odd_names_are_read_back(base: str) -> None:
    target = os.fsdecode(os.fsencode(base) + b"/a b\n\\c\r\xff")
    os.mkdir(target)
    mount.mount_tmpfs(target, "size=64k")
    assert mount.mounts_below(base) == [target]
    mount.unmount(target)
    assert mount.mounts_below(base) == []


def test_unmounting_follows_no_link(base: str) -> None:
    os.mkdir(f"{base}/t")
    mount.mount_tmpfs(f"{base}/t", "size=64k")
    os.symlink("t", f"{base}/link")
    mount.unmount(f"{base}/link")
    assert mount.is_mount_point(f"{base}/t")


def test_shared_mounts_reach_other_namespaces(base: str) -> None:
    os.makedirs(f"{base}/shared/late")
    mount.make_shared(f"{base}/shared")
    entered, mounted = threading.Event(), threading.Event()
    seen: list[bool] = []

    def elsewhere() -> None:
        syscalls.unshare(syscalls.CLONE_FS | syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
        entered.set()
        mounted.wait(10)
        seen.append(mount.is_mount_point(f"{base}/shared/late"))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert entered.wait(10)
    mount.mount_tmpfs(f"{base}/shared/late", "size=64k")
    mounted.set()
    thread.join(10)
    assert seen == [True]


def test_remove_tree_never_enters_a_mount(base: str) -> None:
    os.makedirs(f"{base}/tree/sub/mounted")
    os.makedirs(f"{base}/precious")
    Path(f"{base}/precious/file").write_text("keep")
    mount.bind(f"{base}/precious", f"{base}/tree/sub/mounted")
    with pytest.raises(OSError) as caught:
        files.remove_tree(f"{base}/tree")
    assert caught.value.errno == errno.EBUSY
    assert Path(f"{base}/precious/file").read_text() == "keep"
    mount.unmount(f"{base}/tree/sub/mounted")
    files.remove_tree(f"{base}/tree")
    assert not os.path.exists(f"{base}/tree")
