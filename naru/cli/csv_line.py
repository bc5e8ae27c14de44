"""One line of comma-separated fields, as the values of docker's flags are written. Pure.

A field in double quotes may hold commas; a doubled quote in it stands for one. The rules and the
words of the errors are those of Go's encoding/csv, which docker's CLI reads with.
"""

from __future__ import annotations

_BARE = 'bare " in non-quoted-field'
_UNENDED = 'extraneous or missing " in quoted-field'


def split_fields(text: str) -> list[str]:
    """The fields of the first line that is not empty. Raises: ValueError."""
    if '"' not in text and "\n" not in text:
        return text.split(",")
    number = 1
    while text.startswith("\n"):
        text, number = text[1:], number + 1
    if not text:
        raise ValueError("EOF")
    fields, at = [], 0
    while True:
        field, at = (_quoted if text.startswith('"', at) else _plain)(text, at, number)
        fields.append(field)
        if at >= len(text) or text[at] == "\n":
            return fields
        at += 1


def _error(text: str, at: int, number: int, why: str) -> ValueError:
    start = text.rfind("\n", 0, at) + 1
    column = len(text[start:at].encode("utf-8", "surrogateescape")) + 1
    first, line = number, number + text.count("\n", 0, at)
    where = f"parse error on line {line}, column {column}"
    if line != first:
        where = f"record on line {first}; {where}"
    return ValueError(f"{where}: {why}")


def _plain(text: str, at: int, number: int) -> tuple[str, int]:
    ends = [end for end in (text.find(",", at), text.find("\n", at)) if end >= 0]
    end = min(ends, default=len(text))
    quote = text.find('"', at, end)
    if quote >= 0:
        raise _error(text, quote, number, _BARE)
    return text[at:end], end


def _quoted(text: str, at: int, number: int) -> tuple[str, int]:
    parts, at = [], at + 1
    while True:
        quote = text.find('"', at)
        if quote < 0:
            raise _error(text, len(text), number, _UNENDED)
        parts.append(text[at:quote])
        after = text[quote + 1 : quote + 2]
        if after == '"':
            parts.append('"')
            at = quote + 2
        elif after in ("", ",", "\n"):
            return "".join(parts), quote + 1
        else:
            raise _error(text, quote, number, _UNENDED)
