"""What the listing commands share: `--format`, `--filter` and `--quiet` together."""

from __future__ import annotations

import sys

from naru.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values

STRING_FORMAT = Kind("string", str)
FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template."
)
INSPECT_FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template."
)


def grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Filters as name to values, sorted by name."""
    found: dict[str, list[str]] = {}
    for name, value in sorted(pairs):
        found.setdefault(name, []).append(value)
    return found


def warn_ignored_format(values: Values) -> None:
    if values["format"] and values["format"] != "table":
        sys.stderr.write(
            "WARNING: Ignoring custom format, because both --format and --quiet are set.\n"
        )
