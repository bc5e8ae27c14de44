"""`naru stats`: what containers use, once or as it changes."""

from __future__ import annotations

import _thread
import sys
import time

from naru.base.errors import NaruError
from naru.base.units import human_size, human_size_binary
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT
from naru.cli.render import Noun, View, render
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

REFRESH_S = 0.5
FIRST_SAMPLE_S = 2.0
CLEAR, HOME = "\033[2J", "\033[H"
FLAGS = Flags(
    Flag("all", "a", BOOL, "Show all containers (default shows just running)"),
    Flag("format", "", STRING_FORMAT, FORMAT_HELP),
    Flag("no-stream", "", BOOL, "Disable streaming stats and only pull the first result"),
    Flag("no-trunc", "", BOOL, "Do not truncate output"),
)


def cpu_percent(sample: Any) -> float:
    """The share of the host's CPUs used between the two readings of a sample, in percent."""
    now, before = sample["cpu_stats"], sample["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    cpus = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or ())
    return used / passed * cpus * 100.0 if used > 0 and passed > 0 else 0.0


def memory_used(stats: Any) -> int:
    """Usage without the page cache that could be dropped at once."""
    usage: int = stats.get("usage") or 0
    detail = stats.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):
        inactive = detail.get(name)
        if inactive is not None and inactive < usage:
            return usage - int(inactive)
    return usage


def block_io(stats: Any) -> tuple[int, int]:
    read = written = 0
    for entry in stats.get("io_service_bytes_recursive") or ():
        operation = entry["op"][:1].lower()
        read += entry["value"] if operation == "r" else 0
        written += entry["value"] if operation == "w" else 0
    return read, written


def figures(wanted: str, sample: Any) -> dict[str, Any]:
    """A sample as the columns need it; a container that does not run has zeros."""
    memory = sample.get("memory_stats") or {}
    used, limit = memory_used(memory), memory.get("limit") or 0
    networks = (sample.get("networks") or {}).values()
    blocks = block_io(sample.get("blkio_stats") or {})
    return {
        "wanted": wanted, "id": sample.get("id") or "", "name": sample.get("name") or "",
        "cpu": cpu_percent(sample) if sample.get("cpu_stats") else 0.0,
        "used": used, "limit": limit, "share": used / limit * 100.0 if limit else 0.0,
        "received": sum(item["rx_bytes"] for item in networks),
        "sent": sum(item["tx_bytes"] for item in networks),
        "read": blocks[0], "written": blocks[1],
        "pids": (sample.get("pids_stats") or {}).get("current") or 0, "known": True,
    }  # fmt: skip


def _unless_unknown(item: Any, text: str, blank: str = "--") -> str:
    return text if item["known"] else blank


def _pair(item: Any, one: str, other: str) -> str:
    text = f"{human_size(item[one], 3)} / {human_size(item[other], 3)}"
    return _unless_unknown(item, text, "-- / --")


STATS_NOUN = Noun(
    "*container.statsContext",
    {
        "BlockIO": lambda item, view: _pair(item, "read", "written"),
        "CPUPerc": lambda item, view: _unless_unknown(item, f"{item['cpu']:.2f}%"),
        "Container": lambda item, view: item["wanted"],
        "ID": lambda item, view: item["id"] if view.full else item["id"][:12],
        "MemPerc": lambda item, view: _unless_unknown(item, f"{item['share']:.2f}%"),
        "MemUsage": lambda item, view: _unless_unknown(
            item,
            f"{human_size_binary(item['used'])} / {human_size_binary(item['limit'])}",
            "-- / --",
        ),
        "Name": lambda item, view: item["name"].removeprefix("/") or "--",
        "NetIO": lambda item, view: _pair(item, "received", "sent"),
        "PIDs": lambda item, view: _unless_unknown(item, str(item["pids"])),
    },
    {
        "BlockIO": "BLOCK I/O", "CPUPerc": "CPU %", "ID": "CONTAINER ID", "MemPerc": "MEM %",
        "MemUsage": "MEM USAGE / LIMIT", "NetIO": "NET I/O",
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)  # fmt: skip


class _Board:
    """The newest figures of each container, filled by one thread each."""

    def __init__(self, session: Session, stream: bool) -> None:
        self._session, self._stream = session, stream
        self.order: list[str] = []
        self.figures: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self._waited: dict[str, Any] = {}

    def watch(self, name: str) -> None:
        if name in self.order:
            return
        self.order.append(name)
        arrived = _thread.allocate_lock()
        arrived.acquire()
        self._waited[name] = arrived
        _thread.start_new_thread(self._follow, (name, arrived))

    def _follow(self, name: str, arrived: Any) -> None:
        try:
            engine = self._session.connect()
            for sample in containers.stats(engine, name, self._stream):
                self.figures[name] = figures(name, sample)
                if arrived.locked():
                    arrived.release()
        except NaruError as error:
            self.failures[name] = error.message
        except OSError:
            self.failures.setdefault(name, "")
        finally:
            if arrived.locked():
                arrived.release()

    def await_first(self) -> None:
        """Until every container has figures, or has had time to."""
        for name in self.order:
            self._waited[name].acquire(timeout=-1 if not self._stream else FIRST_SAMPLE_S)

    def rows(self) -> list[dict[str, Any]]:
        zeros = ("cpu", "share", "pids", "used", "limit", "received", "sent", "read", "written")
        blank: dict[str, Any] = {"name": "", "known": False, **dict.fromkeys(zeros, 0)}
        return [
            self.figures.get(name) or {**blank, "wanted": name, "id": name}
            for name in self.order
            if name not in self.failures
        ]


def run(session: Session, values: Values, arguments: list[str]) -> None:
    stream = not values["no-stream"]
    board = _Board(session, stream)
    names = arguments
    if not names:
        found = containers.list_containers(session.engine, values["all"])
        names = [item["Id"][:12] for item in found]
    for name in names:
        containers.inspect(session.engine, name)
        board.watch(name)
    board.await_first()
    failures = [text for text in board.failures.values() if text]
    if failures:
        raise CommandError("\n".join(failures))
    form: str = values["format"] or session.config_text("statsFormat")
    view = View(values["no-trunc"])
    if not stream:
        sys.stdout.write(render(STATS_NOUN, board.rows(), view, form))
        return
    _redraw(session, values, board, view, form, follow_new=not arguments)


def _redraw(
    session: Session, values: Values, board: _Board, view: View, form: str, follow_new: bool
) -> None:
    terminal = sys.stdout.isatty()
    while True:
        text = render(STATS_NOUN, board.rows(), view, form)
        if terminal:
            sys.stdout.write(CLEAR + HOME)
        sys.stdout.write(text)
        sys.stdout.flush()
        if not follow_new and len(board.failures) == len(board.order):
            return
        time.sleep(REFRESH_S)
        if follow_new:
            for item in containers.list_containers(session.engine, values["all"]):
                board.watch(item["Id"][:12])


STATS = Command(
    run,
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    FLAGS,
    0,
    None,
)
