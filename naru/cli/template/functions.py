"""The functions of a `--format`: Go's own and those that docker adds. Pure."""

from __future__ import annotations

from naru.cli.template.lex import TemplateError
from naru.cli.template.values import GoMap, kind_of, show, to_json, truth, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def _print(*values: Any) -> str:
    """Go's Sprint: a space between two operands when neither is a string."""
    out = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out += " "
        out += show(value)
    return out


def _println(*values: Any) -> str:
    return " ".join(show(value) for value in values) + "\n"


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name in ("html", "js", "urlquery"):
        return show(value)
    raise TemplateError(f"wrong type for value; expected string; got {type_name(value)}")


def _join(values: Any, separator: str) -> str:
    if values is None:
        return ""
    if not isinstance(values, list):
        raise TemplateError(f"wrong type for value; expected []string; got {type_name(values)}")
    return separator.join(show(value) for value in values)


def _split(text: Any, separator: str) -> list[str]:
    return list(_text("split", text)) if not separator else _text("split", text).split(separator)


def _title(text: Any) -> str:
    out, fresh = [], True
    for char in _text("title", text):
        out.append(char.upper() if fresh else char)
        fresh = not (char.isalnum() or char in "_'")
    return "".join(out)


def _pad(text: Any, before: int, after: int) -> str:
    shown = _text("pad", text)
    return " " * before + shown + " " * after if shown else shown


def _truncate(text: Any, length: int) -> str:
    return _text("truncate", text)[: max(length, 0)]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (list, dict)):
        return len(value)
    raise TemplateError(f"len of type {type_name(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            texts = all(isinstance(held, str) for held in value.values())
            value = value.get(key, "" if texts and isinstance(value, GoMap) else None)
        elif isinstance(value, (list, str)):
            if not isinstance(key, int) or isinstance(key, bool):
                raise TemplateError(f"cannot index slice/array with type {type_name(key)}")
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key] if isinstance(value, list) else value.encode()[key]
        elif value is None:
            raise TemplateError("index of untyped nil")
        else:
            raise TemplateError(f"can't index item of type {type_name(value)}")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (str, list)):
        raise TemplateError(f"can't slice item of type {type_name(value)}")
    start, end = (*bounds, 0)[0], (bounds[1] if len(bounds) > 1 else len(value))
    if not 0 <= start <= end <= len(value):
        wrong = end if end > len(value) else start
        raise TemplateError(f"index out of range: {wrong}")
    return value[start:end]


def _comparable(one: Any, other: Any) -> bool:
    first, second = kind_of(one), kind_of(other)
    if "other" in (first, second):
        raise TemplateError("incompatible types for comparison")
    if "nil" in (first, second):
        return first == second
    if first != second:
        raise TemplateError("incompatible types for comparison")
    return True


def _equal(one: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    return any(_comparable(one, other) and one == other for other in others)


def _less(one: Any, other: Any) -> bool:
    if not _comparable(one, other) or isinstance(one, bool) or one is None:
        raise TemplateError("invalid type for comparison")
    return bool(one < other)


def _html(*values: Any) -> str:
    text = _print(*values)
    marks = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;"))
    for char, entity in marks:
        text = text.replace(char, entity)
    return text


def _quote_query(*values: Any) -> str:
    from naru.client.wire import quote

    return quote(_print(*values)).replace("%20", "+")


def _and(*values: Any) -> Any:
    for value in values:
        if not truth(value):
            return value
    return values[-1]


def _or(*values: Any) -> Any:
    for value in values:
        if truth(value):
            return value
    return values[-1]


def go_quote(text: str) -> str:
    """`text` in double quotes as Go's %q writes it."""
    out = []
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\", "\a": "\\a",
             "\b": "\\b", "\f": "\\f", "\v": "\\v"}  # fmt: skip
    for char in text:
        if char in names:
            out.append(names[char])
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")
    return '"' + "".join(out) + '"'


def _printf(form: Any, *values: Any) -> str:
    text, out, at, used = _text("printf", form), list[str](), 0, 0
    while at < len(text):
        if text[at] != "%":
            out.append(text[at])
            at += 1
            continue
        end = at + 1
        while end < len(text) and text[end] in "+-# 0123456789.":
            end += 1
        verb, flags, at = text[end : end + 1], text[at + 1 : end], end + 1
        if verb == "%":
            out.append("%")
        elif not verb:
            out.append("%!(NOVERB)")
        elif used >= len(values):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_format(verb, flags, values[used]))
            used += 1
    if used < len(values):
        extra = ", ".join(f"{type_name(value)}={show(value)}" for value in values[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _format(verb: str, flags: str, value: Any) -> str:
    """One verb of a printf; a value that does not fit is shown as Go shows the mistake."""
    number = isinstance(value, int) and not isinstance(value, bool)
    sign = "+" if "+" in flags else ""
    width = flags.lstrip("+-# 0") if flags.lstrip("+-# 0") else ""
    size, dot, precision = width.partition(".")
    if verb in "dxXobc" and number:
        base = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b", "c": "c"}[verb]
        body = format(value, base if verb == "c" else sign + base)
    elif verb in "feEgG" and isinstance(value, float):
        body = format(value, f"{sign}.{precision or (6 if verb in 'feE' else 17)}{verb}")
        body = show(value) if verb in "gG" and not dot else body
    elif verb in "xX" and isinstance(value, str):
        body = value.encode().hex()
        body = body.upper() if verb == "X" else body
    elif verb == "q" and isinstance(value, str):
        body = go_quote(value)
    elif verb == "t" and isinstance(value, bool):
        body = show(value)
    elif verb == "v" or (verb == "s" and not number and not isinstance(value, (bool, float))):
        body = show(value)
        body = body[: int(precision)] if dot and precision else body
    else:
        return f"%!{verb}({type_name(value)}={show(value)})"
    if not size:
        return body
    if "-" in flags:
        return body.ljust(int(size))
    zero = "0" in flags[: len(flags) - len(width)] and verb in "dxXobfeEgG"
    return body.zfill(int(size)) if zero else body.rjust(int(size))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "and": _and,
    "eq": _equal,
    "ge": lambda a, b: not _less(a, b),
    "gt": lambda a, b: not (_less(a, b) or _equal(a, b)),
    "html": _html,
    "index": _index,
    "join": _join,
    "json": to_json,
    "le": lambda a, b: _less(a, b) or _equal(a, b),
    "len": _length,
    "lower": lambda text: _text("lower", text).lower(),
    "lt": _less,
    "ne": lambda a, b: not _equal(a, b),
    "not": lambda value: not truth(value),
    "or": _or,
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: _text("upper", text).upper(),
    "urlquery": _quote_query,
}
