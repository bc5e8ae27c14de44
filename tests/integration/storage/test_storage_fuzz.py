"""Random archives: each is refused with an ArchiveError, or is rebuilt to the byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

COUNT = 1500
SCRIPT = Path(__file__).with_name("random_archives.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_random_archives(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(seed), str(COUNT)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > COUNT // 10
    assert os.listdir(tmp_path) == []
