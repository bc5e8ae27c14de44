"""For tests of the name server: sandboxes, a resolver that misbehaves on demand, and a client.

Each sandbox has a link of its own, up0, to the namespace `resolver`: 10.77.N.2 here and 10.77.N.1
there, and the same with fd77:N::. The resolver's behaviour is the first label of what it is asked
for: `drop`, `nx`, `fail`, `refuse`, `bare`, `cut` (truncated unless over TCP), `slow`, `lie`.
"""

import asyncio
import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from network_lab import Lab

from naru.kernel import netns
from naru.kernel.netlink.client import ConfigureLink, Netlink
from naru.kernel.spawn import Spawner
from naru.network.dns.keeper import DnsKeeper
from naru.network.dns.model import Client, Member

SERVER = ("127.0.0.11", 53)
SLOW_S = 0.3


class Sandbox:
    """A namespace as a container has it."""

    def __init__(self, lab: Lab, resolver_pin: str, number: int) -> None:
        self.pin = os.path.join(lab.root, f"box{number}")
        self.address, self.upstream = f"10.77.{number}.2", f"10.77.{number}.1"
        self.address6, self.upstream6 = f"fd77:{number}::2", f"fd77:{number}::1"
        netns.create_netns(self.pin)
        ours, theirs = netns.open_netns(self.pin), netns.open_netns(resolver_pin)
        try:
            netns.run_in_netns(theirs, self._link, f"t{number}", ours)
            addresses = ((self.address, 24), (self.address6, 64))
            here = ConfigureLink(name="up0", addresses=addresses)
            lab.netlink.configure(ours, here, loopback=True)
            addresses = ((self.upstream, 24), (self.upstream6, 64))
            there = ConfigureLink(name=f"t{number}", addresses=addresses)
            lab.netlink.configure(theirs, there, loopback=True)
        finally:
            os.close(ours)
            os.close(theirs)

    @staticmethod
    def _link(name: str, peer_netns: int) -> None:
        netlink = Netlink()
        netlink.create_veth(name, None, peer_netns, "up0")
        netlink.close()


class Resolver:
    """A resolver of the test's: `asked` is what it was asked, `peers` by whom."""

    def __init__(self, pin: str | None, address: str = "") -> None:
        self.asked: list[str] = []
        self.peers: list[tuple[str, int, int]] = []  # address, port, id
        self.mute = False
        self.ttl = 60
        self._wake, self._end = os.pipe2(os.O_CLOEXEC)

        def make(kind: int) -> socket.socket:
            family = socket.AF_INET6 if ":" in address or not address else socket.AF_INET
            made = socket.socket(family, kind)
            if not address:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address or "::", 53))
            if kind == socket.SOCK_STREAM:
                made.listen(64)
            return made

        def both() -> tuple[socket.socket, socket.socket]:
            return make(socket.SOCK_DGRAM), make(socket.SOCK_STREAM)

        self._udp, self._tcp = both() if pin is None else netns.run_in_netns(pin, both)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._udp, self._tcp, self._wake], [], [])
            if self._wake in ready:
                return
            if self._udp in ready:
                data, peer = self._udp.recvfrom(65535)
                for answer in self._answers(data, peer, stream=False):
                    self._udp.sendto(answer, peer)
            if self._tcp in ready:
                made, peer = self._tcp.accept()
                threading.Thread(target=self._stream, args=(made, peer), daemon=True).start()

    def _stream(self, made: socket.socket, peer: tuple[str, int]) -> None:
        with made, contextlib.suppress(OSError, struct.error):
            made.settimeout(5)
            (size,) = struct.unpack(">H", _exactly(made, 2))
            for answer in self._answers(_exactly(made, size), peer, stream=True):
                made.sendall(struct.pack(">H", len(answer)) + answer)

    def _answers(self, data: bytes, peer: tuple[str, int], *, stream: bool) -> Iterator[bytes]:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        if name == ".":  # a probe
            if not self.mute:
                yield dns.message.make_response(query).to_wire()
            return
        self.asked.append(name)
        self.peers.append((peer[0].removeprefix("::ffff:"), peer[1], query.id))
        what = name.partition(".")[0].rstrip("0123456789")
        if self.mute or what == "drop":
            return
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if what == "slow":
            time.sleep(SLOW_S)
        codes = {"nx": 3, "fail": 2, "refuse": 5, "bare": 1}
        reply.set_rcode(codes.get(what, 0))
        if what == "nx":
            text = f"ns.test. root.test. 1 2 3 4 {self.ttl}"
            reply.authority.append(dns.rrset.from_text("test.", self.ttl, "IN", "SOA", text))
        elif what == "cut" and stream:
            addresses = [f"10.{n >> 8 & 255}.{n & 255}.1" for n in range(4000)]
            reply.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "A", *addresses))
        elif what == "cut":
            reply.flags |= dns.flags.TC
        elif what not in codes and query.question[0].rdtype == 1:
            reply.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "A", "192.0.2.1"))
        if what == "bare":
            yield data[:2] + b"\x81\x01" + b"\0" * 8
            return
        wire = reply.to_wire(max_size=65535)
        if what == "lie":  # all but the last are none
            yield bytes((wire[0] ^ 1,)) + wire[1:]
            yield wire[:13] + bytes((wire[13] ^ 1,)) + wire[14:]
            yield wire[:2] + b"\x01" + wire[3:]
            yield wire[:-1]
            yield wire[:7]
        yield wire

    def close(self) -> None:
        os.write(self._end, b"x")
        self._thread.join(5)
        for made in (self._udp, self._tcp):
            made.close()
        os.close(self._wake)
        os.close(self._end)


def _exactly(made: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = made.recv(size - len(data))
        if not part:
            raise OSError("ended")
        data += part
    return data


class DnsLab:
    """Sandboxes, a resolver, a keeper."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.pin = os.path.join(lab.root, "resolver")
        netns.create_netns(self.pin)
        self.spawner = Spawner()
        self.boxes = 0
        self.resolver = Resolver(self.pin)
        self.keeper = self.new_keeper()

    def new_keeper(self) -> DnsKeeper:
        return DnsKeeper(self.spawner, self.lab.root, "test")

    def box(self) -> Sandbox:
        self.boxes += 1
        return Sandbox(self.lab, self.pin, self.boxes)

    def process(self) -> int:
        """The server's number."""
        process = self.keeper._process
        assert process is not None
        return process.pid


@contextlib.asynccontextmanager
async def dns_lab(lab: Lab) -> AsyncIterator[DnsLab]:
    made = DnsLab(lab)
    try:
        yield made
        failures = await asyncio.to_thread(told_failures, made)
        assert failures in (None, (0, "")), failures
    finally:
        for client_id in list(made.keeper._clients):
            await made.keeper.withdraw(client_id)
        await made.keeper.stop()
        made.resolver.close()
        made.spawner.close()


def told_failures(made: DnsLab) -> tuple[int, str] | None:
    """What of the server's callbacks failed, and the last failure's words."""
    found = made.new_keeper()._post.adopt() if made.keeper._line is not None else None
    if found is None:
        return None
    told = found[0].ask({"do": "list"})
    found[0].close()
    return told["failures"], told["last_failure"]


def member(
    name: str,
    *addresses: str,
    network: str = "net",
    aliases: tuple[str, ...] = (),
    listed: bool = True,
) -> Member:
    return Member(f"id-{network}", network, addresses, (name,), aliases, listed)


def client(box: Sandbox, *members: Member, **more: object) -> Client:
    """With the lab's resolver, unless something else is said."""
    fields = {"upstreams": (box.upstream,)} | more
    return Client(os.path.basename(box.pin), box.pin, members, **fields)  # type: ignore[arg-type]


def socket_in(pin: str, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    made = netns.run_in_netns(pin, socket.socket, socket.AF_INET, kind)
    made.settimeout(6)
    return made


def exchange(
    pin: str, query: dns.message.Message, *, tcp: bool = False, timeout_s: float = 6
) -> dns.message.Message:
    """Raises: TimeoutError."""
    with socket_in(pin, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as made:
        made.settimeout(timeout_s)
        made.connect(SERVER)
        data = query.to_wire()
        if tcp:
            made.sendall(struct.pack(">H", len(data)) + data)
            (size,) = struct.unpack(">H", _exactly(made, 2))
            reply = dns.message.from_wire(_exactly(made, size))
        else:
            made.send(data)
            reply = dns.message.from_wire(made.recv(65535))
        assert query.is_response(reply)
        return reply


async def ask(
    pin: str,
    name: str,
    qtype: str = "A",
    *,
    tcp: bool = False,
    timeout_s: float = 6,
    **more: object,
) -> list[str] | str:
    """The answers' data; or the code's name when that is not NOERROR."""
    query = dns.message.make_query(name, qtype, **more)  # type: ignore[arg-type]
    reply = await asyncio.to_thread(exchange, pin, query, tcp=tcp, timeout_s=timeout_s)
    if reply.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(reply.rcode())
    return [str(item) for rrset in reply.answer for item in rrset]
