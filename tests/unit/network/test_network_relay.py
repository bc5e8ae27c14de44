"""The relay's TCP half between sockets of this host, and what its addresses mean."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from naru.network import firewall
from naru.network.relay import Meaning, Target, TcpRelay

PREFIX = "fd00:1:2:3:"


@pytest.fixture
def subnets(tmp_path: Path) -> Path:
    path = tmp_path / "subnets"
    path.write_text("172.17.0.0/16\n172.18.0.0/24\n")
    return path


def test_an_address_means_what_the_firewall_wrote(subnets: Path) -> None:
    packed = IPv6Address(firewall.relay_address(PREFIX, "172.17.0.2", 8080)).packed
    assert Meaning(PREFIX, str(subnets)).target(packed) == ("172.17.0.2", 8080)


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "fd00:1:2:4:ac11:2:50:0",
        "fd00:1:2:3:7f00:1:50:0",
        "fd00:1:2:3:ac11:2:0:0",
        "fd00:1:2:3:ac11:2:50:1",
    ],
)
def test_nothing_else_is_carried(address: str, subnets: Path) -> None:
    assert Meaning(PREFIX, str(subnets)).target(IPv6Address(address).packed) is None


def test_a_subnet_is_known_as_soon_as_its_file_says_so(subnets: Path) -> None:
    packed = IPv6Address(firewall.relay_address(PREFIX, "172.19.0.2", 80)).packed
    meaning = Meaning(PREFIX, str(subnets))
    assert meaning.target(packed) is None
    new = subnets.with_suffix(".new")
    new.write_text("172.19.0.0/24\n")
    new.replace(subnets)
    assert meaning.target(packed) == ("172.19.0.2", 80)
    subnets.unlink()
    assert meaning.target(packed) is None


class Fixed:
    def __init__(self, target: Target | None) -> None:
        self._target = target

    def target(self, packed: bytes) -> Target | None:
        return self._target


@contextlib.contextmanager
def relaying(target: Target | None) -> Iterator[tuple[str, int]]:
    """A relay on a thread that leads to `target`; answers where it listens."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    selector = selectors.DefaultSelector()
    relay = TcpRelay(selector, Fixed(target))  # type: ignore[arg-type]
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    listener.setblocking(False)
    ours, theirs = socket.socketpair()
    selector.register(listener, selectors.EVENT_READ, None)
    selector.register(theirs, selectors.EVENT_READ, "end")

    def loop() -> None:
        while True:
            for key, events in selector.select(5):
                if key.data == "end":
                    return
                if key.data is None:
                    relay.accept(listener)
                else:
                    handler, half = key.data
                    handler(half, events)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        ours.close()
        thread.join()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()


def read_all(end: socket.socket) -> bytes:
    parts = []
    while part := end.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_bytes_and_half_closes_go_both_ways() -> None:
    payload = bytes(range(256)) * 40_000  # more than any buffer holds
    with socket.create_server(("127.0.0.1", 0)) as server, relaying(server.getsockname()) as at:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(read_all(peer)[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(at, 5) as client:
            sender = threading.Thread(
                target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR))
            )
            sender.start()
            assert read_all(client) == payload[::-1]
            sender.join()
        thread.join()


def test_a_refused_target_ends_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = closed.getsockname()
    with relaying(nowhere) as at, socket.create_connection(at, 5) as client:
        assert ended(client)


def test_an_address_without_meaning_ends_the_client() -> None:
    with relaying(None) as at, socket.create_connection(at, 5) as client:
        assert ended(client)


def test_one_slow_client_does_not_hold_up_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, relaying(server.getsockname()) as at:
        slow = socket.create_connection(at, 5)
        first, _ = server.accept()
        first.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                first.send(b"x" * 65536)
        with socket.create_connection(at, 5) as quick:
            second, _ = server.accept()
            second.sendall(b"hello")
            assert quick.recv(10) == b"hello"
            second.close()
        first.close()
        slow.close()
