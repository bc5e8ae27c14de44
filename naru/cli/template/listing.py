"""A listing's objects as a template sees them, and the headings that its template asks for."""

from __future__ import annotations

from naru.cli.template.lex import TemplateError
from naru.cli.template.run import Template
from naru.cli.template.values import GoMap, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.render import Noun, View

_HEADING_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "join": lambda value, *_: value,
    "json": lambda value: value,
    "lower": lambda value: value,
    "split": lambda value, *_: value,
    "title": lambda value: value,
    "truncate": lambda value, *_: value,
    "upper": lambda value: value,
}


def row_of(noun: Noun, item: Any, view: View) -> Row:
    """`item` under its placeholder names."""
    columns: dict[str, Callable[[], Any]] = {}
    for name, read in noun.columns.items():
        columns[name] = lambda read=read: read(item, view)  # type: ignore[misc] # bound at once
    label = noun.label
    methods = {"Label": lambda key: label(item, key)} if label is not None else None
    return Row(noun.type_name, columns, methods)


def heading_line(noun: Noun, source: str) -> str:
    """The table's heading: the template over the headings, as far as it goes with them."""
    headings = GoMap({name: noun.heading(name) for name in noun.columns})
    row = Row(
        noun.type_name,
        {name: lambda name=name: headings[name] for name in headings},  # type: ignore[misc]
        {"Label": lambda key: key.replace("-", " ").replace(".", " ")},
    )
    template = Template(source, functions=_HEADING_FUNCTIONS)
    try:
        return template.execute(row)
    except TemplateError:
        return template.text_so_far
