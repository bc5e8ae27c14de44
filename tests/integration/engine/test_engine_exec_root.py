"""The mount that narud makes of its exec root: there while needed; the host's own stays."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from engine_lab import EngineLab, engine_lab

from naru.kernel import mount

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Iterator[EngineLab]:
    with engine_lab(22) as engine:
        yield engine


def mounts_on(lab: EngineLab) -> list[str]:
    """File systems of the mounts on the exec root, the topmost last."""
    target = os.path.realpath(lab.exec_root)
    return [entry.fstype for entry in mount.mount_table() if entry.target == target]


def test_a_clean_stop_takes_it_away(lab: EngineLab) -> None:
    before = mounts_on(lab)
    lab.start()
    assert len(mounts_on(lab)) == len(before) + 1
    assert lab.stop() == 0
    assert mounts_on(lab) == before
    assert "mount.note" not in os.listdir(lab.exec_root)


def test_it_stays_with_what_runs_and_goes_after_it(lab: EngineLab) -> None:
    """Also when the narud that made it was killed."""
    lab.start()
    lab.make_busybox()
    container = lab.run("sleep", "600")
    lab.kill()
    lab.start()
    assert lab.stop() == 0
    assert len(mounts_on(lab)) == 1
    lab.start()
    assert lab.status(container) == "running"
    lab.call("DELETE", f"/containers/{container}?force=1")
    assert lab.stop() == 0
    assert mounts_on(lab) == []


def test_a_mount_of_the_hosts_own_stays(lab: EngineLab) -> None:
    words = ("mount", "-t", "tmpfs", "-o", "size=16m", "canary", str(lab.exec_root))
    subprocess.run(words, check=True)
    for end in (lab.stop, lab.kill):
        lab.start()
        end()
        assert mounts_on(lab) == ["tmpfs"]
    lab.start()
    assert lab.stop() == 0
    assert mounts_on(lab) == ["tmpfs"]
