"""`naru inspect` and its kin: everything the engine knows about objects, whole or by template."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.base.text import visible
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP
from naru.client.engine import ApiError
from naru.client.wire import encode, encode_indented, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.client.engine import Engine

TYPES = ("container", "image", "network", "volume")
_FORMAT = Flag("format", "f", STRING, INSPECT_FORMAT_HELP)
_SIZE = Flag("size", "s", BOOL, "Display total file sizes if the type is container")


def _get(engine: Engine, kind: str, name: str, values: Values) -> Any:
    path = {
        "container": f"/containers/{quote(name)}/json",
        "image": f"/images/{quote(name, b'/')}/json",
        "network": f"/networks/{quote(name)}", "volume": f"/volumes/{quote(name)}",
    }[kind]  # fmt: skip
    parameters: dict[str, Any] = {}
    if kind == "container" and values["size"]:
        parameters["size"] = True
    if kind == "network":
        verbose = "verbose" in values.given and values["verbose"]
        parameters = {"scope": None, "verbose": True if verbose else None}
    return engine.get(path, parameters)


def _find(engine: Engine, name: str, values: Values) -> Any:
    """The object of any type that `name` names. Raises: CommandError, ApiError."""
    wanted: str = values["type"]
    if wanted and wanted not in TYPES:
        raise CommandError(f'unknown type: "{wanted}"')
    for kind in (wanted,) if wanted else TYPES:
        try:
            return _get(engine, kind, name, values)
        except ApiError as error:
            if wanted and wanted != kind:
                raise
            missing = error.status == 404 or (error.status == 400 and kind != "container")
            if not missing or (wanted and error.status != 404):
                raise
            if wanted:
                raise CommandError(f"Error: No such {wanted}: {name}") from error
    raise CommandError(f"Error: No such object: {name}")


def _show(names: list[str], form: str, get: Callable[[str], Any]) -> int:
    """Print the objects that are found, then what was not. Raises: CommandError."""
    found, failures = [], []
    for name in names:
        try:
            found.append(get(name))
        except NaruError as error:
            failures.append(error.message)
    if form in ("", "json"):
        text = encode_indented(found) if not form else encode(found)
        sys.stdout.write(visible(text) + "\n")
    else:
        sys.stdout.write(by_template(form, found))
    if failures:
        raise CommandError("\n".join(failures))
    return 0


def by_template(form: str, found: list[Any]) -> str:
    """Each object by the template `form`, a line each. Raises: CommandError."""
    from naru.cli.template.lex import TemplateError
    from naru.cli.template.run import Template

    source = form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(source, terminal=sys.stdout.isatty())
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", 64) from error
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
