"""For every test: what a run made below its temporary folder goes with the run."""

import contextlib
from collections.abc import Iterator

import pytest

from naru.kernel.files import remove_tree


@pytest.fixture(scope="session", autouse=True)
def _no_temporary_files_stay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Some tests make trees a thousand folders deep; pytest's own removal recurses and dies."""
    yield
    with contextlib.suppress(OSError):
        remove_tree(str(tmp_path_factory.getbasetemp()))
