"""Listings: rows as a table, by the user's template, as JSON, or as bare ids.

A `Noun` knows an object's placeholder names (`.ID`, `.Names`, …), their headings and the default
table. The default table is laid out directly; the template engine is imported when one is given.
"""

from __future__ import annotations

import sys

from naru.base.text import visible_line
from naru.cli.command import CommandError
from naru.cli.table import align, align_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any


class View:
    """How a listing shows its objects: in full length, with sizes, as of `now` (seconds)."""

    __slots__ = ("full", "human", "now", "size")

    def __init__(
        self, full: bool = False, size: bool = False, now: float = 0.0, human: bool = True
    ) -> None:
        self.full, self.size, self.now, self.human = full, size, now, human


class Noun:
    """What a kind of object shows: `columns` compute a placeholder from the object and the view.

    `default` are the table's columns; `headings` those placeholders whose heading is not just
    their name in capitals; `label` computes `.Label "key"`; `type_name` is Go's, for errors;
    `failures` begin the errors of a template that cannot be read, and of one that cannot be run.
    """

    __slots__ = ("columns", "default", "failures", "headings", "label", "raw", "type_name")

    def __init__(
        self,
        type_name: str,
        columns: Mapping[str, Callable[[Any, View], Any]],
        headings: Mapping[str, str],
        default: Sequence[str],
        label: Callable[[Any, str], str] | None = None,
        raw: str = "",
        failures: tuple[str, str] = ("template parsing error", "template parsing error"),
    ) -> None:
        self.failures = failures
        self.type_name, self.columns, self.headings = type_name, columns, headings
        self.default, self.label, self.raw = default, label, raw

    def heading(self, name: str) -> str:
        return self.headings.get(name) or name.upper()


def show(
    noun: Noun,
    items: Iterable[Any],
    view: View,
    form: str,
    columns: Sequence[str] | None = None,
) -> None:
    """Print `items` as `form` says: empty or `table`, `table TEMPLATE`, `json`, `raw`, a template.

    `columns` replaces the default table's. Raises: CommandError for a template that does not fit.
    """
    sys.stdout.write(render(noun, items, view, form, columns))


def render(
    noun: Noun,
    items: Iterable[Any],
    view: View,
    form: str,
    columns: Sequence[str] | None = None,
) -> str:
    """The text that `show` prints."""
    if form in ("", "table"):
        chosen = columns or noun.default
        lines = [[noun.heading(name) for name in chosen]]
        readers = [noun.columns[name] for name in chosen]
        lines += [[visible_line(str(read(item, view))) for read in readers] for item in items]
        return align(lines)
    if form == "json":
        form = "{{json .}}"
    elif form == "raw" and noun.raw:
        form = noun.raw
    return _by_template(noun, items, view, form)


def _by_template(noun: Noun, items: Iterable[Any], view: View, form: str) -> str:
    from naru.cli.template.lex import TemplateError
    from naru.cli.template.listing import heading_line, row_of
    from naru.cli.template.run import Template

    table = form.startswith("table")
    source = (form[len("table") :] if table else form).strip(" ")
    source = source.replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(source, terminal=sys.stdout.isatty())
    except TemplateError as error:
        raise CommandError(f"{noun.failures[0]}: {error}") from error
    lines = []
    try:
        for item in items:
            lines.append(template.execute(row_of(noun, item, view)) + "\n")
    except TemplateError as error:
        raise CommandError(f"{noun.failures[1]}: {error}") from error
    if not table:
        return "".join(lines)
    return align_text(heading_line(noun, source) + "\n" + "".join(lines))


def ellipsis(text: str, width: int) -> str:
    """`text` cut to `width` characters, the last an ellipsis when something was cut."""
    if len(text) <= width:
        return text
    return text[: max(width - 1, 0)] + "…" if width > 1 else text[:width]


def yes_no(value: object) -> str:
    return "true" if value else "false"


def utc_text(seconds: int, zone: str = "+0000 UTC") -> str:
    """Seconds since the epoch as docker lists a creation time, in local time."""
    import time

    local = time.localtime(seconds)
    if local.tm_gmtoff or (local.tm_zone not in ("UTC", "GMT")):
        minutes = local.tm_gmtoff // 60
        sign = "-" if minutes < 0 else "+"
        zone = f"{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d} {local.tm_zone}"
    return time.strftime("%Y-%m-%d %H:%M:%S ", local) + zone
