"""One JSON document by the user's template: `info`, `version`."""

from __future__ import annotations

import sys

from naru.base.text import visible
from naru.cli.command import CommandError
from naru.cli.template.lex import TemplateError
from naru.cli.template.run import Template
from naru.client.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def show_document(document: Any, form: str) -> None:
    """Print `document` as `form` says. Raises: CommandError."""
    if form == "json":
        sys.stdout.write(visible(encode(document)) + "\n")
        return
    source = form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        text = Template(source, terminal=sys.stdout.isatty()).execute(document)
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", 64) from error
    sys.stdout.write(text + "\n")
