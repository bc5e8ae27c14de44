"""The container list: status texts, filters, and entries kept ready."""

import time

import msgspec
import pytest

from naru.base.clock import NS
from naru.base.errors import InvalidParameter
from naru.containers.link_index import LinkIndex
from naru.containers.model import Container, MountPoint, State
from naru.engine.api import selection
from naru.engine.api.inspection import state_json
from naru.engine.api.summary import Summaries, ports_of, status_text, with_sizes
from naru.spec.engine.container_config import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    PortBinding,
)

NOW = 1_800_000_000 * NS


def container(number: int, **changes: object) -> Container:
    values: dict[str, object] = {
        "id": f"{number:064x}",
        "name": f"c{number}",
        "created_ns": NOW - number * NS,
        "image_id": "sha256:1",
        "config": ContainerConfig(image="busybox", labels={"n": str(number)}),
        "host_config": HostConfig(network_mode="bridge"),
        "path": "sh",
        "args": ("-c", "echo hi there"),
        "networks": {"bridge": EndpointSettings(network_id="net1", ip_address="10.0.0.2")},
    }
    return Container(**{**values, **changes})  # type: ignore[arg-type]  # a test's own shorthand


def running(number: int, seconds: float, **changes: object) -> Container:
    state = State(status="running", started_ns=NOW - int(seconds * NS), pid=7)
    return container(number, state=state, **changes)


@pytest.mark.parametrize(
    ("state", "health", "text"),
    [
        (State(), None, "Created"),
        (State(status="running", started_ns=NOW - 3 * NS), None, "Up 3 seconds"),
        (State(status="running", started_ns=NOW - 200 * NS), "healthy", "Up 3 minutes (healthy)"),
        (State(status="running", started_ns=NOW), "starting",
         "Up Less than a second (health: starting)"),
        (State(status="paused", started_ns=NOW - 5 * NS), "healthy", "Up 5 seconds (Paused)"),
        (State(status="restarting", finished_ns=NOW - 2 * NS, exit_code=3), None,
         "Restarting (3) 2 seconds ago"),
        (State(status="exited", started_ns=1, finished_ns=NOW - 7200 * NS, exit_code=137), None,
         "Exited (137) 2 hours ago"),
        (State(status="exited", exit_code=127), None, "Created"),
        (State(status="removing"), None, "Removal In Progress"),
        (State(status="dead"), None, "Dead"),
    ],
)  # fmt: skip
def test_status_text(state: State, health: str | None, text: str) -> None:
    shown, until = status_text(container(1, state=state), health, NOW)
    assert shown == text and until > NOW


@pytest.mark.parametrize("age_s", [0, 0.5, 30, 59.9, 61, 119, 3599, 5400, 100_000])
def test_a_status_text_is_right_as_long_as_it_says(age_s: float) -> None:
    item = running(1, age_s)
    text, until = status_text(item, None, NOW)
    assert until > NOW
    assert status_text(item, None, until - 1)[0] == text or age_s >= 3600


class _Store:
    def __init__(self, items: list[Container]) -> None:
        self.items = {item.id: item for item in items}
        self.listeners: list[object] = []
        self.links = LinkIndex()

    def listen(self, listener: object) -> None:
        self.listeners.append(listener)

    def all(self) -> list[Container]:
        return sorted(self.items.values(), key=lambda item: item.created_ns, reverse=True)

    def put(self, item: Container) -> None:
        self.items[item.id] = item
        for listener in self.listeners:
            listener(item.id, item)  # type: ignore[operator]  # what listen() was given


def _summaries(store: _Store) -> Summaries:
    return Summaries(
        store,  # type: ignore[arg-type]  # as much of a store as summaries use
        lambda item: item.config.image,
        lambda _: None,
        lambda name: f"/volumes/{name}/_data",
    )


def test_a_list_is_renewed_when_a_record_or_the_time_changes() -> None:
    store = _Store([container(1), running(2, 10)])
    summaries = _summaries(store)
    first = msgspec.json.decode(summaries.list_all(True, NOW))
    assert [item["Status"] for item in first] == ["Created", "Up 10 seconds"]
    assert len(msgspec.json.decode(summaries.list_all(False, NOW))) == 1
    assert summaries.list_all(True, NOW + 1) is summaries.list_all(True, NOW + 2)
    assert b"Up 15 seconds" in summaries.list_all(True, NOW + 5 * NS)
    store.put(container(1, name="renamed"))
    assert b'"/renamed"' in summaries.list_all(True, NOW)


def test_an_entry_is_dockers() -> None:
    mounts = (MountPoint(type="volume", name="v", destination="/v", driver="local", mode="z"),)
    ports: dict[str, list[PortBinding] | None] = {
        "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080")],  # noqa: S104 - a value shown
        "90/udp": None,
    }
    item = running(1, 60, mounts=mounts, ports=ports)
    (entry,) = msgspec.json.decode(_summaries(_Store([item])).list_all(True, NOW))
    assert entry["Command"] == "sh -c 'echo hi there'"
    assert entry["Names"] == ["/c1"] and entry["State"] == "running"
    assert entry["Mounts"] == [
        {"Type": "volume", "Name": "v", "Source": "/volumes/v/_data", "Destination": "/v",
         "Driver": "local", "Mode": "z", "RW": True, "Propagation": ""}
    ]  # fmt: skip
    assert (
        entry["Ports"]
        == ports_of(item)
        == [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},  # noqa: S104
            {"PrivatePort": 90, "Type": "udp"},
        ]
    )
    assert entry["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "10.0.0.2"


def test_what_does_not_run_shows_no_address() -> None:
    (entry,) = msgspec.json.decode(_summaries(_Store([container(1)])).list_all(True, NOW))
    settings = entry["NetworkSettings"]["Networks"]["bridge"]
    assert settings["IPAddress"] == "" and settings["NetworkID"] == "net1"


def test_sizes_are_left_out_when_nothing() -> None:
    assert with_sizes(b'{"a":1}', 0, 5) == b'{"a":1,"SizeRootFs":5}'
    assert with_sizes(b'{"a":1}', 2, 5) == b'{"a":1,"SizeRw":2,"SizeRootFs":5}'


def _chosen(items: list[Container], **filters: tuple[str, ...]) -> list[str]:
    named = {name.replace("_", "-"): values for name, values in filters.items()}
    selection.check(named)
    wanted = selection.Wanted(named, everything=True)
    return [c.name for c in selection.select(items, wanted, lambda _: None)]


def test_filters() -> None:
    exited = State(status="exited", started_ns=1, finished_ns=2, exit_code=3)
    ports: dict[str, list[PortBinding] | None] = {"80/tcp": [PortBinding(host_port="8080")]}
    config = ContainerConfig(image="x", exposed_ports={"53/udp": {}})
    mounts = (MountPoint(type="volume", name="vol", destination="/data"),)
    items = [running(1, 5, ports=ports), container(2, state=exited, mounts=mounts),
             container(12, config=config)]  # fmt: skip
    assert _chosen(items, name=("c1",)) == ["c1", "c12"]
    assert _chosen(items, name=("^/c1$",)) == ["c1"]
    assert _chosen(items, id=(f"{2:064x}",)) == ["c2"]
    assert _chosen(items, status=("exited", "created")) == ["c2", "c12"]
    assert _chosen(items, exited=("3",)) == ["c2"]
    assert _chosen(items, label=("n=1",)) == ["c1"]
    assert _chosen(items, volume=("/data",)) == _chosen(items, volume=("vol",)) == ["c2"]
    assert _chosen(items, network=("net1",)) == ["c1", "c2", "c12"]
    assert _chosen(items, network=("host",)) == []
    assert _chosen(items, publish=("8000-9000",)) == ["c1"]
    assert _chosen(items, publish=("8080/udp",)) == []
    assert _chosen(items, expose=("53/udp",)) == ["c12"]
    assert _chosen(items, health=("none",)) == ["c1", "c2", "c12"]
    assert _chosen(items, is_task=("true",)) == []


def test_limits_and_boundaries() -> None:
    items = [container(number) for number in range(5)]

    def names(**values: object) -> list[str]:
        wanted = selection.Wanted({}, **values)  # type: ignore[arg-type]  # shorthand
        return [c.name for c in selection.select(items, wanted, lambda _: None)]

    assert names() == []
    assert names(limit=2) == ["c0", "c1"]
    assert names(everything=True, since=items[3]) == ["c0", "c1", "c2"]
    assert names(everything=True, before=items[3]) == ["c4"]


@pytest.mark.parametrize(
    "filters",
    [{"status": ("x",)}, {"health": ("x",)}, {"exited": ("x",)}, {"publish": ("99999",)},
     {"expose": ("80/icmp",)}, {"is-task": ("maybe",)}],
)  # fmt: skip
def test_values_that_can_match_nothing_are_refused(filters: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter"):
        selection.check(filters)


def test_the_booleans_follow_the_status() -> None:
    shown = state_json(running(1, 5), None)
    assert shown["Running"] and not shown["Paused"] and "Health" not in shown
    paused = state_json(container(1, state=State(status="paused")), None)
    assert paused["Running"] and paused["Paused"]
    assert not state_json(container(1), None)["Running"]


def test_a_thousand_containers_are_answered_at_once() -> None:
    summaries = _summaries(_Store([container(number) for number in range(1000)]))
    summaries.list_all(True, NOW)
    begun = time.perf_counter()
    for offset in range(20):
        summaries.list_all(True, NOW + offset)
    assert (time.perf_counter() - begun) / 20 < 0.004
