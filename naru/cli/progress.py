"""Progress of long work: a bar for each part on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys

from naru.base.units import human_size
from naru.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

BAR_WIDTH = 50


def show_progress(documents: Iterable[Any], out: TextIO, quiet: bool = False) -> None:
    """Show the engine's progress documents on `out`. Raises: CommandError with its error."""
    bars = _Bars(out) if out.isatty() and not quiet else None
    for document in documents:
        failure = document.get("errorDetail") or {}
        if failure or document.get("error"):
            raise CommandError(failure.get("message") or document["error"])
        if quiet:
            continue
        if bars is not None:
            bars.show(document)
        else:
            out.write(_plain(document))
            out.flush()


def _plain(document: Any) -> str:
    """One line for a step; the many reports of a running one are left out."""
    if document.get("stream") is not None:
        stream: str = document["stream"]
        return stream
    if document.get("progressDetail"):
        return ""
    status = document.get("status")
    if not status:
        return ""
    identifier = document.get("id")
    return f"{identifier}: {status}\n" if identifier else f"{status}\n"


def bar(detail: Any, columns: int) -> str:
    """`[=====>    ]  1.2MB/3.4MB` for a step's `progressDetail`, empty when it has no figures."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    if total <= 0 or current > total:
        return f"{human_size(current, 4):>8}"
    drawn = ""
    if columns > 110:
        filled = min(current * BAR_WIDTH // total, BAR_WIDTH)
        space = BAR_WIDTH - filled
        drawn = f"[{'=' * filled}>{' ' * space}] "
    return f"{drawn}{human_size(current, 4):>8}/{human_size(total, 4)}"


class _Bars:
    """One line of the terminal for each id, rewritten in place."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: dict[str, int] = {}

    def show(self, document: Any) -> None:
        text = _plain(document) if document.get("stream") is not None else ""
        if text:
            self._out.write(text)
            self._out.flush()
            return
        status = document.get("status") or ""
        identifier = document.get("id") or ""
        if not identifier:
            self._out.write(f"{status}\n")
            self._out.flush()
            return
        if identifier not in self._lines:
            self._lines[identifier] = len(self._lines)
            self._out.write("\n")
        up = len(self._lines) - self._lines[identifier]
        shown = bar(document.get("progressDetail") or {}, _columns())
        line = f"{identifier}: {status} {shown}".rstrip()
        self._out.write(f"\033[{up}A\r\033[2K{line}\r\033[{up}B")
        self._out.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80


class Counter:
    """Counts bytes on a terminal's last line while something is copied; silent elsewhere."""

    def __init__(self, what: str, quiet: bool) -> None:
        self._what = what
        self._on = not quiet and sys.stderr.isatty()
        self._bytes = 0
        self._shown = 0

    def add(self, count: int) -> None:
        self._bytes += count
        if self._on and self._bytes - self._shown >= 1 << 20:
            self._shown = self._bytes
            sys.stderr.write(f"\r\033[2K{self._what} - {human_size(self._bytes, 3)}")
            sys.stderr.flush()

    def give_up(self) -> None:
        """Leave the line to the error that follows."""
        if self._shown:
            sys.stderr.write("\r\033[2K")

    def done(self, text: str) -> None:
        if self._on:
            sys.stderr.write(f"\r\033[2K{text} ({human_size(self._bytes, 3)})\n")
