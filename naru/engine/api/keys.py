"""Member names of request bodies in any case, as Go's decoder takes them. Pure.

docker-py, for one, writes `CPURealtimePeriod` where the documents say `CpuRealtimePeriod`. Names of
maps (labels, ports, volumes) are data and stay as they are.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

Rename = Callable[[Any], Any]


@cache
def renamer(kind: Any) -> Rename | None:
    """What gives the members of a decoded `kind` their documented names; None: nothing to do."""
    return _of(inspect.type_info(kind))


def _of(kind: inspect.Type) -> Rename | None:
    match kind:
        case inspect.StructType():
            return _members(kind)
        case inspect.UnionType():
            found = [rename for part in kind.types if (rename := _of(part)) is not None]
            return found[0] if found else None
        case inspect.ListType():
            item = _of(kind.item_type)
            return None if item is None else lambda value: _each(value, item)
        case inspect.DictType():
            value_of = _of(kind.value_type)
            return None if value_of is None else lambda value: _values(value, value_of)
        case _:
            return None


def _members(kind: inspect.StructType) -> Rename:
    names = {item.encode_name.lower(): item.encode_name for item in kind.fields}
    exact = frozenset(names.values())
    inner = {item.encode_name: deep for item in kind.fields if (deep := _of(item.type))}

    def rename(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not value.keys() <= exact:
            value = _exact_names(value, names, exact)
        for name, deeper in inner.items():
            if name in value:
                value[name] = deeper(value[name])
        return value

    return rename


def _exact_names(
    value: Mapping[str, Any], names: Mapping[str, str], exact: frozenset[str]
) -> dict[str, Any]:
    """An exact name wins over one that differs in case."""
    said = dict(value)
    for name in value:
        known = names.get(name.lower())
        if name not in exact and known is not None:
            said.setdefault(known, said.pop(name))
    return said


def _each(value: Any, rename: Rename) -> Any:
    return [rename(item) for item in value] if isinstance(value, list) else value


def _values(value: Any, rename: Rename) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: rename(item) for name, item in value.items()}


def decode(body: bytes, kind: Any) -> Any:
    """`body` as plain values with documented names. Raises: msgspec.DecodeError."""
    raw = msgspec.json.decode(body)
    rename = renamer(kind)
    return raw if rename is None else rename(raw)
