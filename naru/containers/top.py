"""GET /containers/{id}/top: the host's `ps`, narrowed to the container's processes.

Spec: Engine API, ContainerTop; the arguments are ps's own, `-ef` when none are given.
"""

from collections.abc import Collection

from naru.base.errors import Conflict, Internal, InvalidParameter
from naru.containers import labels
from naru.containers.deps import Deps

_PS = "/usr/bin/ps"
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "COLUMNS": "32767"}


async def top(deps: Deps, ref: str, ps_args: str = "") -> tuple[list[str], list[list[str]]]:
    """Titles and rows. Raises: NotFound, Conflict when it does not run, InvalidParameter (args)."""
    container = deps.store.find(ref)
    if container.state.status not in ("running", "paused"):
        raise Conflict(f"container {container.id} is not running")
    words = (ps_args or "-ef").split()
    if any("\0" in word for word in words):
        raise InvalidParameter("ps arguments: a NUL byte is not allowed")
    pids = deps.runtime.processes(container.id)
    status, output = await deps.spawner.run([_PS, *words], env=_ENV)
    text = output.decode(errors="replace")
    if status != 0:
        raise Internal(f"ps: {text.strip()}")
    rows = parse(text, set(pids))
    deps.emit("container", "top", container.id, labels.of_event(container))
    return rows


def parse(text: str, pids: Collection[int]) -> tuple[list[str], list[list[str]]]:
    """Titles, and the rows whose PID is in `pids`. Raises: Internal without a PID column. Pure."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Internal("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows, wanted = [], False
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= column:
            continue
        if fields[column] == "-":
            if wanted:
                rows.append(fields)
            continue
        wanted = fields[column].isdecimal() and int(fields[column]) in pids
        if wanted:
            rows.append(fields)
    return titles, rows
