"""What the kernel tells about changes of links, addresses and nftables: netlink multicast.

A subscription is a non-blocking socket for the event loop's `add_reader`; `read` drains it. When
the kernel had to drop messages (ENOBUFS) that is an event too: look at everything.

Spec: linux/rtnetlink.h, linux/netfilter/nf_tables.h.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 4 << 20

_ROUTE, _NETFILTER = 0, 12
_GROUP_LINK, _GROUP_IPV4_ADDRESS = 1, 5
_GROUP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10

_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS, _DELETE_ADDRESS = 16, 17, 20, 21
_IFLA_IFNAME, _IFLA_MASTER = 3, 10
_TABLE_NAME, _TABLE_USERDATA = 1, 6

NEW_TABLE, DELETE_TABLE, NEW_GENERATION = 0, 2, 15

_HEADER = struct.Struct("=IHHII")
_LINK_HEADER = struct.Struct("=BxHiII")
_ADDRESS_HEADER = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages were dropped: the reader knows nothing any more."""


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link appeared, changed or went. `master`: index of its bridge, 0 for none."""

    deleted: bool
    index: int
    name: str
    master: int
    up: bool


@dataclass(frozen=True, slots=True)
class AddressEvent:
    """An IPv4 address of the link `index` appeared or went."""

    deleted: bool
    index: int


@dataclass(frozen=True, slots=True)
class TableEvent:
    """Something of an nftables table changed. `kind`: NFT_MSG_*; `port`: who asked for it.

    `userdata` is the table's own (its comment), of NEW_TABLE only.
    """

    kind: int
    port: int
    table: str
    userdata: bytes = b""


class Subscription:
    """One multicast socket of the calling thread's network namespace."""

    def __init__(self, protocol: int, groups: tuple[int, ...]) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        try:
            self._socket.bind((0, 0))
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def messages(self, limit: int = 64) -> Iterator[tuple[int, int, memoryview] | Lost]:
        """(type, port, payload) of what waits now, `limit` datagrams at most."""
        for _ in range(limit):
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield Lost()
                continue
            view, offset = memoryview(data), 0
            while offset + _HEADER.size <= len(view):
                length, kind, _, _, port = _HEADER.unpack_from(view, offset)
                if length < _HEADER.size:
                    break
                yield kind, port, view[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3


class LinkMonitor(Subscription):
    """Links and IPv4 addresses of the host."""

    def __init__(self) -> None:
        super().__init__(_ROUTE, (_GROUP_LINK, _GROUP_IPV4_ADDRESS))

    def read(self) -> Iterator[LinkEvent | AddressEvent | Lost]:
        for message in self.messages():
            if isinstance(message, Lost):
                yield message
                continue
            kind, _, body = message
            if kind in (_NEW_LINK, _DELETE_LINK):
                family, _, index, flags, _ = _LINK_HEADER.unpack_from(body)
                if family != 0:  # a bridge tells of its ports in messages of its own
                    continue
                attributes = _attributes(body[_LINK_HEADER.size :], (_IFLA_IFNAME, _IFLA_MASTER))
                name = bytes(attributes.get(_IFLA_IFNAME, b"")).rstrip(b"\0").decode()
                master = int.from_bytes(attributes.get(_IFLA_MASTER, b""), "little")
                yield LinkEvent(kind == _DELETE_LINK, index, name, master, bool(flags & 1))
            elif kind in (_NEW_ADDRESS, _DELETE_ADDRESS):
                yield AddressEvent(kind == _DELETE_ADDRESS, _ADDRESS_HEADER.unpack_from(body)[4])


class TableMonitor(Subscription):
    """Every change of every nftables table; each transaction ends with NEW_GENERATION."""

    def __init__(self) -> None:
        super().__init__(_NETFILTER, (_GROUP_NFTABLES,))

    def read(self) -> Iterator[TableEvent | Lost]:
        for message in self.messages():
            if isinstance(message, Lost):
                yield message
                continue
            kind, port, body = message
            if kind >> 8 != _SUBSYSTEM_NFTABLES:
                continue
            kind &= 0xFF
            if kind == NEW_GENERATION:
                yield TableEvent(kind, port, "")
                continue
            wanted = (_TABLE_NAME, _TABLE_USERDATA) if kind == NEW_TABLE else (_TABLE_NAME,)
            attributes = _attributes(body[4:], wanted)
            name = bytes(attributes.get(_TABLE_NAME, b"")).rstrip(b"\0").decode()
            yield TableEvent(kind, port, name, bytes(attributes.get(_TABLE_USERDATA, b"")))


def _attributes(body: memoryview, wanted: tuple[int, ...]) -> dict[int, memoryview]:
    found: dict[int, memoryview] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(body) and len(found) < len(wanted):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        if kind & 0x3FFF in wanted:
            found[kind & 0x3FFF] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
