"""`naru inspect` and its kin: everything the engine knows about objects, whole or by template."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.base.text import visible
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP
from naru.client import networks
from naru.client.engine import ApiError, named
from naru.client.wire import encode, encode_indented, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.cli.template.run import Template
    from naru.client.engine import Engine

TYPES = ("container", "image", "network", "volume")
_FORMAT = Flag("format", "f", STRING, INSPECT_FORMAT_HELP)
_SIZE = Flag("size", "s", BOOL, "Display total file sizes if the type is container")


def _get(engine: Engine, kind: str, name: str, values: Values) -> Any:
    if kind == "network":
        return networks.inspect(engine, name, "verbose" in values.given and values["verbose"])
    if kind == "image":
        if not name:
            raise CommandError(f"Error: No such image: {name}")
        return engine.get(f"/images/{quote(name, b'/')}/json")
    name = quote(named(kind, name))
    if kind == "volume":
        return engine.get(f"/volumes/{name}")
    size = True if values["size"] else None
    return engine.get(f"/containers/{name}/json", {"size": size})


def _find(engine: Engine, name: str, values: Values) -> Any:
    """The object of any type that `name` names. Raises: CommandError, ApiError."""
    wanted: str = values["type"]
    if wanted and wanted not in TYPES:
        raise CommandError(f'unknown type: "{wanted}"')
    if wanted:
        return _get(engine, wanted, name, values)
    for kind in TYPES:
        try:
            return _get(engine, kind, name, values)
        except ApiError as error:
            if error.status != 404 and (error.status != 400 or kind == "container"):
                raise
    raise CommandError(f"Error: No such object: {name}")


def _show(names: list[str], form: str, get: Callable[[str], Any]) -> int:
    """Print the objects that are found, then what was not. Raises: CommandError."""
    template = None if form in ("", "json") else read_template(form)
    found, failures = [], []
    for name in names:
        try:
            found.append(get(name))
        except NaruError as error:
            failures.append(error.message)
    if template is None:
        text = encode_indented(found) if not form else encode(found)
        sys.stdout.write(visible(text) + "\n")
    else:
        sys.stdout.write(by_template(template, found))
    if failures:
        raise CommandError("\n".join(failures))
    return 0


def read_template(form: str) -> Template:
    """Raises: CommandError for a template that cannot be read."""
    from naru.cli.template.lex import TemplateError
    from naru.cli.template.run import Template

    source = form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        return Template(source, terminal=sys.stdout.isatty())
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", 64) from error


def by_template(template: Template, found: list[Any]) -> str:
    """Each object by the template, a line each. Raises: CommandError."""
    from naru.cli.template.lex import TemplateError

    out = []
    for item in found:
        try:
            out.append(template.execute(item) + "\n")
        except TemplateError as error:
            sys.stdout.write("".join(out) + "\n")
            raise CommandError(f"template parsing error: {error}") from error
    return "".join(out) or "\n"


def _run_any(session: Session, values: Values, arguments: list[str]) -> int:
    engine = session.engine
    return _show(arguments, values["format"], lambda name: _find(engine, name, values))


def _run_kind(kind: str) -> Callable[[Session, Values, list[str]], int]:
    def run(session: Session, values: Values, arguments: list[str]) -> int:
        engine = session.engine
        return _show(arguments, values["format"], lambda name: _get(engine, kind, name, values))

    return run


INSPECT = Command(
    _run_any,
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on objects",
    Flags(_FORMAT, _SIZE, Flag("type", "", STRING, "Only inspect objects of the given type")),
    1,
    None,
)
CONTAINER_INSPECT = Command(
    _run_kind("container"),
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
    Flags(_FORMAT, Flag("size", "s", BOOL, "Display total file sizes")),
    1,
    None,
)
IMAGE_INSPECT = Command(
    _run_kind("image"),
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
    Flags(_FORMAT),
    1,
    None,
)
VOLUME_INSPECT = Command(
    _run_kind("volume"),
    "[OPTIONS] VOLUME [VOLUME...]",
    "Display detailed information on one or more volumes",
    Flags(_FORMAT),
    1,
    None,
)
NETWORK_INSPECT = Command(
    _run_kind("network"),
    "[OPTIONS] NETWORK [NETWORK...]",
    "Display detailed information on one or more networks",
    Flags(_FORMAT, Flag("verbose", "v", BOOL, "Verbose output for diagnostics")),
    1,
    None,
)
