"""The name server of an engine's user-defined networks: one process, 127.0.0.11 in each sandbox.

It outlives narud, which starts it (`keeper`), and tells it on the control socket (`control`) whose
names mean what. Descriptor 3 is that socket, listening; 4 a lock that says "alive". It ends when it
is told to, or when the lock's file is removed: its engine is gone then. It runs isolated, on the
standard library and few modules (12 MB): imports are most of what it weighs.
"""

import os
import resource
import signal
import socket
import struct

from naru.network.dns import control, zone
from naru.network.dns.cache import AnswerCache
from naru.network.dns.forward import Limit
from naru.network.dns.loop import Loop
from naru.network.dns.sandbox import ADDRESS, Sandbox

_CONTROL_FD, _LOCK_FD = 3, 4
_FDS = 3
_REPLY_S = 2.0

Fields = control.Fields


class Server:
    """What narud may ask for."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._cache = AnswerCache()
        self._limit = Limit()
        self._zones: dict[str, zone.Zone] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._serial = 0

    def handle(self, request: Fields, descriptors: list[int]) -> Fields:
        """The reply; what of `descriptors` is left is not wanted. Raises: anything."""
        what = request.get("do")
        if what == "serve":
            return self._serve(request, descriptors)
        if what == "update":
            self._learn(request["zones"])
            for client in request["clients"]:  # type: ignore[attr-defined]
                if client["id"] in self._sandboxes:
                    self._use(self._sandboxes[client["id"]], client)
        elif what == "withdraw":
            for client_id in request["ids"]:  # type: ignore[attr-defined]
                gone = self._sandboxes.pop(client_id, None)
                if gone is not None:
                    gone.close()
        elif what == "list":
            return self._list()
        elif what == "end":
            self._loop.running = False
        else:
            raise ValueError(f"unknown request {what!r}")
        self._forget_zones()
        return {"ok": True}

    def _serve(self, request: Fields, descriptors: list[int]) -> Fields:
        client = request["client"]
        assert isinstance(client, dict)
        self._learn(request["zones"])
        old = self._sandboxes.pop(client["id"], None)
        if old is not None:
            old.close()
        self._serial += 1
        udp, tcp, netns = descriptors
        descriptors.clear()
        sandbox = Sandbox(self._loop, self._cache, self._limit, self._serial, (udp, tcp, netns))
        self._sandboxes[client["id"]] = sandbox
        self._use(sandbox, client)
        self._forget_zones()
        return {"ok": True}

    def _learn(self, zones: object) -> None:
        assert isinstance(zones, dict)
        for key, (name, members) in zones.items():
            entries = [
                (own, aliases, _packed(found), listed) for own, aliases, found, listed in members
            ]
            self._zones[key] = zone.Zone(name, entries)

    def _use(self, sandbox: Sandbox, client: Fields) -> None:
        zones, links, upstreams = client["zones"], client["links"], client["upstreams"]
        assert isinstance(zones, list)
        assert isinstance(links, dict)
        assert isinstance(upstreams, list)
        sandbox.zones = tuple(zones)
        view = zone.View(
            [self._zones[key] for key in zones],
            {name: _packed(found) for name, found in links.items()},
        )
        wanted = _upstreams(upstreams, bool(client["host"]))
        sandbox.use(view, wanted, bool(client["forward"]), bool(client["single"]))

    def _forget_zones(self) -> None:
        used = {key for sandbox in self._sandboxes.values() for key in sandbox.zones}
        for key in self._zones.keys() - used:
            del self._zones[key]

    def _list(self) -> Fields:
        return {
            "protocol": control.PROTOCOL,
            "pid": os.getpid(),
            "clients": {key: item.inode for key, item in self._sandboxes.items()},
            "failures": self._loop.failures,
            "last_failure": self._loop.last_failure,
        }


def _packed(addresses: list[str]) -> list[bytes]:
    return [
        socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        for address in addresses
    ]


def _upstreams(addresses: list[str], of_host: bool) -> list[tuple[str, bool]]:
    """(address, asked from the host): those that are none, and we ourselves, are left out.

    What only the host can reach is asked from there: its loopback, and link-local resolvers.
    """
    wanted: list[tuple[str, bool]] = []
    for address in addresses:
        try:
            (packed,) = _packed([address.partition("%")[0]])
        except OSError:
            continue
        if len(packed) == 4:
            near = packed[0] == 127
        else:
            near = packed == b"\0" * 15 + b"\1" or packed[:2] == b"\xfe\x80"
        host = of_host and near
        if (host or address != ADDRESS) and any(packed):
            wanted.append((address, host))
    return wanted


class Peer:
    """A connection on the control socket; only root's are heard."""

    def __init__(self, loop: Loop, server: Server, made: socket.socket) -> None:
        self._loop = loop
        self._server = server
        self._socket = made
        self._in = bytearray()
        self._descriptors: list[int] = []
        loop.watch(made.fileno(), self._ready)

    def _ready(self, _: int) -> None:
        try:
            data, got, _, _ = socket.recv_fds(self._socket, 1 << 18, _FDS)
            self._descriptors += got
            self._in += data
            if not data:
                raise OSError("the peer went")
            while (size := control.length(self._in)) is not None and len(self._in) >= size:
                request = control.parse(self._in[:size])
                del self._in[:size]
                self._socket.settimeout(_REPLY_S)
                self._socket.sendall(control.frame(self._reply(request)))
        except (OSError, ValueError):
            self._close()

    def _reply(self, request: Fields) -> Fields:
        try:
            return self._server.handle(request, self._descriptors)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            self._drop_descriptors()

    def _drop_descriptors(self) -> None:
        for fd in self._descriptors:
            os.close(fd)
        self._descriptors.clear()

    def _close(self) -> None:
        self._drop_descriptors()
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()


def _accept(loop: Loop, server: Server, listener: socket.socket) -> None:
    try:
        made, _ = listener.accept()
    except OSError:
        return
    credentials = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if struct.unpack("3i", credentials)[1] == os.geteuid():
        Peer(loop, server, made)
    else:
        made.close()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = Loop()
    server = Server(loop)
    listener = socket.socket(fileno=_CONTROL_FD)
    listener.setblocking(False)
    loop.watch(_CONTROL_FD, lambda _: _accept(loop, server, listener))
    loop.run(lambda: os.fstat(_LOCK_FD).st_nlink > 0)
