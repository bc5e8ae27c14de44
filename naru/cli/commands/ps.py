"""`naru ps`, `naru container ls`: list containers. The command whose start-up time is guarded."""

from __future__ import annotations

import sys
import time

from naru.cli.command import Command
from naru.cli.flags import BOOL, FILTER, INT, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped, warn_ignored_format
from naru.cli.nouns_container import CONTAINER
from naru.cli.render import View, show
from naru.client.containers import list_containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("all", "a", BOOL, "Show all containers (default shows just running)"),
    Flag("filter", "f", FILTER, "Filter output based on conditions provided"),
    Flag("format", "", STRING_FORMAT, FORMAT_HELP),
    Flag("last", "n", INT, "Show n last created containers (includes all states)", -1, shown="-1"),
    Flag("latest", "l", BOOL, "Show the latest created container (includes all states)"),
    Flag("no-trunc", "", BOOL, "Don't truncate output"),
    Flag("quiet", "q", BOOL, "Only display container IDs"),
    Flag("size", "s", BOOL, "Display total file sizes"),
)


def run(session: Session, values: Values, arguments: list[str]) -> None:
    form: str = values["format"] or session.config_text("psFormat")
    limit: int = 1 if values["latest"] and values["last"] == -1 else values["last"]
    size: bool = values["size"] or (".Size" in form and "size" not in values.given)
    quiet: bool = values["quiet"]
    items = list_containers(
        session.engine,
        values["all"],
        limit if limit > 0 else None,
        size and not quiet,
        grouped(values["filter"]),
    )
    full: bool = values["no-trunc"]
    if quiet:
        warn_ignored_format(values)
        sys.stdout.write("".join(f"{item['Id'] if full else item['Id'][:12]}\n" for item in items))
        return
    columns = (*CONTAINER.default, "Size") if values["size"] else None
    show(CONTAINER, items, View(full, size, time.time()), form, columns)


PS = Command(run, "[OPTIONS]", "List containers", FLAGS)
