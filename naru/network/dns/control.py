"""What narud and the name server say to each other on the control socket. Pure.

A frame is four bytes of length and JSON; each request is answered by one frame, in order.

    {"do": "serve", "client": CLIENT, "zones": ZONES}     with descriptors: UDP, TCP, namespace
    {"do": "update", "clients": [CLIENT…], "zones": ZONES}
    {"do": "withdraw", "ids": [ID…]}      {"do": "list"}      {"do": "end"}

CLIENT is `encode`d; ZONES maps a zone's key to `[network name, [[own names, aliases, addresses,
listed]…]]`. The key says what is in the zone, so one that is known is not sent again; zones that
no client has are forgotten on both sides. A server that speaks another PROTOCOL is replaced.
"""

import json
import struct

PROTOCOL = 1
FRAME_MAX = 64 << 20
_LENGTH = struct.Struct(">I")

Fields = dict[str, object]


def frame(fields: Fields) -> bytes:
    body = json.dumps(fields, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def length(data: bytes | bytearray) -> int | None:
    """How many bytes the frame that `data` begins with has in all, None when too few are there.

    Raises: ValueError when it is too long.
    """
    if len(data) < _LENGTH.size:
        return None
    size = int(_LENGTH.unpack_from(data)[0])
    if size > FRAME_MAX:
        raise ValueError(f"a frame of {size} bytes")
    return _LENGTH.size + size


def parse(data: bytes | bytearray) -> Fields:
    """The fields of one whole frame. Raises: ValueError."""
    fields = json.loads(bytes(data[_LENGTH.size :]))
    if not isinstance(fields, dict):
        raise ValueError("a frame that is no object")
    return fields
