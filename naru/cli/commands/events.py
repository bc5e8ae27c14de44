"""`naru events`: what happens in the engine, as it happens."""

from __future__ import annotations

import sys
import time

from naru.base.errors import NaruError
from naru.base.text import visible_line
from naru.cli.command import Command, CommandError
from naru.cli.flags import FILTER, STRING, Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP, STRING_FORMAT, grouped
from naru.cli.times import timestamp
from naru.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

NS = 1_000_000_000
FLAGS = Flags(
    Flag("filter", "f", FILTER, "Filter output based on conditions provided"),
    Flag("format", "", STRING_FORMAT, INSPECT_FORMAT_HELP),
    Flag("since", "", STRING, "Show all events created since timestamp"),
    Flag("until", "", STRING, "Stream events until this timestamp"),
)


def when(time_ns: int) -> str:
    """Local time with nanoseconds and zone, in RFC 3339."""
    seconds, rest = divmod(time_ns, NS)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    shown = "Z" if zone in ("+0000", "") else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{shown}"


def line_of(event: Any) -> str:
    """One event as docker prints it."""
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    listed = ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
    head = f"{when(event['timeNano'])} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    return visible_line(f"{head} ({listed})" if attributes else head)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    try:
        since, until = timestamp(values["since"]), timestamp(values["until"])
    except NaruError as error:
        raise CommandError(error.message) from error
    stream = system.events(session.engine, since, until, grouped(values["filter"]))
    form: str = values["format"]
    if not form:
        for event in stream:
            sys.stdout.write(line_of(event) + "\n")
            sys.stdout.flush()
        return
    from naru.cli.template.lex import TemplateError
    from naru.cli.template.run import Template
    from naru.cli.template.values import GoMap

    source = "{{json .}}" if form == "json" else form.replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(source, terminal=sys.stdout.isatty())
        for event in stream:
            sys.stdout.write(template.execute(_with_names(event, GoMap)) + "\n")
            sys.stdout.flush()
    except TemplateError as error:
        raise CommandError(f"Error parsing format: {error}", 64) from error


def _with_names(event: Any, map_type: type[dict[str, Any]]) -> Any:
    """The event with the upper-case names that docker's templates use beside its own."""
    attributes = map_type((event.get("Actor") or {}).get("Attributes") or {})
    return _Event(
        event,
        {
            "Actor": {**(event.get("Actor") or {}), "Attributes": attributes},
            "Time": event.get("time"), "TimeNano": event.get("timeNano"),
            "Scope": event.get("scope"), "Status": event.get("status", ""),
            "ID": event.get("id", ""), "From": event.get("from", ""),
        },
    )  # fmt: skip


class _Event(dict[str, "Any"]):
    """An event that JSON sees as it came and a template with more names."""

    def __init__(self, event: Any, names: Any) -> None:
        super().__init__(event)
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name in self._names or super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        return self._names[name] if name in self._names else super().__getitem__(name)


EVENTS = Command(run, "[OPTIONS]", "Get real time events from the server", FLAGS)
