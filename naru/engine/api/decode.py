"""Request bodies: JSON into wire structs, with the field's name in every complaint. Pure.

Go's decoder, which clients are written against, takes `null` for any field as "not given", and a
field's name in any case. Ours does the same: a null where a struct's field allows none is dropped,
and nothing else is.
"""

import re
from typing import Any, TypeVar

import msgspec

from naru.base.errors import InvalidParameter
from naru.engine.api import keys

T = TypeVar("T")

_NULL_AT = re.compile(r"got `null` - at `\$(.*)`\Z")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MAX_NULLS = 200


def decode_json(body: bytes, kind: type[T]) -> T:
    """`body` as a `kind`. Raises: InvalidParameter, naming what is wrong and where."""
    if not body.strip():
        raise InvalidParameter("invalid JSON: got EOF while reading request body")
    try:
        raw = keys.decode(body, kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if "trailing characters" in str(error):
            raise InvalidParameter("unexpected content after JSON") from error
        raise InvalidParameter(f"invalid JSON: {error}") from error
    for _ in range(_MAX_NULLS):
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            found = _NULL_AT.search(str(error))
            if found is None or not _drop(raw, _steps(found[1])):
                raise InvalidParameter(f"invalid JSON: {error}") from error
    raise InvalidParameter(f"invalid JSON: more than {_MAX_NULLS} fields are null")


def _steps(path: str) -> list[str]:
    return [name or f"[{index}]" for name, index in _STEP.findall(path)]


def _drop(node: Any, steps: list[str]) -> bool:
    """Delete the null member at the end of `steps`; whether there was one."""
    if not steps:
        return False
    step, rest = steps[0], steps[1:]
    if step == "[...]":
        children = list(node.values()) if isinstance(node, dict) else list(node)
        return any([_drop(child, rest) for child in children])
    if step.startswith("["):
        index = int(step[1:-1])
        return isinstance(node, list) and index < len(node) and _drop(node[index], rest)
    if not isinstance(node, dict) or step not in node:
        return False
    if rest:
        return _drop(node[step], rest)
    if node[step] is not None:
        return False
    del node[step]
    return True
