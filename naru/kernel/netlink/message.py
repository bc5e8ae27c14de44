"""Route netlink messages as bytes: attributes, requests and answers. Pure.

Spec: netlink(7), rtnetlink(7). Numbers are in the machine's byte order, addresses in the network's.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x10

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_U16 = struct.Struct("=H")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an answer; `body` begins behind the netlink header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def attribute(number: int, payload: bytes) -> bytes:
    size = 4 + len(payload)
    return _ATTRIBUTE.pack(size, number) + payload + b"\0" * (-size % 4)


def nested(number: int, *attributes: bytes) -> bytes:
    return attribute(number | _NESTED, b"".join(attributes))


def u8(number: int, value: int) -> bytes:
    return attribute(number, bytes((value,)))


def u16(number: int, value: int) -> bytes:
    return attribute(number, _U16.pack(value))


def u32(number: int, value: int) -> bytes:
    return attribute(number, _U32.pack(value))


def text(number: int, value: str) -> bytes:
    return attribute(number, value.encode() + b"\0")


def link_header(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    """struct ifinfomsg."""
    return _LINK.pack(family, 0, index, flags, change)


def address_header(family: int, prefix: int, index: int, flags: int = 0, scope: int = 0) -> bytes:
    """struct ifaddrmsg."""
    return _ADDRESS.pack(family, prefix, flags, scope, index)


def route_header(
    family: int, prefix: int, *, table: int = 0, protocol: int = 0, scope: int = 0, kind: int = 0
) -> bytes:
    """struct rtmsg."""
    return _ROUTE.pack(family, prefix, 0, 0, table, protocol, scope, kind, 0)


def request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    size = _HEADER.size + len(body)
    header = _HEADER.pack(size, kind, flags | NLM_F_REQUEST, sequence, 0)
    return header + body + b"\0" * (-size % 4)


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. A broken tail ends the iteration."""
    position = 0
    while position + _HEADER.size <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
        if size < _HEADER.size or position + size > len(data):
            return
        yield Message(kind, flags, sequence, data[position + _HEADER.size : position + size])
        position += size + (-size % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Attribute number → payload of `data` from `start` on; the last of equal numbers wins."""
    found: dict[int, bytes] = {}
    position = start
    while position + 4 <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, position)
        if size < 4 or position + size > len(data):
            break
        found[number & _TYPE_MASK] = data[position + 4 : position + size]
        position += size + (-size % 4)
    return found


def error_of(message: Message) -> tuple[int, str]:
    """The errno of an NLMSG_ERROR (0: an acknowledgement) and the kernel's own words, if any."""
    code = -int(struct.unpack_from("=i", message.body)[0])
    size = int(_U32.unpack_from(message.body, 4)[0]) if len(message.body) >= 8 else 0
    capped = bool(message.flags & 0x100)
    start = 4 + _HEADER.size + (0 if capped else max(0, size - _HEADER.size) + (-size % 4))
    if message.flags & 0x200 and start < len(message.body):
        words = attributes(message.body, start).get(1, b"")
        return code, words.rstrip(b"\0").decode(errors="replace")
    return code, ""


def parse_link(body: bytes) -> tuple[int, int, dict[int, bytes]]:
    """(index, flags, attributes) of an ifinfomsg."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    return index, flags, attributes(body, _LINK.size)


def parse_address(body: bytes) -> tuple[int, int, int, int, dict[int, bytes]]:
    """(family, prefix, scope, index, attributes) of an ifaddrmsg."""
    family, prefix, _, scope, index = _ADDRESS.unpack_from(body)
    return family, prefix, scope, index, attributes(body, _ADDRESS.size)


def parse_route(body: bytes) -> tuple[int, int, int, int, int, dict[int, bytes]]:
    """(family, prefix, table, protocol, kind, attributes) of an rtmsg."""
    family, prefix, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    return family, prefix, table, protocol, kind, attributes(body, _ROUTE.size)
