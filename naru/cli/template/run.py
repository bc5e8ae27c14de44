"""Go templates at work: a parsed tree over data gives text. Pure."""

from __future__ import annotations

from naru.base.text import visible
from naru.cli.template.functions import FUNCTIONS
from naru.cli.template.lex import TemplateError
from naru.cli.template.parse import Block, Call, Jump, Literal, Path, Pipeline, parse
from naru.cli.template.values import NO_VALUE, Row, field, show, truth, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


class _Jumped(Exception):
    def __init__(self, kind: str) -> None:
        self.kind = kind


class Template:
    """A parsed template. `strict`: a missing field of a plain dict is an error.

    Raises: TemplateError when `source` cannot be parsed.
    """

    def __init__(
        self,
        source: str,
        strict: bool = True,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        *,
        terminal: bool = False,
    ) -> None:
        """`terminal`: a person sees the text, so values cannot steer the terminal."""
        self._functions = {**FUNCTIONS, **functions} if functions else FUNCTIONS
        self._show = _shown_visibly if terminal else show
        self.source = source
        self._strict = strict
        self._nodes = parse(source, self._functions)
        self.text_so_far = ""

    def execute(self, data: Any) -> str:
        """The text for `data`; what there was before a failure is left in `text_so_far`.

        Raises: TemplateError with Go's words.
        """
        run = _Run(self.source, self._strict, self._functions, data, self._show)
        try:
            run.nodes(self._nodes, data)
        finally:
            self.text_so_far = "".join(run.out)
        return self.text_so_far


def _shown_visibly(value: Any) -> str:
    return visible(show(value))


class _Run:
    def __init__(
        self,
        source: str,
        strict: bool,
        functions: Mapping[str, Callable[..., Any]],
        data: Any,
        show: Callable[[Any], str],
    ) -> None:
        self.out: list[str] = []
        self._show = show
        self._source, self._strict, self._functions = source, strict, functions
        self._variables: list[tuple[str, Any]] = [("$", data)]

    def _fail(self, at: int, text: str, message: str) -> TemplateError:
        line = self._source.count("\n", 0, at) + 1
        column = at - (self._source.rfind("\n", 0, at) + 1)
        shown = text if len(text) <= 20 else text[:20] + "..."
        return TemplateError(f'template: :{line}:{column}: executing "" at <{shown}>: {message}')

    def nodes(self, nodes: Iterable[Any], dot: Any) -> None:
        known = len(self._variables)
        for node in nodes:
            if isinstance(node, str):
                self.out.append(node)
            elif isinstance(node, Pipeline):
                value = self._pipeline(node, dot)
                if not node.names:
                    self.out.append(self._show(value))
            elif isinstance(node, Jump):
                del self._variables[known:]
                raise _Jumped(node.kind)
            else:
                self._block(node, dot)
        del self._variables[known:]

    def _block(self, block: Block, dot: Any) -> None:
        known = len(self._variables)
        if block.kind == "range":
            self._range(block, dot)
        else:
            value = self._pipeline(block.pipeline, dot)
            inner = value if block.kind == "with" else dot
            if truth(value):
                self.nodes(block.body, inner)
            else:
                self.nodes(block.otherwise, dot)
        del self._variables[known:]

    def _range(self, block: Block, dot: Any) -> None:
        names = block.pipeline.names
        value = self._pipeline(Pipeline(block.pipeline.calls, [], False), dot)
        items: list[tuple[Any, Any]]
        if isinstance(value, dict):
            items = sorted(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(at, at) for at in range(value)]
        elif value is None:
            items = []
        else:
            call = block.pipeline.calls[0]
            raise self._fail(call.at, call.text, f"range can't iterate over {show(value)}")
        if not items:
            self.nodes(block.otherwise, dot)
            return
        known = len(self._variables)
        for key, item in items:
            if names:
                pair = [item] if len(names) == 1 else [key, item]
                self._variables += zip(names, pair, strict=False)
            try:
                self.nodes(block.body, item)
            except _Jumped as jump:
                if jump.kind == "break":
                    break
            finally:
                del self._variables[known:]

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value, first = None, True
        for call in pipeline.calls:
            value = self._call(call, dot, () if first else (value,))
            first = False
        for name in pipeline.names:
            if pipeline.declares:
                self._variables.append((name, value))
            else:
                self._assign(name, value)
        return value

    def _assign(self, name: str, value: Any) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return

    def _call(self, call: Call, dot: Any, last: tuple[Any, ...]) -> Any:
        if not call.function:
            if not call.arguments and not last:
                return self._operand(call.operand, dot)
            return self._method(call, dot, last)
        arguments = [self._operand(argument, dot) for argument in call.arguments]
        try:
            return self._functions[call.function](*arguments, *last)
        except TemplateError as error:
            message = f"error calling {call.function}: {error}"
            raise self._fail(call.at, call.text, message) from error
        except (TypeError, AttributeError) as error:
            message = f"wrong number or type of args for {call.function}: {error}"
            raise self._fail(call.at, call.text, message) from error

    def _method(self, call: Call, dot: Any, last: tuple[Any, ...]) -> Any:
        path = call.operand
        if isinstance(path, Path) and path.names:
            owner = self._follow(Path(path.root, path.names[:-1], path.text, path.at), dot)
            if isinstance(owner, Row) and path.names[-1] in owner.methods:
                arguments = [self._operand(argument, dot) for argument in call.arguments]
                return owner.methods[path.names[-1]](*arguments, *last)
        text = getattr(path, "text", call.text)
        raise self._fail(call.at, text, f"can't give argument to non-function {text}")

    def _operand(self, operand: Any, dot: Any) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Call):
            return self._call(operand, dot, ())
        return self._follow(operand, dot)

    def _follow(self, path: Path, dot: Any) -> Any:
        if isinstance(path.root, Pipeline):
            value = self._pipeline(path.root, dot)
        elif path.root:
            value = next(held for name, held in reversed(self._variables) if name == path.root)
        else:
            value = dot
        for name in path.names:
            value = self._field(value, name, path)
        return value

    def _field(self, value: Any, name: str, path: Path) -> Any:
        try:
            return field(value, name, self._strict)
        except KeyError:
            if isinstance(value, dict):
                message = f'map has no entry for key "{name}"'
            elif value is None or value is NO_VALUE:
                message = f"nil pointer evaluating interface {{}}.{name}"
            else:
                message = f"can't evaluate field {name} in type {type_name(value)}"
            raise self._fail(path.at, path.text, message) from None
