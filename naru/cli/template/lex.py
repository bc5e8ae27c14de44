"""Go templates cut into text and the tokens of actions. Pure.

Spec: Go text/template, "Text and spaces", "Actions", "Arguments".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = " \t\r\n"
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_HEX_LENGTHS = {"x": 2, "u": 4, "U": 8}


class TemplateError(Exception):
    """The template is wrong, or does not fit the data; the text is Go's."""


class Token:
    """One token of an action: `kind` is string, char, number, field, variable, word or a mark."""

    __slots__ = ("at", "kind", "spaced", "text", "value")

    def __init__(self, kind: str, text: str, at: int, spaced: bool, value: str = "") -> None:
        self.kind, self.text, self.at, self.spaced, self.value = kind, text, at, spaced, value


def pieces(source: str) -> Iterator[str | list[Token]]:
    """Text and actions in their order, trim marks applied. Raises: TemplateError."""
    at, trim = 0, False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        if trim:
            text = text.lstrip(SPACE)
        if start < 0:
            if text:
                yield text
            return
        inner = start + 2
        if source[inner : inner + 1] == "-" and source[inner + 1 : inner + 2] in tuple(SPACE):
            text = text.rstrip(SPACE)
            inner += 1
        if text:
            yield text
        tokens, at, trim = _action(source, inner)
        if tokens is not None:
            yield tokens


def _fail(source: str, at: int, message: str) -> TemplateError:
    line = source.count("\n", 0, at) + 1
    return TemplateError(f"template: :{line}: {message}")


def _closing(source: str, at: int) -> tuple[int, bool] | None:
    """Where the text goes on, if the action ends at `at`, and whether space is trimmed there."""
    if source.startswith("}}", at):
        return at + 2, False
    if source.startswith("-}}", at) and at and source[at - 1] in SPACE:
        return at + 3, True
    return None


def _action(source: str, at: int) -> tuple[list[Token] | None, int, bool]:
    comment = at + (len(source[at:]) - len(source[at:].lstrip(SPACE)))
    if source.startswith("/*", comment):
        end = source.find("*/", comment)
        if end < 0:
            raise _fail(source, comment, "unclosed comment")
        after = end + 2
        while source[after : after + 1] in tuple(SPACE):
            after += 1
        closed = _closing(source, after)
        if closed is None:
            raise _fail(source, comment, "comment ends before closing delimiter")
        return None, *closed
    tokens: list[Token] = []
    spaced = False
    while True:
        closed = _closing(source, at)
        if closed is not None:
            return tokens, *closed
        if at >= len(source):
            raise _fail(source, at, "unclosed action")
        if source[at] in SPACE:
            at, spaced = at + 1, True
            continue
        token, at = _token(source, at, spaced)
        tokens.append(token)
        spaced = False


def _token(source: str, at: int, spaced: bool) -> tuple[Token, int]:
    char = source[at]
    following = source[at + 1 : at + 2]
    if char == '"':
        return _quoted(source, at, spaced)
    if char == "`":
        end = source.find("`", at + 1)
        if end < 0:
            raise _fail(source, at, "unterminated raw quoted string")
        return Token("string", source[at : end + 1], at, spaced, source[at + 1 : end]), end + 1
    if char == "'":
        token, end = _quoted(source, at, spaced, "'")
        token.kind = "char"
        return token, end
    if source.startswith(":=", at):
        return Token(":=", ":=", at, spaced), at + 2
    if char in "|(),=":
        return Token(char, char, at, spaced), at + 1
    if char.isdigit() or (char in "+-" and following.isdigit()):
        end = _word_end(source, at + 1, ".+-")
        return Token("number", source[at:end], at, spaced, source[at:end]), end
    if char in ".$":
        end = _word_end(source, at + 1)
        kind = "field" if char == "." else "variable"
        return Token(kind, source[at:end], at, spaced, source[at + 1 : end]), end
    end = _word_end(source, at)
    if end == at:
        raise _fail(source, at, f"unexpected {source[at]!r} in command")
    return Token("word", source[at:end], at, spaced, source[at:end]), end


def _word_end(source: str, at: int, more: str = "") -> int:
    while at < len(source) and (source[at].isalnum() or source[at] == "_" or source[at] in more):
        at += 1
    return at


def _quoted(source: str, at: int, spaced: bool, mark: str = '"') -> tuple[Token, int]:
    start, out = at, list[str]()
    at += 1
    while at < len(source) and source[at] not in (mark, "\n"):
        if source[at] != "\\":
            out.append(source[at])
            at += 1
            continue
        escape = source[at + 1 : at + 2]
        if escape in _HEX_LENGTHS:
            length = _HEX_LENGTHS[escape]
            try:
                out.append(chr(int(source[at + 2 : at + 2 + length], 16)))
            except ValueError:
                raise _fail(source, at, "invalid syntax") from None
            at += 2 + length
        elif escape in _ESCAPES:
            out.append(_ESCAPES[escape])
            at += 2
        else:
            raise _fail(source, at, "invalid syntax")
    if source[at : at + 1] != mark:
        what = "quoted string" if mark == '"' else "character constant"
        raise _fail(source, start, f"unterminated {what}")
    return Token("string", source[start : at + 1], start, spaced, "".join(out)), at + 1
