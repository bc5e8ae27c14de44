"""`naru version`: what this program is, and what engine answers."""

from __future__ import annotations

import os
import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.flags import Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP, STRING_FORMAT
from naru.client import system
from naru.client.engine import API_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

VERSION_TEXT = "0.1.0"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
FLAGS = Flags(Flag("format", "f", STRING_FORMAT, INSPECT_FORMAT_HELP))


def print_short() -> int:
    sys.stdout.write(f"Naru version {VERSION_TEXT}\n")
    return 0


def client_facts(session: Session) -> dict[str, Any]:
    """The client's half, under docker's names."""
    machine = os.uname().machine
    version = sys.version_info
    return {
        "Version": VERSION_TEXT, "ApiVersion": API_VERSION, "DefaultAPIVersion": API_VERSION,
        "GitCommit": "", "GoVersion": "",
        "PythonVersion": f"{version.major}.{version.minor}.{version.micro}", "Os": "linux",
        "Arch": MACHINES.get(machine, machine), "BuildTime": "", "Context": session.context_name(),
    }  # fmt: skip


def _built(text: str) -> str:
    """A build time as Go's ANSIC form: `Tue Sep 15 11:02:57 2026`; other texts as they are."""
    try:
        year, month, day = (int(part) for part in text[:10].split("-"))
    except ValueError:
        return text
    import time

    moment = time.strptime(f"{year}-{month}-{day}", "%Y-%m-%d")
    weekday = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][moment.tm_wday]
    return f"{weekday} {MONTHS[month - 1]} {day:2d} {text[11:19]} {year}"


def _client_lines(facts: dict[str, Any]) -> list[str]:
    lines = ["Client:"]
    shown = (
        ("Version", facts["Version"]), ("API version", facts["ApiVersion"]),
        ("Python version", facts["PythonVersion"]), ("OS/Arch", f"{facts['Os']}/{facts['Arch']}"),
        ("Context", facts["Context"]),
    )  # fmt: skip
    return lines + [f" {name + ':':<18} {value}" for name, value in shown]


def _server_lines(server: Any) -> list[str]:
    platform = (server.get("Platform") or {}).get("Name") or ""
    lines = ["", f"Server: {platform}".rstrip()]
    for component in server.get("Components") or ():
        details = component.get("Details") or {}
        lines.append(f" {component['Name']}:")
        if component["Name"] in ("Engine", "Naru Engine"):
            shown = (
                ("Version", component["Version"]),
                (
                    "API version",
                    f"{details.get('ApiVersion', '')} (minimum version "
                    f"{details.get('MinAPIVersion', '')})",
                ),
                ("Go version", details.get("GoVersion")),
                ("Python version", details.get("PythonVersion")),
                ("Git commit", details.get("GitCommit")),
                ("Built", _built(details.get("BuildTime") or "")),
                ("OS/Arch", f"{details.get('Os', '')}/{details.get('Arch', '')}"),
                ("Experimental", details.get("Experimental")),
            )
            lines += [f"  {name + ':':<17} {value}" for name, value in shown if value]
            continue
        lines.append(f"  {'Version:':<17} {component['Version']}")
        lines += [f"  {name + ':':<17} {value}" for name, value in sorted(details.items())]
    return lines


def run(session: Session, values: Values, arguments: list[str]) -> None:
    facts = client_facts(session)
    failure, server = "", None
    try:
        server = system.version(session.engine)
    except NaruError as error:
        failure = error.message
    form: str = values["format"]
    if form:
        from naru.cli.documents import show_document

        show_document({"Client": facts, "Server": server}, form)
    else:
        lines = _client_lines(facts) + (_server_lines(server) if server else [])
        sys.stdout.write("\n".join(lines) + "\n")
    if failure:
        raise CommandError(failure)


VERSION = Command(run, "[OPTIONS]", "Show the version information", FLAGS)
