"""The mount that is made of a directory on itself: taken away by its maker, and nothing else is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import mount, own_mount

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "root"
    path.mkdir()
    yield str(path)
    for target in [*mount.mounts_below(str(tmp_path))]:
        mount.unmount(target)


def note_of(root: str) -> str:
    return f"{root}/note"


def mounts_on(root: str) -> int:
    return [entry.target for entry in mount.mount_table()].count(root)


def test_what_was_made_is_taken_away(root: str) -> None:
    own_mount.share(root, note_of(root))
    own_mount.share(root, note_of(root))
    found = mount.mount_at(root)
    assert found is not None
    assert any(word.startswith("shared:") for word in found.propagation)
    assert not any(word.startswith("master:") for word in found.propagation)
    assert own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 0
    assert not os.path.exists(note_of(root))
    assert not own_mount.take_away(root, note_of(root))


def test_the_hosts_own_mount_stays(root: str) -> None:
    mount.mount_tmpfs(root, "size=64k")
    own_mount.share(root, note_of(root))
    assert not os.path.exists(note_of(root))
    assert not own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 1


def test_the_hosts_own_bind_stays_though_it_looks_like_ours(root: str) -> None:
    mount.bind(root, root, recursive=False)
    own_mount.share(root, note_of(root))
    assert not own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 1


def test_an_old_note_takes_nothing_away(root: str) -> None:
    """The mount that was noted went, and the host mounted something of its own there."""
    own_mount.share(root, note_of(root))
    text = Path(note_of(root)).read_text()
    mount.unmount(root)
    mount.mount_tmpfs(root, "size=64k")
    Path(note_of(root)).write_text(text)
    assert not own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 1


@pytest.mark.parametrize("boot", ["", "another-boot "])
def test_a_number_that_another_mount_has_takes_nothing_away(root: str, boot: str) -> None:
    mount.mount_tmpfs(root, "size=64k")
    found = mount.mount_at(root)
    assert found is not None
    this = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    Path(note_of(root)).write_text(f"{boot or this + ' '}{found.mount_id}\n")
    assert not own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 1


def test_a_mount_of_the_hosts_on_top_stays(root: str) -> None:
    own_mount.share(root, note_of(root))
    text = Path(note_of(root)).read_text()
    mount.mount_tmpfs(root, "size=64k")
    Path(note_of(root)).write_text(text)
    assert not own_mount.take_away(root, note_of(root))
    assert mounts_on(root) == 2
    mount.unmount(root)
    assert own_mount.take_away(root, note_of(root))


def test_it_stays_while_something_is_mounted_below(root: str) -> None:
    own_mount.share(root, note_of(root))
    os.mkdir(f"{root}/below")
    mount.mount_tmpfs(f"{root}/below", "size=64k")
    assert not own_mount.take_away(root, note_of(root))
    mount.unmount(f"{root}/below")
    assert own_mount.take_away(root, note_of(root))
