"""127.0.0.11 inside a sandbox: sockets on free ports, and the packets to port 53 led to them.

Port 53 itself stays free for a DNS server of the container's own. Packets are rewritten by a table
of our own, after everybody else's rules on their way out and before them on their way back, so the
container's rules and its connection tracking see port 53, and without such rules nothing is
tracked at all: a query costs no conntrack entry.
"""

import os
import re
import socket
import time
from collections.abc import Callable

from naru.kernel import netns
from naru.kernel.nft import Nft

Ports = tuple[int, int]  # UDP, TCP

ADDRESS, PORT = "127.0.0.11", 53
TABLE = "naru_dns"
_BACKLOG = 128
_TRY_S = 0.25
_SO_RCVBUFFORCE, _BUFFER_BYTES = (
    33,
    1 << 20,
)  # for a burst of questions, each with a wait of its own


_REPLACE = f"delete table ip {TABLE}\n"
_LEADS_TO = re.compile(r"(udp|tcp) dport set (\d+)")


def rules(ports: Ports) -> str:
    """The whole transaction; it fails when a table is there."""
    udp, tcp = ports
    return f"""\
create table ip {TABLE}
table ip {TABLE} {{
  chain ask {{
    type filter hook output priority 400; policy accept;
    ip daddr {ADDRESS} udp dport {PORT} udp dport set {udp}
    ip daddr {ADDRESS} tcp dport {PORT} tcp dport set {tcp}
  }}
  chain answer {{
    type filter hook output priority -450; policy accept;
    ip saddr {ADDRESS} udp sport {udp} udp sport set {PORT}
    ip saddr {ADDRESS} tcp sport {tcp} tcp sport set {PORT}
  }}
}}
"""


def ports_in(table: str) -> Ports | None:
    """Where a table, as nft lists it, leads to; None when that is not clear."""
    found = _LEADS_TO.findall(table)
    if [proto for proto, _ in found] != ["udp", "tcp"]:
        return None
    return int(found[0][1]), int(found[1][1])


class Place:
    """What is handed to the server, and a socket of a client to try it with.

    Where a table is already, its ports are taken again if they are free: closing nft after a table
    was replaced waits for the kernel's grace period, 15 ms.
    """

    def __init__(self, pin: str) -> None:
        """Blocks. Raises: OSError, Internal."""
        self._sockets: list[socket.socket] = []
        self.netns = netns.open_netns(pin)
        try:
            self.udp, self.tcp, self.trial = netns.run_in_netns(self.netns, self._make)
        except BaseException:
            self.close()
            raise

    def _make(self) -> tuple[socket.socket, socket.socket, socket.socket]:
        nft = Nft()
        try:
            there = f"table ip {TABLE}\n" in nft.text("list tables ip")
            before = ports_in(nft.text(f"list table ip {TABLE}")) if there else None
            udp, tcp = self._bound(before or (0, 0))
            ports = udp.getsockname()[1], tcp.getsockname()[1]
            if ports != before:
                nft.run(_REPLACE * there + rules(ports))
        finally:
            nft.close()
        return udp, tcp, self._trial()

    def _bound(self, ports: Ports) -> tuple[socket.socket, socket.socket]:
        udp, tcp = self._socket(socket.SOCK_DGRAM), self._socket(socket.SOCK_STREAM)
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for made, port in zip((udp, tcp), ports, strict=True):
            try:
                made.bind((ADDRESS, port))
            except OSError:
                if not port:
                    raise
                made.bind((ADDRESS, 0))
        tcp.listen(_BACKLOG)
        return udp, tcp

    def _socket(self, kind: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
        self._sockets.append(made)
        return made

    def _trial(self) -> socket.socket:
        trial = self._socket(socket.SOCK_DGRAM)
        trial.connect((ADDRESS, PORT))
        return trial

    def descriptors(self) -> list[int]:
        return [self.udp.fileno(), self.tcp.fileno(), self.netns]

    def close(self) -> None:
        """What the server was handed stays open there."""
        for made in self._sockets:
            made.close()
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1


def _connected() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.connect((ADDRESS, PORT))
    return made


def answers(
    trial: socket.socket, timeout_s: float, wanted: Callable[[], bool] = lambda: True
) -> bool:
    """Whether a question that needs nobody else is answered, while that is `wanted`. Blocks."""
    trial.settimeout(_TRY_S)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            trial.send(b"na\x10\0\0\0\0\0\0\0\0\0")  # opcode STATUS: not implemented
            if trial.recv(64)[:2] == b"na":
                return True
        except TimeoutError:
            pass
        except OSError:  # refused: sockets are being replaced
            time.sleep(_TRY_S / 10)
        if time.monotonic() >= deadline or not wanted():
            return False


def answers_in(pin: str, timeout_s: float) -> bool:
    """As `answers`, asked inside `pin`. Blocks. Raises: OSError when there is no such namespace."""
    with netns.run_in_netns(pin, _connected) as trial:
        return answers(trial, timeout_s)
