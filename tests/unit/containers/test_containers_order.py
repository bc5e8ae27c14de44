"""Who waits for whom when containers start together."""

import pytest

from naru.containers.order import waits_of


@pytest.mark.parametrize(
    ("needs", "waits"),
    [
        ({}, {}),
        ({"a": [], "b": []}, {"a": (), "b": ()}),
        ({"web": ["db"], "db": []}, {"web": ("db",), "db": ()}),
        ({"a": ["b"], "b": ["c"], "c": []}, {"a": ("b",), "b": ("c",), "c": ()}),
        ({"a": ["runs already"]}, {"a": ()}),
        ({"a": ["a"]}, {"a": ()}),
        ({"a": ["b"], "b": ["a"]}, {"a": ("b",), "b": ()}),
    ],
)
def test_order(needs: dict[str, list[str]], waits: dict[str, tuple[str, ...]]) -> None:
    assert waits_of(needs) == waits
