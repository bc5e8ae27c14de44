"""A failing disk at every failpoint of the story: a clear error, and life goes on."""

from pathlib import Path

import pytest
from engine_lab import engine_lab
from fault_story import fail_at_every_point

pytestmark = pytest.mark.root


def test_eio_at_every_point(tmp_path: Path) -> None:
    with engine_lab(4) as lab:
        fail_at_every_point(lab, tmp_path, "eio")
