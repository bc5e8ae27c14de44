"""What happened, told to everyone who listens, with the last 256 events kept for replay.

An event is encoded once. Each listener has a bounded queue of its own: one that does not read
loses events and is told so (`events-lost`, with the count) instead of holding anybody up.

Spec: Engine API, SystemEvents and `EventMessage`; filters as Docker matches them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from naru.base.clock import NS, now_ns
from naru.base.filters import Filters, matches_labels

RING_EVENTS = 256
QUEUE_EVENTS = 1024

EVENT_FILTERS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
     "scope", "secret", "service", "type", "volume"}
)  # fmt: skip

_FUZZY_ACTIONS = frozenset(("health_status", "exec_create", "exec_start"))
_BY_NAME = ("container", "daemon", "network", "node", "plugin", "service", "secret", "config",
            "volume")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """`line` is the event as it goes over the wire, newline included."""

    type: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]
    time_ns: int
    line: bytes


def make_event(
    kind: str, action: str, actor_id: str, attributes: Mapping[str, str], time_ns: int
) -> Event:
    """Containers and images carry the fields of old API versions (`status`, `id`, `from`), too."""
    body: dict[str, object] = {}
    if kind in ("container", "image"):
        body = {"status": action, "id": actor_id}
        if kind == "container" and attributes.get("image"):
            body["from"] = attributes["image"]
    body["Type"] = kind
    body["Action"] = action
    body["Actor"] = {"ID": actor_id, "Attributes": dict(sorted(attributes.items()))}
    body["scope"] = "local"
    body["time"] = time_ns // NS
    body["timeNano"] = time_ns
    line = msgspec.json.encode(body) + b"\n"
    return Event(kind, action, actor_id, attributes, time_ns, line)


def matches(filters: Filters, event: Event) -> bool:
    """Whether every filter lets the event through."""
    if not filters:
        return True
    if "event" in filters and not _action_wanted(filters["event"], event.action):
        return False
    if "type" in filters and event.type not in filters["type"]:
        return False
    if "scope" in filters and "local" not in filters["scope"]:
        return False
    name = event.attributes.get("name", "")
    for kind in _BY_NAME:
        if kind in filters and not any(
            event.actor_id.startswith(value) or (name and name.startswith(value))
            for value in filters[kind]
        ):
            return False
    if "image" in filters and not _image_wanted(filters["image"], event):
        return False
    return matches_labels(filters.get("label", ()), event.attributes)


def _action_wanted(wanted: tuple[str, ...], action: str) -> bool:
    if _FUZZY_ACTIONS.intersection(wanted):
        return any(action.startswith(value) for value in wanted)
    return action in wanted


def _image_wanted(wanted: tuple[str, ...], event: Event) -> bool:
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    names = {event.actor_id, name, _without_tag(event.actor_id), _without_tag(name)}
    return any(value in names for value in wanted)


def _without_tag(reference: str) -> str:
    head, _, tag = reference.rpartition(":")
    return head if head and "/" not in tag else reference


class Subscription:
    """One listener's queue. `next` gives lines, None at the end."""

    def __init__(self, bus: "EventBus", filters: Filters) -> None:
        self._bus = bus
        self._filters = filters
        self._lines: deque[bytes] = deque()
        self._lost = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, event: Event) -> None:
        if not matches(self._filters, event):
            return
        if len(self._lines) >= QUEUE_EVENTS:
            self._lost += 1
            return
        self._lines.append(event.line)
        self._wake()

    def replay(self, event: Event) -> None:
        if matches(self._filters, event):
            self._lines.append(event.line)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> bytes | None:
        """Everything that waits, in one piece; None once closed and empty."""
        while not self._lines and not self._lost:
            if self._closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = b"".join(self._lines)
        self._lines.clear()
        if self._lost:
            gap = {"count": str(self._lost), "name": "naru"}
            data += make_event("daemon", "events-lost", "naru", gap, now_ns()).line
            self._lost = 0
        return data

    def pending(self) -> bytes:
        """What waits now, without waiting."""
        data = b"".join(self._lines)
        self._lines.clear()
        return data

    def close(self) -> None:
        self._closed = True
        self._bus.forget(self)
        self._wake()


class EventBus:
    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=RING_EVENTS)
        self._listeners: set[Subscription] = set()
        self._watchers: list[tuple[str, Callable[[], None]]] = []

    def watch(self, kind: str, changed: Callable[[], None]) -> None:
        """Call `changed` at every event of a type, before anybody hears of it."""
        self._watchers.append((kind, changed))

    def emit(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Tell everybody. Must be called on the event loop; never blocks, never raises."""
        event = make_event(kind, action, actor_id, attributes, now_ns())
        self._ring.append(event)
        for watched, changed in self._watchers:
            if watched == kind:
                changed()
        for listener in self._listeners:
            listener.offer(event)

    def subscribe(
        self, filters: Filters, since_ns: int | None = None, until_ns: int | None = None
    ) -> Subscription:
        """A listener, with the kept events from `since_ns` to `until_ns` before the live ones."""
        subscription = Subscription(self, filters)
        if since_ns is not None or until_ns is not None:
            for event in self._ring:
                after = since_ns is None or event.time_ns >= since_ns
                if after and (until_ns is None or event.time_ns <= until_ns):
                    subscription.replay(event)
        self._listeners.add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        self._listeners.discard(subscription)

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)
