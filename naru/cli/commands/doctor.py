"""`naru system doctor`: what on this host is missing or risky, and what to do about it."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.checks import DATA_ROOT, GOOD, MISSING, NOTE, RISK, Finding, all_findings
from naru.cli.command import Command
from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP, STRING_FORMAT
from naru.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

MARKS = {GOOD: "ok", NOTE: "note", RISK: "RISK", MISSING: "MISSING"}
FLAGS = Flags(
    Flag("format", "f", STRING_FORMAT, INSPECT_FORMAT_HELP),
    Flag("quiet", "q", BOOL, "Show only what is missing or risky"),
)


def engine_findings(session: Session) -> tuple[list[Finding], str]:
    """What the engine says of itself, and its data root; with none running, only that."""
    try:
        info: Any = system.info(session.engine)
    except NaruError as error:
        text = "start it with 'make run' or: systemctl start naru"
        return [Finding(NOTE, "engine", error.message, text)], DATA_ROOT
    shown = f"{info.get('ServerVersion', '')} at {session.engine.host}"
    found = [Finding(GOOD, "engine", shown)]
    for warning in info.get("Warnings") or ():
        found.append(Finding(RISK, "engine", str(warning).removeprefix("WARNING: ")))
    return found, info.get("DockerRootDir") or DATA_ROOT


def run(session: Session, values: Values, arguments: list[str]) -> int:
    engine, root = engine_findings(session)
    findings = [*all_findings(root), *engine]
    if values["quiet"]:
        findings = [item for item in findings if item.state in (RISK, MISSING)]
    if values["format"]:
        from naru.cli.documents import show_document

        document = [
            {
                "State": item.state, "Subject": item.subject, "Found": item.found,
                "Advice": item.advice,
            }
            for item in findings
        ]  # fmt: skip
        show_document(document, values["format"])
    else:
        _print(findings)
    return 1 if any(item.state == MISSING for item in findings) else 0


def _print(findings: list[Finding]) -> None:
    for item in findings:
        sys.stdout.write(f"{MARKS[item.state]:<8} {item.subject:<13} {item.found}\n")
        if item.advice:
            sys.stdout.write(f"{'':<22} -> {item.advice}\n")
    missing = sum(item.state == MISSING for item in findings)
    risky = sum(item.state == RISK for item in findings)
    if not missing and not risky:
        sys.stdout.write("\nThis host is ready for containers.\n")
    else:
        sys.stdout.write(f"\n{missing} missing, {risky} risky.\n")


DOCTOR = Command(
    run, "[OPTIONS]", "Say what on this host is missing or risky, and what to do", FLAGS
)
