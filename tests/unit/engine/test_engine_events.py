"""The event bus: what an event looks like, replay, filters, slow listeners."""

import asyncio

import msgspec
import pytest

from naru.engine.events import QUEUE_EVENTS, RING_EVENTS, EventBus, make_event, matches


def test_an_event_has_old_fields_where_docker_has_them() -> None:
    attributes = {"name": "web", "image": "busybox", "a": "b"}
    event = make_event("container", "start", "c1", attributes, 1_500_000_000_123_456_789)
    assert msgspec.json.decode(event.line) == {
        "status": "start",
        "id": "c1",
        "from": "busybox",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c1", "Attributes": attributes},
        "scope": "local",
        "time": 1_500_000_000,
        "timeNano": 1_500_000_000_123_456_789,
    }
    assert "status" not in msgspec.json.decode(make_event("volume", "create", "v", {}, 1).line)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"type": ("container",)}, True),
        ({"type": ("image",)}, False),
        ({"event": ("exec_create",)}, True),
        ({"event": ("exec_create: sh",)}, True),
        ({"event": ("start",)}, False),
        ({"container": ("web",)}, True),
        ({"container": ("abc1",)}, True),
        ({"container": ("other",)}, False),
        ({"image": ("busybox",)}, True),
        ({"image": ("busybox:latest",)}, True),
        ({"image": ("alpine",)}, False),
        ({"label": ("tier=web",)}, True),
        ({"label": ("tier=db",)}, False),
        ({"scope": ("swarm",)}, False),
        ({"type": ("container",), "label": ("tier",)}, True),
    ],
)
def test_filters(filters: dict[str, tuple[str, ...]], wanted: bool) -> None:
    attributes = {"name": "web1", "image": "busybox:latest", "tier": "web"}
    event = make_event("container", "exec_create: sh", "abc123", attributes, 1)
    assert matches(filters, event) is wanted


def test_replay_and_live_events_come_in_order() -> None:
    async def main() -> None:
        bus = EventBus()
        for number in range(RING_EVENTS + 10):
            bus.emit("volume", "create", str(number), {})
        subscription = bus.subscribe({}, since_ns=0)
        bus.emit("volume", "create", "last", {})
        lines = (await subscription.next() or b"").splitlines()
        ids = [msgspec.json.decode(line)["Actor"]["ID"] for line in lines]
        assert ids[0] == "11" or ids[0] == "10"
        assert ids[-1] == "last" and len(ids) == RING_EVENTS + 1
        assert len(bus) == 1
        subscription.close()
        assert await subscription.next() is None and len(bus) == 0

    asyncio.run(main())


def test_a_slow_listener_is_told_of_the_gap() -> None:
    async def main() -> None:
        bus = EventBus()
        slow, other = bus.subscribe({}), bus.subscribe({"volume": ("7",)})
        for number in range(QUEUE_EVENTS + 5):
            bus.emit("volume", "create", str(number), {})
        lines = (await slow.next() or b"").splitlines()
        assert len(lines) == QUEUE_EVENTS + 1
        gap = msgspec.json.decode(lines[-1])
        assert gap["Action"] == "events-lost" and gap["Actor"]["Attributes"]["count"] == "5"
        assert len((await other.next() or b"").splitlines()) == 111
        bus.emit("volume", "create", "later", {})
        assert b"later" in (await slow.next() or b"")

    asyncio.run(main())


def test_a_waiting_listener_wakes_up() -> None:
    async def main() -> None:
        bus = EventBus()
        subscription = bus.subscribe({})
        asyncio.get_running_loop().call_soon(bus.emit, "network", "create", "n", {})
        async with asyncio.timeout(5):
            assert b'"network"' in (await subscription.next() or b"")

    asyncio.run(main())
