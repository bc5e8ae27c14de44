"""The host's ports that containers hold: who has which, and a socket that keeps others off.

For each published port a socket is bound (never listening, so no connection ends in it): a
process of the host that wants the port learns at once that it is taken, and a port that a process
already has is noticed here. Packets never reach these sockets, the firewall translates before.
"""

import contextlib
import errno
import itertools
import os
import resource
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from naru.base.errors import Conflict, Internal, NaruError
from naru.network import holders
from naru.network.bindings import PortWish, Published
from naru.network.gateways import ANY_V4, ANY_V6

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_HELD_MAX = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks: texts name the container, and the endpoint as Docker does."""

    container_id: str
    name: str
    address: str


class PortTable:
    """Gives host ports to containers. Safe for threads; `allocate` is all or nothing.

    `publish_address`: where a wish without an address goes, "" for every address.
    `ipv6`: whether [::] can be served at all. `offset`: how far into the ephemeral range the first
    free port is looked for; each engine of a host has its own, because the sockets that keep one
    engine off another's ports are gone while that one is restarted.
    """

    def __init__(self, publish_address: str = "", *, ipv6: bool = True, offset: int = 0) -> None:
        self._default = publish_address
        self._ipv6 = ipv6
        self._offset = offset
        self._taken: dict[tuple[str, int], dict[str, Owner]] = {}
        self._ports_of: dict[str, set[tuple[str, int]]] = {}
        self._held: dict[str, list[socket.socket]] = {}
        self._cursor: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._budget = _HELD_MAX if limit < 0 else min(_HELD_MAX, limit // 4)

    def allocate(
        self, owner: Owner, wishes: Iterable[tuple[PortWish, str]], default: str = ""
    ) -> list[Published]:
        """Host ports for all wishes, each with the families it is granted on (`46`); `default`:
        the address of wishes that name none. Raises: Conflict, naming who holds a port; Internal.
        """
        with self._lock:
            granted: list[Published] = []
            try:
                for wish, families in wishes:
                    addresses = self._addresses(wish.host_ip or default, families)
                    if addresses:
                        granted.extend(self._grant(owner, wish, addresses))
            except BaseException:
                self.release(owner.container_id)
                raise
            return granted

    def adopt(self, owner: Owner, published: Iterable[Published]) -> None:
        """Take over what a running container already has; a port lost to a process is borne."""
        with self._lock:
            for item in published:
                proto, port = item.wish.proto, item.host_port
                if not port:
                    continue
                self._record(owner, proto, port, [item.host_ip])
                with contextlib.suppress(OSError):
                    self._hold(owner, proto, port, [item.host_ip])

    def release(self, container_id: str) -> None:
        """Give all ports of a container back. Idempotent."""
        with self._lock:
            for held in self._held.pop(container_id, ()):
                held.close()
                self._budget += 1
            for key in self._ports_of.pop(container_id, ()):
                owners = self._taken[key]
                for address, owner in list(owners.items()):
                    if owner.container_id == container_id:
                        del owners[address]
                if not owners:
                    del self._taken[key]

    def rename(self, container_id: str, name: str) -> None:
        """The container's new name, for error texts."""
        with self._lock:
            for key in self._ports_of.get(container_id, ()):
                for address, owner in self._taken[key].items():
                    if owner.container_id == container_id:
                        self._taken[key][address] = replace(owner, name=name)

    def holder_of(self, proto: str, port: int, host_ip: str = ANY_V4) -> str | None:
        """Who has the port: `container web`, `process nginx (pid 12)`; None when nobody."""
        with self._lock:
            owner = self._conflict(proto, port, [host_ip])
        if owner is not None:
            return f"container {owner.name}"
        return holders.find(proto, port)

    def _grant(self, owner: Owner, wish: PortWish, addresses: list[str]) -> list[Published]:
        fixed = wish.low if wish.low and wish.low == wish.high else 0
        problem: NaruError | None = None
        for port in [fixed] if fixed else self._candidates(wish, addresses[0]):
            try:
                self._claim(owner, wish, port, addresses)
            except Conflict as error:
                problem = error
                continue
            if not wish.low:
                self._cursor[addresses[0], wish.proto] = port
            return [Published(wish, address, port) for address in addresses]
        if problem is not None and wish.low:
            raise problem
        raise Conflict(f"all {wish.proto} ports of {addresses[0]} that could be given are in use")

    def _claim(self, owner: Owner, wish: PortWish, port: int, addresses: list[str]) -> None:
        other = self._conflict(wish.proto, port, addresses)
        shown = _shown(addresses[0])
        if other is not None:
            raise Conflict(
                f"Bind for {shown}:{port} failed: port is already allocated"
                f" (container {other.name} holds it)"
            )
        try:
            self._hold(owner, wish.proto, port, addresses)
        except OSError as error:
            text = os.strerror(error.errno or 0).lower()
            what = f"{shown}:{port}:{owner.address}:{wish.port}/{wish.proto}"
            message = f"failed to bind host port for {what}: {text}"
            if error.errno != errno.EADDRINUSE:
                raise Internal(message) from error
            process = holders.find(wish.proto, port) if wish.low == wish.high else None
            raise Conflict(message + (f" ({process} holds it)" if process else "")) from error
        self._record(owner, wish.proto, port, addresses)

    def _addresses(self, host_ip: str, families: str) -> list[str]:
        chosen = host_ip or self._default
        if chosen:
            return [chosen]
        return [ANY_V4] * ("4" in families) + [ANY_V6] * ("6" in families and self._ipv6)

    def _candidates(self, wish: PortWish, address: str) -> Iterable[int]:
        if wish.low:
            return range(wish.low, wish.high + 1)
        low, high = ephemeral_range()
        begin = low + self._offset % (high - low + 1)
        last = self._cursor.get((address, wish.proto), begin - 1)
        start = last + 1 if low <= last < high else begin
        return itertools.chain(range(start, high + 1), range(low, start))

    def _conflict(self, proto: str, port: int, addresses: Iterable[str]) -> Owner | None:
        owners = self._taken.get((proto, port), {})
        for address in addresses:
            for other, owner in owners.items():
                if (":" in other) == (":" in address) and (
                    other == address or ANY_V4 in (other, address) or ANY_V6 in (other, address)
                ):
                    return owner
        return None

    def _record(self, owner: Owner, proto: str, port: int, addresses: Iterable[str]) -> None:
        owners = self._taken.setdefault((proto, port), {})
        self._ports_of.setdefault(owner.container_id, set()).add((proto, port))
        for address in addresses:
            owners[address] = owner

    def _hold(self, owner: Owner, proto: str, port: int, addresses: list[str]) -> None:
        """Bind `port`; the sockets stay open while the budget of descriptors lasts."""
        if proto not in _KINDS:
            return
        both = addresses == [ANY_V4, ANY_V6]
        bound: list[socket.socket] = []
        try:
            for address in [ANY_V6] if both else addresses:
                bound.append(_bind(proto, address, port, dual=both))
        except BaseException:
            for item in bound:
                item.close()
            raise
        for item in bound:
            if self._budget > 0:
                self._budget -= 1
                self._held.setdefault(owner.container_id, []).append(item)
            else:
                item.close()


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _bind(proto: str, address: str, port: int, *, dual: bool) -> socket.socket:
    """A bound socket. Connections that linger in TIME_WAIT do not keep a port from us.

    With SO_REUSEADDR the kernel refuses only when somebody listens; without it nobody can bind
    after us, so that is tried first.
    """
    try:
        return _bound(proto, address, port, dual=dual, reuse=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or proto != "tcp":
            raise
    return _bound(proto, address, port, dual=dual, reuse=True)


def _bound(proto: str, address: str, port: int, *, dual: bool, reuse: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, _KINDS[proto] | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if reuse:  # from now on nobody else may share it
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        made.close()
        raise
    return made


def ephemeral_range() -> tuple[int, int]:
    """The kernel's local port range, first and last; Docker's own when it cannot be read."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 49153, 65535
