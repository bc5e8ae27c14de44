"""JSON and query strings on the command line's hot path, without the `json` and `re` imports.

CPython's C scanner and encoder do the work; `json` only dresses them, at 4.5 ms of start-up.
Numbers and strings come and go as `json` would have them.
"""

from __future__ import annotations

from _json import encode_basestring, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_WHITESPACE = " \t\n\r"
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


class _Rules:
    """What the C scanner asks its maker: the plain rules of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner wants this attribute


_RULES: Any = _Rules()


def decode(data: bytes | str) -> Any:
    """The value that `data` holds. Raises: ValueError."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = text.strip(_WHITESPACE)
    try:
        value, end = make_scanner(_RULES)(text, 0)
    except StopIteration as stop:
        raise ValueError(f"broken JSON at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"broken JSON: something follows character {end}")
    return value


def decode_first(text: str, start: int) -> tuple[Any, int]:
    """The first of several values in `text` from `start`, and where it ends.

    Raises: ValueError when no complete value begins there.
    """
    try:
        value, end = make_scanner(_RULES)(text, start)
    except StopIteration:
        raise ValueError("no complete JSON value") from None
    return value, end


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def encode(value: Any, sort_keys: bool = False, spaced: bool = False) -> str:
    """`value` as JSON on one line, without spaces unless `spaced`; non-ASCII stays as it is."""
    item, colon = (", ", ": ") if spaced else (",", ":")
    encoder = make_encoder(
        None, _refuse, encode_basestring, None, colon, item, sort_keys, False, True
    )
    return "".join(encoder(value, 0))


def encode_indented(value: Any, indent: str = "    ", margin: str = "") -> str:
    """`value` as JSON over several lines, as `docker inspect` prints it."""
    inner = margin + indent
    if isinstance(value, dict) and value:
        items = [
            f"{inner}{encode_basestring(str(key))}: {encode_indented(item, indent, inner)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(items) + f"\n{margin}}}"
    if isinstance(value, list) and value:
        items = [inner + encode_indented(item, indent, inner) for item in value]
        return "[\n" + ",\n".join(items) + f"\n{margin}]"
    return encode(value)


def quote(text: str, safe: bytes = b"") -> str:
    """`text` with everything but unreserved characters (and `safe`) as %XX."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _SAFE or byte in safe else f"%{byte:02X}" for byte in data)


def query(parameters: Mapping[str, str | int | bool | Iterable[str] | None]) -> str:
    """`?a=1&b=x`, empty when nothing is left; None is left out, True is 1, False is 0."""
    pairs = []
    for name, value in parameters.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = int(value)
        values = [str(value)] if isinstance(value, (str, int)) else list(value)
        pairs += [f"{quote(name)}={quote(item)}" for item in values]
    return "?" + "&".join(pairs) if pairs else ""


def filters(chosen: Mapping[str, Iterable[str]]) -> str | None:
    """The `filters` parameter: a JSON map of name to the set of its values; None when empty."""
    if not chosen:
        return None
    return encode({name: dict.fromkeys(values, True) for name, values in chosen.items()}, True)
