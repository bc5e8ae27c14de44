"""The process that carries IPv6 clients to IPv4 containers: one per engine, for every port.

The kernel cannot translate [::1]:8080 into 172.17.0.2:80, so the firewall translates it into an
address of the engine's own prefix that *says* 172.17.0.2 and 80, at the port where this process
listens. The address a client arrived at is therefore all the state there is: nothing is
configured when a port is published, and the process goes on while narud is restarted.

    fdXX:XXXX:XXXX:XXXX : aabb:ccdd : pppp : 0      IPv4 aa.bb.cc.dd, port pppp

Run as a script, isolated, with the standard library only (7 MB): `relay.py PREFIX SUBNETS`;
descriptor 3 is the listening TCP socket, 4 the bound UDP socket, 5 a lock that says "alive".
SUBNETS is a file with the networks' subnets, a line each, read again when it was replaced.
Anything else than an address below PREFIX that means one in a subnet is closed at once.
"""

import contextlib
import errno
import ipaddress
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections import OrderedDict

_CHUNK = 1 << 16
_BACKLOG_BYTES = 1 << 18
_CONNECTIONS_MAX = 16384
_FLOWS_MAX = 4096
_FLOW_IDLE_S = 120.0
_LOCK_CHECK_S = 10.0
_IPV6_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_FREEBIND = 50, 49, 78
_PKTINFO = struct.Struct("=16sI")

Target = tuple[str, int]


class Meaning:
    """What addresses below the prefix mean, and which of them are containers'."""

    def __init__(self, prefix: str, path: str) -> None:
        self._prefix = ipaddress.IPv6Network(f"{prefix}:/64").network_address.packed[:8]
        self._path = path
        self._seen = (0, 0)
        self._subnets: list[ipaddress.IPv4Network] = []

    def target(self, packed: bytes) -> Target | None:
        """The container's address and port; None for what this relay does not carry."""
        host = ipaddress.IPv4Address(packed[8:12])
        port = int.from_bytes(packed[12:14], "big")
        if packed[:8] != self._prefix or packed[14:] != b"\0\0" or not self._known(host):
            return None
        return (str(host), port) if port else None

    def _known(self, host: ipaddress.IPv4Address) -> bool:
        try:
            status = os.stat(self._path)
            if (status.st_ino, status.st_mtime_ns) != self._seen:
                with open(self._path, encoding="ascii") as source:
                    self._subnets = [ipaddress.IPv4Network(line.strip()) for line in source]
                self._seen = (status.st_ino, status.st_mtime_ns)
        except (OSError, ValueError):
            return False
        return any(host in subnet for subnet in self._subnets)


class Half:
    """One direction's receiver: a socket, and the bytes that wait until it can take them."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.pending = bytearray()
        self.peer: Half = self
        self.connected = True
        self.ended = False  # its own input reached the end
        self.shut = False  # it was told that no more bytes come
        self.closed = False


class TcpRelay:
    """Pairs of connections on one selector; half-closes are passed on."""

    def __init__(self, selector: selectors.DefaultSelector, meaning: Meaning) -> None:
        self._selector = selector
        self._meaning = meaning
        self._count = 0

    def accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    time.sleep(0.05)
                return
            self._open(client)

    def _open(self, client: socket.socket) -> None:
        packed = socket.inet_pton(socket.AF_INET6, client.getsockname()[0])
        target = self._meaning.target(packed)
        if target is None or self._count >= _CONNECTIONS_MAX:
            client.close()
            return
        try:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        left, right = Half(client), Half(server)
        left.peer, right.peer = right, left
        right.connected = server.connect_ex(target) == 0
        self._count += 1
        self._selector.register(client, selectors.EVENT_READ, (self.ready, left))
        self._selector.register(server, selectors.EVENT_WRITE, (self.ready, right))
        self._watch(left)
        self._watch(right)

    def ready(self, half: Half, events: int) -> None:
        if half.closed:  # by its peer's event, a moment ago
            return
        try:
            if not half.connected:
                failed = half.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    raise OSError(failed, "connect")
                half.connected = True
            if events & selectors.EVENT_READ:
                self._read(half)
            if events & selectors.EVENT_WRITE:
                self._write(half)
        except BlockingIOError:
            pass
        except OSError:
            self._close(half)
            return
        if half.shut and half.peer.shut:
            self._close(half)
            return
        self._watch(half)
        self._watch(half.peer)

    def _read(self, half: Half) -> None:
        data = half.socket.recv(_CHUNK)
        if not data:
            half.ended = True
        half.peer.pending += data
        if half.peer.connected:
            self._write(half.peer)

    def _write(self, half: Half) -> None:
        if half.pending:
            with contextlib.suppress(BlockingIOError):
                sent = half.socket.send(half.pending)
                del half.pending[:sent]
        if half.peer.ended and not half.pending and not half.shut:
            half.shut = True
            half.socket.shutdown(socket.SHUT_WR)

    def _watch(self, half: Half) -> None:
        wanted = 0
        if half.connected and not half.ended and len(half.peer.pending) < _BACKLOG_BYTES:
            wanted |= selectors.EVENT_READ
        if not half.connected or half.pending or (half.peer.ended and not half.shut):
            wanted |= selectors.EVENT_WRITE
        known = half.socket in self._selector.get_map()
        if wanted and known:
            self._selector.modify(half.socket, wanted, (self.ready, half))
        elif wanted:
            self._selector.register(half.socket, wanted, (self.ready, half))
        elif known:
            self._selector.unregister(half.socket)

    def _close(self, half: Half) -> None:
        for item in (half, half.peer):
            item.closed = True
            if item.socket in self._selector.get_map():
                self._selector.unregister(item.socket)
            item.socket.close()
        self._count -= 1


class UdpRelay:
    """One IPv4 socket per (client, address it asked); the oldest go when there are too many."""

    def __init__(
        self, selector: selectors.DefaultSelector, meaning: Meaning, listener: socket.socket
    ) -> None:
        self._selector = selector
        self._meaning = meaning
        self._listener = listener
        self._flows: OrderedDict[tuple[object, bytes], tuple[socket.socket, float]] = OrderedDict()
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        # Answers leave from the address that was asked: this host's by a route, on no interface.
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)

    def receive(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                data, extra, _, client = listener.recvmsg(_CHUNK, socket.CMSG_SPACE(20))
            except OSError:
                return
            asked = [item for level, kind, item in extra if kind == _IPV6_PKTINFO]
            if asked:
                self._forward(data, client, asked[0][:16])

    def _forward(self, data: bytes, client: tuple[object, ...], asked: bytes) -> None:
        now = time.monotonic()
        key = (client, asked)
        flow = self._flows.pop(key, None)
        if flow is None:
            target = self._meaning.target(asked)
            if target is None:
                return
            self._expire(now)
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.setblocking(False)
            end.connect(target)
            self._selector.register(end, selectors.EVENT_READ, (self.answer, (end, key)))
        else:
            end = flow[0]
        self._flows[key] = (end, now)
        with contextlib.suppress(OSError):
            end.send(data)

    def answer(self, flow: tuple[socket.socket, tuple[tuple[object, ...], bytes]], _: int) -> None:
        end, (client, asked) = flow
        with contextlib.suppress(OSError):
            for _ in range(64):
                data = end.recv(_CHUNK)
                source = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, _PKTINFO.pack(asked, 0))
                self._listener.sendmsg([data], [source], 0, client)

    def _expire(self, now: float) -> None:
        while self._flows:
            key, (end, used) = next(iter(self._flows.items()))
            if now - used < _FLOW_IDLE_S and len(self._flows) < _FLOWS_MAX:
                return
            del self._flows[key]
            self._selector.unregister(end)
            end.close()


def serve(listener: socket.socket, datagrams: socket.socket, meaning: Meaning, lock: int) -> None:
    """Carry until the process is ended, or the lock's file was removed: its engine is gone."""
    selector = selectors.DefaultSelector()
    tcp, udp = TcpRelay(selector, meaning), UdpRelay(selector, meaning, datagrams)
    listener.setblocking(False)
    datagrams.setblocking(False)
    selector.register(listener, selectors.EVENT_READ, (None, tcp.accept))
    selector.register(datagrams, selectors.EVENT_READ, (None, udp.receive))
    while os.fstat(lock).st_nlink:
        for key, events in selector.select(_LOCK_CHECK_S):
            handler, subject = key.data
            if handler is None:
                subject(key.fileobj)
            else:
                handler(subject, events)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    serve(socket.socket(fileno=3), socket.socket(fileno=4), Meaning(sys.argv[1], sys.argv[2]), 5)


if __name__ == "__main__":
    main()
