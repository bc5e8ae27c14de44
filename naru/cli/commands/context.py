"""`naru context`: engines by name."""

from __future__ import annotations

import os
import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.commands.inspect import by_template, read_template
from naru.cli.flags import BOOL, STRING, Flag, Flags, Kind
from naru.cli.formats import FORMAT_HELP, INSPECT_FORMAT_HELP, STRING_FORMAT
from naru.cli.render import Noun, View, show
from naru.cli.session import DEFAULT_CONTEXT
from naru.client.contexts import (
    TLS_NAMES,
    Context,
    ContextEndpoint,
    ContextStore,
    check_name,
    write_current,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

ENDPOINT_KEYS = ("from", "host", "ca", "cert", "key", "skip-tls-verify")
DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration"


def read_endpoint(text: str) -> dict[str, str]:
    """`host=…,ca=…,cert=…,key=…,skip-tls-verify=…`. Raises: ValueError."""
    found = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{item} must be formatted as key=value")
        found[key] = value
    return found


ENDPOINT = Kind("stringToString", read_endpoint)
_ENDPOINT_HELP = (
    "Docker endpoint config:\n\n"
    "NAME                DESCRIPTION\n"
    "from                Copy named context's endpoint configuration\n"
    "host                Engine endpoint on which to connect\n"
    "ca                  Trust certs signed only by this CA\n"
    "cert                Path to TLS certificate file\n"
    "key                 Path to TLS key file\n"
    "skip-tls-verify     Skip TLS certificate validation"
)


def _store(session: Session) -> ContextStore:
    return ContextStore(session.config_dir)


def _default(session: Session) -> Context:
    return Context(DEFAULT_CONTEXT, ContextEndpoint(session.default_host()), DEFAULT_DESCRIPTION)


def load(session: Session, name: str) -> Context:
    """The stored context, or the one of flags and environment. Raises: NotFound."""
    return _default(session) if name == DEFAULT_CONTEXT else _store(session).load(name)


def _read_tls(fields: dict[str, str]) -> dict[str, bytes]:
    found = {}
    for key, name in zip(("ca", "cert", "key"), TLS_NAMES, strict=True):
        if fields.get(key):
            try:
                with open(fields[key], "rb") as file:
                    found[name] = file.read()
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise CommandError(f"open {fields[key]}: {reason}") from error
    return found


def _endpoint(session: Session, fields: dict[str, str]) -> tuple[ContextEndpoint, dict[str, bytes]]:
    for key in fields:
        if key not in ENDPOINT_KEYS:
            raise CommandError(f"unrecognized config key: {key}")
    if fields.get("from"):
        source = load(session, fields["from"])
        return source.endpoint, _store(session).tls_data(source.name)
    skip = fields.get("skip-tls-verify", "false")
    if skip not in ("true", "false", "1", "0"):
        raise CommandError(f'skip-tls-verify: strconv.ParseBool: parsing "{skip}": invalid syntax')
    return ContextEndpoint(fields.get("host", ""), skip in ("true", "1")), _read_tls(fields)


def create(session: Session, values: Values, arguments: list[str]) -> None:
    name, store = arguments[0], _store(session)
    check_name(name)
    if name in store.names():
        raise CommandError(f'context "{name}" already exists')
    description: str = values["description"]
    if values["from"]:
        source = load(session, values["from"])
        tls = store.tls_data(source.name)
        context = Context(name, source.endpoint, description or source.description)
    elif values["docker"] is None:
        source, tls = _default(session), {}
        context = Context(name, source.endpoint, description or source.description)
    else:
        endpoint, tls = _endpoint(session, values["docker"])
        context = Context(name, endpoint, description)
    store.save(context, tls)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully created context "{name}"\n')


def update(session: Session, values: Values, arguments: list[str]) -> None:
    name, store = arguments[0], _store(session)
    check_name(name)
    old = store.load(name)
    endpoint, tls = old.endpoint, None
    if values["docker"] is not None:
        endpoint, tls = _endpoint(session, values["docker"])
    description = values["description"] or old.description
    store.save(Context(name, endpoint, description, old.metadata), tls)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully updated context "{name}"\n')


def use(session: Session, values: Values, arguments: list[str]) -> None:
    name = arguments[0]
    if name != DEFAULT_CONTEXT:
        check_name(name)
        _store(session).load(name)
    write_current(session.config_dir, session.config, name)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Current context is now "{name}"\n')
    if os.environ.get("DOCKER_HOST") and name != DEFAULT_CONTEXT:
        sys.stderr.write(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use "
            f'"{name}", either set the global --context flag, or unset DOCKER_HOST environment '
            "variable.\n"
        )


def current(session: Session, values: Values, arguments: list[str]) -> None:
    sys.stdout.write(f"{session.context_name()}\n")


def remove(session: Session, values: Values, arguments: list[str]) -> None:
    store, failures = _store(session), []
    for name in arguments:
        try:
            if name == DEFAULT_CONTEXT:
                raise CommandError('context "default" cannot be removed')
            if name == session.context_name():
                if not values["force"]:
                    raise CommandError(f'context "{name}" is in use, set -f flag to force remove')
                write_current(session.config_dir, session.config, DEFAULT_CONTEXT)
            if name not in store.names():
                raise CommandError(f'context "{name}" does not exist')
            store.remove(name)
            sys.stdout.write(f"{name}\n")
        except NaruError as error:
            failures.append(error.message)
    if failures:
        raise CommandError("\n".join(failures))


CONTEXT_NOUN = Noun(
    "*formatter.clientContextContext",
    {
        "Current": lambda item, view: item["current"],
        "Description": lambda item, view: item["description"],
        "DockerEndpoint": lambda item, view: item["host"],
        "Error": lambda item, view: item["error"],
        "Name": lambda item, view: item["name"],
    },
    {"DockerEndpoint": "DOCKER ENDPOINT"},
    ("Name", "Description", "DockerEndpoint", "Error"),
)


def _rows(session: Session) -> list[dict[str, Any]]:
    now, rows = session.context_name(), []
    for name in sorted([DEFAULT_CONTEXT, *_store(session).names()]):
        row = {"name": name, "current": name == now, "description": "", "host": "", "error": ""}
        try:
            found = load(session, name)
            row.update(description=found.description, host=found.endpoint.host)
        except NaruError as error:
            row["error"] = error.message
        rows.append(row)
    return rows


def list_all(session: Session, values: Values, arguments: list[str]) -> None:
    rows = _rows(session)
    if values["quiet"]:
        sys.stdout.write("".join(f"{row['name']}\n" for row in rows))
        return
    form: str = values["format"]
    if form in ("", "table"):
        from naru.cli.table import align

        lines = [["NAME", "DESCRIPTION", "DOCKER ENDPOINT", "ERROR"]]
        lines += [
            [
                row["name"] + (" *" if row["current"] else ""), row["description"], row["host"],
                row["error"],
            ]
            for row in rows
        ]  # fmt: skip
        sys.stdout.write(align(lines))
    else:
        show(CONTEXT_NOUN, rows, View(), form)
    sys.stdout.flush()
    if os.environ.get("DOCKER_HOST") and not session.options["context"]:
        sys.stderr.write(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a "
            "context, either set the global --context flag, or unset DOCKER_HOST environment "
            "variable.\n"
        )


def describe(session: Session, name: str) -> dict[str, Any]:
    """A context as `context inspect` shows it. Raises: NotFound."""
    found, store = load(session, name), _store(session)
    stored = name != DEFAULT_CONTEXT
    tls = sorted(store.tls_data(name)) if stored else []
    metadata = dict(found.metadata) if stored else {}
    if stored and found.description:
        metadata["Description"] = found.description
    memory = "<IN MEMORY>"
    return {
        "Name": name,
        "Metadata": metadata,
        "Endpoints": {
            "docker": {"Host": found.endpoint.host, "SkipTLSVerify": found.endpoint.skip_verify}
        },
        "TLSMaterial": {"docker": tls} if tls else {},
        "Storage": {
            "MetadataPath": store.metadata_folder(name) if stored else memory,
            "TLSPath": store.tls_folder(name) if stored else memory,
        },
    }


def inspect(session: Session, values: Values, arguments: list[str]) -> None:
    from naru.cli.template.values import escape_html
    from naru.client.wire import encode, encode_indented

    names = arguments or [session.context_name()]
    found, failures = [], []
    for name in names:
        try:
            found.append(describe(session, name))
        except NaruError as error:
            failures.append(error.message)
    form: str = values["format"]
    if form in ("", "json"):
        text = encode(found) if form else encode_indented(found)
        sys.stdout.write(escape_html(text) + "\n")
    else:
        sys.stdout.write(by_template(read_template(form), found))
    if failures:
        raise CommandError("\n".join(failures))


_DESCRIPTION = Flag("description", "", STRING, "Description of the context")
_DOCKER = Flag("docker", "", ENDPOINT, "Set the engine endpoint")

CREATE = Command(
    create,
    "[OPTIONS] CONTEXT",
    "Create a context",
    Flags(_DESCRIPTION, _DOCKER, Flag("from", "", STRING, "Create context from a named context")),
    1,
    1,
    long=_ENDPOINT_HELP,
)
UPDATE = Command(
    update, "[OPTIONS] CONTEXT", "Update a context", Flags(_DESCRIPTION, _DOCKER), 1, 1,
    long=_ENDPOINT_HELP,
)  # fmt: skip
USE = Command(use, "CONTEXT", "Set the current context", None, 1, 1)
SHOW = Command(current, "", "Print the name of the current context")
RM = Command(
    remove,
    "CONTEXT [CONTEXT...]",
    "Remove one or more contexts",
    Flags(Flag("force", "f", BOOL, "Force the removal of a context in use")),
    1,
    None,
)
LS = Command(
    list_all,
    "[OPTIONS]",
    "List contexts",
    Flags(
        Flag("format", "", STRING_FORMAT, FORMAT_HELP),
        Flag("quiet", "q", BOOL, "Only show context names"),
    ),
)
INSPECT = Command(
    inspect,
    "[OPTIONS] [CONTEXT] [CONTEXT...]",
    "Display detailed information on one or more contexts",
    Flags(Flag("format", "f", STRING_FORMAT, INSPECT_FORMAT_HELP)),
    0,
    None,
)
