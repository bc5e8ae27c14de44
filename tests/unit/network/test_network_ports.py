import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from naru.base.errors import Conflict, Internal
from naru.network import plan, ports
from naru.network.bindings import PortWish
from naru.network.ports import Owner, PortTable

WEB = Owner("a" * 64, "web", "172.17.0.2")
API = Owner("b" * 64, "api", "172.17.0.3")


@contextmanager
def listening(kind: int = socket.SOCK_STREAM, address: str = "127.0.0.1") -> Iterator[int]:
    """A port that this process has, without SO_REUSEADDR."""
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def table() -> Iterator[PortTable]:
    made = PortTable()
    yield made
    made.release(WEB.container_id)
    made.release(API.container_id)


def free_port() -> int:
    with listening() as port:
        return port


def wish(
    port: int, proto: str = "tcp", ip: str = "", low: int = 0, high: int = 0
) -> tuple[PortWish, str]:
    """A wish that may be granted on both families."""
    return PortWish(port, proto, ip, low, high), "46"


def fixed(port: int, ip: str = "", proto: str = "tcp") -> tuple[PortWish, str]:
    return wish(80, proto, ip, port, port)


def test_every_address_means_both_families(table: PortTable) -> None:
    port = free_port()
    granted = table.allocate(WEB, [fixed(port)])
    assert [(item.host_ip, item.host_port) for item in granted] == [("0.0.0.0", port), ("::", port)]


def test_without_ipv6_only_ipv4_is_given() -> None:
    table = PortTable(ipv6=False)
    granted = table.allocate(WEB, [fixed(free_port())])
    table.release(WEB.container_id)
    assert [item.host_ip for item in granted] == ["0.0.0.0"]


def test_a_default_publish_address_is_taken_for_wishes_without_one() -> None:
    table = PortTable("127.0.0.1")
    granted = table.allocate(WEB, [fixed(free_port())])
    table.release(WEB.container_id)
    assert [item.host_ip for item in granted] == ["127.0.0.1"]


def test_a_port_of_another_container_is_refused_and_names_it(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port)])
    with pytest.raises(Conflict) as caught:
        table.allocate(API, [fixed(port)])
    text = f"Bind for 0.0.0.0:{port} failed: port is already allocated (container web holds it)"
    assert caught.value.message == text
    assert table.holder_of("tcp", port) == "container web"


def test_a_wildcard_covers_each_address(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port)])
    with pytest.raises(Conflict, match="already allocated"):
        table.allocate(API, [fixed(port, "127.0.0.1")])


def test_different_addresses_and_protocols_share_a_port(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port, "127.0.0.1")])
    table.allocate(API, [fixed(port, "127.0.0.2"), fixed(port, "127.0.0.1", "udp")])


def test_a_port_of_a_process_is_refused(table: PortTable) -> None:
    with listening() as port, pytest.raises(Conflict) as caught:
        table.allocate(WEB, [fixed(port)])
    expected = (
        f"failed to bind host port for 0.0.0.0:{port}:172.17.0.2:80/tcp: address already in use"
    )
    assert caught.value.message.startswith(expected)


def test_an_address_that_is_not_of_this_host_is_refused(table: PortTable) -> None:
    with pytest.raises(Internal, match="cannot assign requested address"):
        table.allocate(WEB, [fixed(free_port(), "192.0.2.77")])


def test_a_held_port_cannot_be_taken_by_a_process(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port)])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    table.release(WEB.container_id)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_a_refused_wish_gives_back_the_others(table: PortTable) -> None:
    first = free_port()
    with listening() as taken:
        with pytest.raises(Conflict):
            table.allocate(WEB, [fixed(first), fixed(taken)])
        table.allocate(API, [fixed(first)])


def test_a_range_gives_its_first_free_port(table: PortTable) -> None:
    with listening() as taken:
        granted = table.allocate(WEB, [wish(80, "tcp", "", taken, min(taken + 50, 65535))])
    assert taken < granted[0].host_port <= taken + 50


def test_a_full_range_says_so(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port)])
    with pytest.raises(Conflict, match="already allocated"):
        table.allocate(API, [wish(80, "tcp", "", port, port)])


def test_ephemeral_ports_are_sequential(table: PortTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (42000, 42010))
    first = table.allocate(WEB, [wish(80, "tcp"), wish(81, "tcp"), wish(80, "udp")])
    assert [item.host_port for item in first[::2]] == [42000, 42001, 42000]
    table.release(WEB.container_id)
    assert table.allocate(WEB, [wish(80, "tcp")])[0].host_port == 42002


def test_engines_begin_at_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (42000, 42010))
    table = PortTable(offset=20)
    given = [table.allocate(WEB, [wish(80, "tcp")])[0].host_port for _ in range(3)]
    table.release(WEB.container_id)
    assert given == [42009, 42010, 42000]
    assert plan.port_offset("") == 0
    assert plan.port_offset("aaaaaa") != plan.port_offset("bbbbbb")


def test_a_port_once_shared_with_the_past_is_not_shared_again() -> None:
    """Two engines whose port is in TIME_WAIT: only the first gets it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            client.recv(1)
    first, second = PortTable("127.0.0.1"), PortTable("127.0.0.1")
    try:
        first.allocate(WEB, [fixed(port)])
        with pytest.raises(Conflict):
            second.allocate(API, [fixed(port)])
    finally:
        first.release(WEB.container_id)
        second.release(API.container_id)


def test_ephemeral_ports_run_out_clearly(table: PortTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (42020, 42021))
    wishes = [wish(port, "tcp") for port in (80, 81)]
    table.allocate(WEB, wishes)
    with pytest.raises(Conflict, match="all tcp ports"):
        table.allocate(API, wishes)


def test_connections_in_time_wait_do_not_keep_a_port(table: PortTable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    table.allocate(WEB, [fixed(port)])


def test_release_is_idempotent_and_renames_are_seen(table: PortTable) -> None:
    port = free_port()
    table.allocate(WEB, [fixed(port)])
    table.rename(WEB.container_id, "front")
    assert table.holder_of("tcp", port) == "container front"
    table.release(WEB.container_id)
    table.release(WEB.container_id)
    assert table.holder_of("tcp", port) is None
