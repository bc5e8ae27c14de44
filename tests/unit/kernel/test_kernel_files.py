"""Files through descriptors: what stays inside, what is whole, what goes away."""

import contextlib
import errno
import os
import threading
from pathlib import Path

import pytest

from naru.kernel import files


@pytest.fixture
def root(tmp_path: Path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    yield fd, tmp_path
    os.close(fd)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_open_in_root_reads_a_file_with_an_absolute_path(root) -> None:
    fd, _ = root
    assert _read(files.open_in_root(fd, "/etc/passwd", os.O_RDONLY)) == b"inside"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd"])
def test_open_in_root_keeps_links_inside(root, target: str) -> None:
    fd, tmp_path = root
    (tmp_path / "root/link").symlink_to(target)
    assert _read(files.open_in_root(fd, "link", os.O_RDONLY)) == b"inside"


def test_open_in_root_never_reaches_outside(root) -> None:
    fd, tmp_path = root
    (tmp_path / "root/up").symlink_to(tmp_path / "secret")
    with pytest.raises(FileNotFoundError) as caught:
        files.open_in_root(fd, "up", os.O_RDONLY)
    assert caught.value.filename == "up"
    with pytest.raises(FileNotFoundError):
        files.open_in_root(fd, "../secret", os.O_RDONLY)


def test_open_in_root_refuses_magic_links(root) -> None:
    fd, _ = root
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="symbolic links") as caught:
            files.open_in_root(proc, f"self/fd/{fd}", os.O_RDONLY)
        assert caught.value.errno == errno.ELOOP
    finally:
        os.close(proc)


def test_open_beneath_follows_no_link_and_does_not_leave(root) -> None:
    fd, tmp_path = root
    (tmp_path / "root/link").symlink_to("etc")
    for path in ("link/passwd", "link"):
        with pytest.raises(OSError, match="symbolic links"):
            files.open_beneath(fd, path, os.O_RDONLY)
    for path in ("../secret", "/etc/passwd"):
        with pytest.raises(OSError, match="cross-device"):
            files.open_beneath(fd, path, os.O_RDONLY)


def test_opened_descriptors_are_not_inherited(root) -> None:
    fd, _ = root
    for opened in (
        files.open_in_root(fd, "etc", os.O_RDONLY),
        files.open_beneath(fd, "etc", os.O_RDONLY),
    ):
        assert not os.get_inheritable(opened)
        os.close(opened)


def test_open_in_root_creates_with_a_mode(root) -> None:
    fd, tmp_path = root
    os.close(files.open_in_root(fd, "new", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o640))
    assert (tmp_path / "root/new").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("durable", [False, True])
def test_write_atomic_replaces_and_sets_the_mode(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "record"
    path.write_text("old")
    files.write_atomic(str(path), b"new", mode=0o644, durable=durable)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["record"]


def test_write_atomic_leaves_nothing_behind_on_failure(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_atomic(str(tmp_path / "directory"), b"x")
    assert os.listdir(tmp_path) == ["directory"]


def test_readers_see_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = str(tmp_path / "record")
    contents = {b"a" * 50_000, b"b" * 70_000}
    files.write_atomic(path, b"a" * 50_000)
    done = threading.Event()

    def write() -> None:
        for _ in range(50):
            for content in contents:
                files.write_atomic(path, content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(files.read_file_limited(path, 100_000))
    writer.join()
    assert seen <= contents


def test_read_file_limited(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert files.read_file_limited(str(path), 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes") as caught:
        files.read_file_limited(str(path), 4)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)


def test_read_file_limited_does_not_wait_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        files.read_file_limited(str(tmp_path / "fifo"), 10)


def test_read_file_limited_stops_at_an_endless_file(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as out:
        out.truncate(1 << 40)
    with pytest.raises(OSError, match="longer than"):
        files.read_file_limited(str(tmp_path / "sparse"), 1 << 20)


def test_remove_tree_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("keep")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    (tree / "a/link").symlink_to(victim)
    (tree / "dangling").symlink_to("nowhere")
    files.remove_tree(str(tree))
    assert not tree.exists()
    assert (victim / "file").read_text() == "keep"


def test_remove_tree_of_a_link_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    files.remove_tree(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["victim"]


def test_remove_tree_takes_what_is_missing_and_plain_files(tmp_path: Path) -> None:
    files.remove_tree(str(tmp_path / "missing"))
    files.remove_tree(str(tmp_path / "no/parent"))
    (tmp_path / "file").write_text("x")
    files.remove_tree(str(tmp_path / "file") + "/")
    assert os.listdir(tmp_path) == []


def test_remove_tree_is_not_stopped_by_depth_or_odd_names(tmp_path: Path) -> None:
    tree = os.fsencode(tmp_path / "tree")
    os.mkdir(tree)
    open(tree + b"/\xff\xfe not utf-8", "w").close()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 20, dir_fd=fd)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    files.remove_tree(os.fsdecode(tree))
    assert os.listdir(tmp_path) == []


def test_remove_tree_while_names_are_swapped(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "sub/keep").write_text("keep")
    tree = tmp_path / "tree"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                os.rename(tree / "d", tree / "e")
                os.symlink(victim, tree / "d")
                os.unlink(tree / "d")
                os.rename(tree / "e", tree / "d")
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                (tree / "d/sub").mkdir(parents=True, exist_ok=True)
                (tree / "d/sub/file").touch()
            try:
                files.remove_tree(str(tree))
            except OSError as error:
                assert error.errno in (errno.ENOTEMPTY, errno.ENOENT)
    finally:
        stop.set()
        swapper.join()
    assert (victim / "sub/keep").read_text() == "keep"


def test_syncfs_and_sync_directory(tmp_path: Path) -> None:
    files.syncfs(str(tmp_path))
    files.sync_directory(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        files.syncfs(str(tmp_path / "missing"))
