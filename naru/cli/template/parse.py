"""Go templates as trees: text, actions, if, range and with. Pure.

Spec: Go text/template, "Actions", "Pipelines", "Variables". `define`, `block` and `template` have
no use in a `--format` and are refused.
"""

from __future__ import annotations

from naru.cli.template.lex import TemplateError, Token, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any


class Literal:
    __slots__ = ("text", "value")

    def __init__(self, value: Any, text: str) -> None:
        self.value, self.text = value, text


class Path:
    """`.A.B` (`root` ""), `$x.A` (`root` "$x") or `(pipeline).A` (`root` a Pipeline)."""

    __slots__ = ("at", "names", "root", "text")

    def __init__(self, root: str | Pipeline, names: list[str], text: str, at: int) -> None:
        self.root, self.names, self.text, self.at = root, names, text, at


class Call:
    """A function with arguments, or an operand alone or (a method) with arguments."""

    __slots__ = ("arguments", "at", "function", "operand", "text")

    def __init__(self, function: str, operand: Any, arguments: list[Any], at: int, text: str):
        self.function, self.operand, self.arguments = function, operand, arguments
        self.at, self.text = at, text


class Pipeline:
    """Calls, each given the last one's result, and the variables that the last result goes to."""

    __slots__ = ("calls", "declares", "names")

    def __init__(self, calls: list[Call], names: list[str], declares: bool) -> None:
        self.calls, self.names, self.declares = calls, names, declares


class Block:
    """`if`, `with`, `range`: a pipeline, a body, and what comes instead."""

    __slots__ = ("body", "kind", "otherwise", "pipeline")

    def __init__(self, kind: str, pipeline: Pipeline) -> None:
        self.kind, self.pipeline = kind, pipeline
        self.body: list[Any] = []
        self.otherwise: list[Any] = []


class Jump:
    """`break` or `continue`."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


_BLOCKS = ("if", "with", "range")
_REFUSED = ("define", "block", "template")


def parse(source: str, functions: Collection[str]) -> list[Any]:
    """The tree of `source`: text, Pipeline, Block and Jump in their order.

    Raises: TemplateError with Go's words.
    """
    parser = _Parser(source, functions)
    nodes, end = parser.nodes(pieces(source), [])
    if end is not None:
        raise parser.fail(f"unexpected {{{{{end[0].text}}}}}", end[0].at)
    return nodes


class _Parser:
    def __init__(self, source: str, functions: Collection[str]) -> None:
        self._source, self._functions = source, functions
        self._variables = ["$"]
        self._tokens: list[Token] = []
        self._at = 0

    def fail(self, message: str, at: int | None = None) -> TemplateError:
        where = len(self._source) if at is None else at
        return TemplateError(f"template: :{self._source.count(chr(10), 0, where) + 1}: {message}")

    def nodes(
        self, stream: Iterator[str | list[Token]], enders: list[str]
    ) -> tuple[list[Any], list[Token] | None]:
        """Nodes up to `end` or `else` (whose tokens are returned) or the end of the source."""
        out: list[Any] = []
        for piece in stream:
            if isinstance(piece, str):
                out.append(piece)
                continue
            if not piece:
                raise self.fail("missing value for command")
            word = piece[0].value if piece[0].kind == "word" else ""
            if word in ("end", "else"):
                return out, piece
            if word in _BLOCKS:
                out.append(self._block(word, piece[1:], stream))
            elif word in ("break", "continue"):
                if "range" not in enders and not self._in_range:
                    raise self.fail(f"{{{{{word}}}}} outside {{{{range}}}}", piece[0].at)
                out.append(Jump(word))
            elif word in _REFUSED:
                raise self.fail(f"{{{{{word}}}}} has no place in a format", piece[0].at)
            else:
                out.append(self._pipeline_of(piece))
        return out, None

    _in_range = 0

    def _block(self, kind: str, tokens: list[Token], stream: Iterator[str | list[Token]]) -> Block:
        known = len(self._variables)
        if not tokens:
            raise self.fail(f"missing value for {kind}")
        block = Block(kind, self._pipeline_of(tokens))
        self._in_range += kind == "range"
        block.body, end = self.nodes(stream, [kind])
        self._in_range -= kind == "range"
        if end is not None and end[0].value == "else":
            if len(end) > 1 and end[1].value in ("if", "with"):
                block.otherwise = [self._block(end[1].value, end[2:], stream)]
                del self._variables[known:]
                return block
            block.otherwise, end = self.nodes(stream, [kind])
        if end is None or end[0].value != "end":
            raise self.fail("unexpected EOF" if end is None else "unexpected {{else}}")
        del self._variables[known:]
        return block

    def _pipeline_of(self, tokens: list[Token]) -> Pipeline:
        before = self._tokens, self._at
        self._tokens, self._at = tokens, 0
        pipeline = self._pipeline()
        if self._at < len(tokens):
            raise self.fail(f"unexpected {tokens[self._at].text!r} in command")
        self._tokens, self._at = before
        return pipeline

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else None

    def _targets(self) -> tuple[list[str], bool]:
        """`$x :=`, `$i, $x :=` or `$x =` at the front; nothing when the front is no such thing."""
        names, ahead = list[str](), 0
        while (token := self._peek(ahead)) is not None and token.kind == "variable":
            names.append(token.text)
            mark = self._peek(ahead + 1)
            if mark is None or mark.kind not in (",", ":=", "="):
                return [], False
            ahead += 2
            if mark.kind != ",":
                self._at += ahead
                return names, mark.kind == ":="
        return [], False

    def _pipeline(self) -> Pipeline:
        names, declares = self._targets()
        calls = [self._call()]
        while (token := self._peek()) is not None and token.kind == "|":
            self._at += 1
            calls.append(self._call())
        if declares:
            self._variables += names
        for name in names:
            if name not in self._variables:
                raise self.fail(f'undefined variable "{name}"')
        return Pipeline(calls, names, declares)

    def _call(self) -> Call:
        token = self._peek()
        if token is None or token.kind in ("|", ")"):
            raise self.fail("missing value for command")
        start = self._at
        function, operand = "", None
        if token.kind == "word" and token.value not in ("true", "false", "nil"):
            function = token.value
            if function not in self._functions:
                raise self.fail(f'function "{function}" not defined', token.at)
            self._at += 1
        else:
            operand = self._operand()
        arguments = []
        while (following := self._peek()) is not None and following.kind not in ("|", ")"):
            arguments.append(self._operand())
        last = self._tokens[self._at - 1]
        text = self._source[self._tokens[start].at : last.at + len(last.text)]
        return Call(function, operand, arguments, token.at, text)

    def _operand(self) -> Any:
        token = self._peek()
        assert token is not None
        self._at += 1
        if token.kind == "field":
            names = [token.value] if token.value else []
            return Path("", names + self._chain(), self._text_from(token), token.at)
        if token.kind == "variable":
            if token.text not in self._variables:
                raise self.fail(f'undefined variable "{token.text}"', token.at)
            return Path(token.text, self._chain(), self._text_from(token), token.at)
        if token.kind == "(":
            pipeline = self._pipeline()
            closing = self._peek()
            if closing is None or closing.kind != ")":
                raise self.fail("unclosed left paren")
            self._at += 1
            return Path(pipeline, self._chain(), self._text_from(token), token.at)
        return self._literal(token)

    def _chain(self) -> list[str]:
        names = []
        while (token := self._peek()) is not None and token.kind == "field" and not token.spaced:
            names.append(token.value)
            self._at += 1
        return names

    def _text_from(self, token: Token) -> str:
        last = self._tokens[self._at - 1]
        return self._source[token.at : last.at + len(last.text)]

    def _literal(self, token: Token) -> Any:
        if token.kind == "string":
            return Literal(token.value, token.text)
        if token.kind == "char" and len(token.value) == 1:
            return Literal(ord(token.value), token.text)
        if token.kind == "number":
            return Literal(self._number(token), token.text)
        if token.kind == "word":
            if token.value in ("true", "false", "nil"):
                return Literal({"true": True, "false": False}.get(token.value), token.text)
            if token.value in self._functions:
                return Call(token.value, None, [], token.at, token.text)
            raise self.fail(f'function "{token.value}" not defined', token.at)
        raise self.fail(f'unexpected "{token.text}" in operand', token.at)

    def _number(self, token: Token) -> int | float:
        try:
            return int(token.value, 0)
        except ValueError:
            try:
                return float(token.value)
            except ValueError:
                raise self.fail(f'bad number syntax: "{token.text}"', token.at) from None
