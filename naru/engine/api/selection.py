"""Which containers a list shows: the filters of GET /containers/json. Pure.

Spec: Engine API 1.51, ContainerList; matching as Docker does it (names and ids by regular
expression, ports by number or range).
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from naru.base.errors import InvalidParameter
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.containers.model import Container
from naru.engine.api.summary import is_running

LIST_FILTERS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task", "label",
     "name", "network", "publish", "since", "status", "volume"}
)  # fmt: skip

_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_ISOLATION = ("default", "process", "hyperv")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`limit` 0: no limit. `since` and `before` are containers that the list lies between."""

    filters: Filters
    everything: bool = False
    limit: int = 0
    since: Container | None = None
    before: Container | None = None
    ancestors: Collection[str] | None = None


def check(filters: Filters) -> None:
    """Raises: InvalidParameter for values that can match nothing."""
    _among(filters, "status", _STATES)
    _among(filters, "health", _HEALTH)
    _among(filters, "isolation", _ISOLATION)
    parse_bool(filters, "is-task")
    for value in filters.get("exited", ()):
        if not re.fullmatch(r"-?\d{1,9}", value):
            raise InvalidParameter(f"invalid filter 'exited={value}'")
    for name in ("expose", "publish"):
        for value in filters.get(name, ()):
            _port_range(name, value)


def _among(filters: Filters, name: str, known: Sequence[str]) -> None:
    for value in filters.get(name, ()):
        if value not in known:
            raise InvalidParameter(
                f"invalid filter '{name}={value}': must be one of {', '.join(known)}"
            )


def boundary(filters: Filters, name: str, find: Callable[[str], Container]) -> Container | None:
    """The container that `since` or `before` names. Raises: NotFound."""
    values = filters.get(name, ())
    if not values:
        return None
    return find(values[0])


def select(
    containers: Iterable[Container], wanted: Wanted, health_of: Callable[[str], str | None]
) -> list[Container]:
    """`containers` (newest first) cut to those that are wanted."""
    filters = wanted.filters
    everything = wanted.everything or wanted.limit > 0 or "status" in filters
    tests = _tests(wanted, health_of)
    chosen: list[Container] = []
    for container in containers:
        if not everything and not is_running(container):
            continue
        if all(test(container) for test in tests):
            chosen.append(container)
            if wanted.limit and len(chosen) >= wanted.limit:
                break
    return chosen


Test = Callable[[Container], bool]


def _tests(wanted: Wanted, health_of: Callable[[str], str | None]) -> list[Test]:
    filters, tests = wanted.filters, list[Test]()
    since, before = wanted.since, wanted.before
    if since is not None:
        tests.append(lambda c: c.created_ns > since.created_ns)
    if before is not None:
        tests.append(lambda c: c.created_ns < before.created_ns)
    if wanted.ancestors is not None:
        ancestors = wanted.ancestors
        tests.append(lambda c: c.image_id in ancestors)
    if patterns := [_pattern(text) for text in filters.get("name", ())]:
        tests.append(lambda c: any(p.search("/" + c.name) or p.search(c.name) for p in patterns))
    if ids := [_pattern(text) for text in filters.get("id", ())]:
        tests.append(lambda c: any(p.search(c.id) for p in ids))
    if states := filters.get("status"):
        tests.append(lambda c: c.state.status in states)
    if codes := [int(text) for text in filters.get("exited", ())]:
        tests.append(
            lambda c: not is_running(c) and c.state.started_ns > 0 and c.state.exit_code in codes
        )
    if health := filters.get("health"):
        tests.append(lambda c: (health_of(c.id) or "none") in health)
    if labels := filters.get("label"):
        tests.append(lambda c: matches_labels(labels, c.config.labels or {}))
    if volumes := filters.get("volume"):
        tests.append(lambda c: any(m.name in volumes or m.destination in volumes for m in c.mounts))
    if networks := filters.get("network"):
        tests.append(lambda c: _in_network(c, networks))
    if parse_bool(filters, "is-task"):
        tests.append(lambda _: False)
    return tests + _port_tests(filters)


def _port_tests(filters: Filters) -> list[Test]:
    tests: list[Test] = []
    if publish := [_port_range("publish", text) for text in filters.get("publish", ())]:
        tests.append(lambda c: any(_published(c, wanted) for wanted in publish))
    if expose := [_port_range("expose", text) for text in filters.get("expose", ())]:
        tests.append(lambda c: any(_exposed(c, wanted) for wanted in expose))
    return tests


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text) + r"\Z")


def _in_network(container: Container, networks: Collection[str]) -> bool:
    return any(
        name in networks or (settings.network_id and settings.network_id in networks)
        for name, settings in container.networks.items()
    )


def _port_range(name: str, text: str) -> tuple[range, str]:
    match = _PORTS.match(text)
    if match is None:
        raise InvalidParameter(f"invalid filter '{name}={text}': wanted PORT[-PORT][/PROTOCOL]")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last > 65535:
        raise InvalidParameter(f"invalid filter '{name}={text}': invalid range of ports")
    return range(first, last + 1), match[3] or "tcp"


def _published(container: Container, wanted: tuple[range, str]) -> bool:
    numbers, protocol = wanted
    return any(
        int(binding.host_port or 0) in numbers
        for port, bindings in container.ports.items()
        if port.partition("/")[2] == protocol
        for binding in bindings or ()
    )


def _exposed(container: Container, wanted: tuple[range, str]) -> bool:
    numbers, protocol = wanted
    exposed = container.config.exposed_ports
    names = () if exposed is UNSET else tuple(exposed or ())
    return any(
        int(port.partition("/")[0]) in numbers
        for port in names
        if (port.partition("/")[2] or "tcp") == protocol
    )
