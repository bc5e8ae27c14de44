"""The Engine API's `filters` parameter: parsing and matching. Pure.

Spec: Engine API, "filters": a JSON map of name to a list of values, or (old) to a map value → true.
"""

import json
from collections.abc import Collection, Iterable, Mapping

from naru.base.errors import InvalidParameter

Filters = Mapping[str, tuple[str, ...]]


def parse_filters(text: str | None, allowed: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The filters in `text`; an empty or missing one is no filter.

    Raises: InvalidParameter for broken JSON, wrong shapes, and names outside `allowed`.
    """
    if not text:
        return {}
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"invalid filter {text[:200]!r}: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidParameter(f"invalid filter {text!r}: wanted a JSON object")
    parsed: dict[str, tuple[str, ...]] = {}
    for name, values in raw.items():
        if name not in allowed:
            raise InvalidParameter(f"invalid filter '{name}'")
        if isinstance(values, dict):
            chosen: Iterable[object] = [value for value, on in values.items() if on]
        elif isinstance(values, list):
            chosen = values
        else:
            raise InvalidParameter(f"invalid filter {name!r}: wanted a list of strings")
        texts = tuple(value for value in chosen if isinstance(value, str))
        if len(texts) != len(list(chosen)):
            raise InvalidParameter(f"invalid filter {name!r}: wanted a list of strings")
        parsed[name] = texts
    return parsed


def matches_labels(wanted: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Whether every `key` or `key=value` of `wanted` holds in `labels`."""
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def parse_bool(filters: Filters, name: str) -> bool | None:
    """A truth value (`dangling=true`), None when absent. Raises: InvalidParameter."""
    values = {value.lower() for value in filters.get(name, ())}
    if not values:
        return None
    if values <= {"1", "true", "t"}:
        return True
    if values <= {"0", "false", "f"}:
        return False
    raise InvalidParameter(f"invalid filter '{name}=[{' '.join(sorted(values))}]'")
