import pytest

from naru.base.errors import InvalidParameter
from naru.base.filters import matches_labels, parse_bool, parse_filters

ALLOWED = {"label", "status", "dangling"}


def test_both_forms_are_read() -> None:
    assert parse_filters('{"label":["a=b"]}', ALLOWED) == {"label": ("a=b",)}
    assert parse_filters('{"label":{"a=b":true,"c":false}}', ALLOWED) == {"label": ("a=b",)}
    assert parse_filters("", ALLOWED) == {}
    assert parse_filters(None, ALLOWED) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"label":3}', '{"label":[3]}', '{"other":["x"]}'])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter"):
        parse_filters(text, ALLOWED)


def test_labels_match_by_key_and_by_value() -> None:
    labels = {"a": "b", "c": ""}
    assert matches_labels(["a", "a=b", "c"], labels)
    assert not matches_labels(["a=x"], labels)
    assert not matches_labels(["z"], labels)


def test_truth_values() -> None:
    assert parse_bool({"dangling": ("true",)}, "dangling") is True
    assert parse_bool({"dangling": ("0",)}, "dangling") is False
    assert parse_bool({}, "dangling") is None
    with pytest.raises(InvalidParameter, match=r"dangling=\[maybe\]"):
        parse_bool({"dangling": ("maybe",)}, "dangling")
