"""DNS messages as bytes: the little of them that a resolver on loopback reads and writes. Pure.

Queries and upstreams' answers are walked from end to end before anything is done with them, and
forwarded as they are: records are never decoded, so types nobody heard of pass. A name is kept as
on the wire, in lower case: `b"\\x03web\\x00"`. Compression pointers end a name and are never
followed, so they cannot loop. See docs/adr/0009-dns-messages.md.

Spec: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (negative answers).
"""

import struct

A, PTR, SOA, AAAA, OPT, IXFR, AXFR = 1, 12, 6, 28, 41, 251, 252
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, TC, RD, RA, CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0010
DO = 0x8000
TTL_S = 600
PLAIN_SIZE, OWN_SIZE = 512, 4096

_HEADER = struct.Struct(">HHHHHH")
_PAIR = struct.Struct(">HH")
_RECORD = struct.Struct(">HHIH")
_LONG = struct.Struct(">I")
_NAME_MAX = 255


class Malformed(ValueError):
    """The bytes are no DNS message."""


class Query:
    """One question, and what its asker can take. `size`: bytes of the largest answer over UDP."""

    __slots__ = (
        "dnssec",
        "edns",
        "flags",
        "name",
        "options",
        "qclass",
        "qtype",
        "question",
        "size",
    )

    def __init__(self, data: bytes, flags: int, end: int) -> None:
        self.flags = flags
        self.question = data[12:end]
        self.name = data[12 : end - 4].lower()
        self.qtype, self.qclass = _PAIR.unpack_from(data, end - 4)
        self.size = PLAIN_SIZE
        self.edns = self.dnssec = self.options = False


class Reply:
    """An upstream's answer. `ttls`: where its records' times to live stand; `life_s`: how long it
    may be kept, 0 for not at all."""

    __slots__ = ("bare", "life_s", "rcode", "truncated", "ttls", "wire")

    def __init__(
        self, wire: bytes, rcode: int, truncated: bool, ttls: tuple[int, ...], life_s: int
    ) -> None:
        self.wire = wire
        self.bare = wire[4:6] == b"\0\0"  # a refusal without the question
        self.rcode = rcode
        self.truncated = truncated
        self.ttls = ttls
        self.life_s = life_s


def encode_name(text: str) -> bytes | None:
    """`Web.Net.` → its wire form in lower case; None when it cannot be asked for."""
    labels = text.rstrip(".").encode().lower().split(b".")
    wire = b"".join(bytes((len(label),)) + label for label in labels if len(label) < 64) + b"\0"
    if len(wire) > _NAME_MAX or not all(0 < len(label) < 64 for label in labels):
        return None
    return wire


def reverse_name(packed: bytes) -> bytes:
    """The name below in-addr.arpa or ip6.arpa that stands for an address."""
    if len(packed) == 4:
        labels = [b"%d" % byte for byte in reversed(packed)]
        tail = b"\x07in-addr\x04arpa\0"
    else:
        labels = [b"%x" % digit for byte in reversed(packed) for digit in (byte & 15, byte >> 4)]
        tail = b"\x03ip6\x04arpa\0"
    return b"".join(bytes((len(label),)) + label for label in labels) + tail


def parse_query(data: bytes) -> Query | int | None:
    """A question; or the code to refuse it with; or None: not to be answered at all."""
    if len(data) < 12:
        return None
    _, flags, questions, answers, authorities, extras = _HEADER.unpack_from(data)
    if flags & QR:
        return None
    if flags & 0x7800:
        return NOTIMP
    if questions != 1 or answers or authorities:
        return FORMERR
    try:
        end = _plain_name_end(data) + 4
        if end > len(data):
            return FORMERR
        query = Query(data, flags, end)
        rcode, end = _read_extras(data, end, extras, query)
    except Malformed:
        return FORMERR
    return query if rcode == NOERROR and end == len(data) else rcode or FORMERR


def _plain_name_end(data: bytes) -> int:
    """After the question's name, which has no pointers."""
    position, limit = 12, min(len(data), 12 + _NAME_MAX)
    while position < limit:
        length = data[position]
        position += 1 + length
        if length == 0:
            return position
        if length > 63:
            break
    raise Malformed("name")


def _read_extras(data: bytes, position: int, count: int, query: Query) -> tuple[int, int]:
    for _ in range(count):
        root = position < len(data) and data[position] == 0
        start = skip_name(data, position)
        kind, size, ttl, length = _record(data, start)
        position = start + 10 + length
        if kind != OPT:
            continue
        if query.edns or not root:
            return FORMERR, position
        query.edns, query.options = True, length > 0
        query.dnssec = bool(ttl & DO)
        query.size = min(max(size, PLAIN_SIZE), OWN_SIZE)
        if ttl >> 16 & 0xFF:
            return BADVERS, position
    return NOERROR, position


def skip_name(data: bytes, position: int) -> int:
    """The position after a name. Raises: Malformed."""
    length, size = 0, len(data)
    begin = position
    while position < size:
        length = data[position]
        if length == 0:
            return position + 1
        if length >= 0xC0:
            if position + 2 > size:
                break
            return position + 2
        if length > 63 or position - begin > _NAME_MAX:
            break
        position += 1 + length
    raise Malformed("name")


def _record(data: bytes, position: int) -> tuple[int, int, int, int]:
    """Type, class, TTL and length of the record whose name ends at `position`."""
    if position + 10 > len(data):
        raise Malformed("record")
    fields: tuple[int, int, int, int] = _RECORD.unpack_from(data, position)
    if position + 10 + fields[3] > len(data):
        raise Malformed("record")
    return fields


def parse_reply(data: bytes, question: bytes) -> Reply:
    """An upstream's answer to `question`. One without any question is taken when it is a refusal.

    Raises: Malformed when it is no answer to that.
    """
    if len(data) < 12:
        raise Malformed("header")
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    rcode = flags & 15
    if not flags & QR or flags & 0x7800:
        raise Malformed("no answer")
    if questions == 0 and rcode not in (NOERROR, NXDOMAIN):
        return Reply(data, rcode, False, (), 0)
    end = 12 + len(question)
    if questions != 1 or data[12:end].lower() != question.lower():
        raise Malformed("question")
    ttls: list[int] = []
    least, negative = 1 << 31, None
    position = end
    for section, count in enumerate(counts):
        for _ in range(count):
            start = skip_name(data, position)
            kind, _, ttl, length = _record(data, start)
            position = start + 10 + length
            if kind == OPT:
                continue
            ttls.append(start + 4)
            least = min(least, 0 if ttl >> 31 else ttl)
            if section == 1 and kind == SOA:
                negative = _soa_minimum(data, start + 10, position)
    truncated = bool(flags & TC)
    return Reply(data, rcode, truncated, tuple(ttls), _life(flags, counts[0], least, negative))


def _soa_minimum(data: bytes, position: int, end: int) -> int:
    position = skip_name(data, skip_name(data, position)) + 16
    if position + 4 != end:
        raise Malformed("SOA")
    value: int = _LONG.unpack_from(data, position)[0]
    return value


_LIFE_MAX_S, _NEGATIVE_MAX_S = 86_400, 900


def _life(flags: int, answers: int, least: int, negative: int | None) -> int:
    if flags & TC:
        return 0
    if flags & 15 == NOERROR and answers:
        return min(least, _LIFE_MAX_S)
    if flags & 15 in (NOERROR, NXDOMAIN) and negative is not None:
        return min(least, negative, _NEGATIVE_MAX_S)
    return 0


def aged(wire: bytes, ttls: tuple[int, ...], seconds: int) -> bytes:
    """`wire` with every time to live less by `seconds`."""
    if not seconds:
        return wire
    changed = bytearray(wire)
    for position in ttls:
        left = max(0, _LONG.unpack_from(changed, position)[0] - seconds)
        _LONG.pack_into(changed, position, left)
    return bytes(changed)


def addressed(wire: bytes, query: Query) -> bytes:
    """An answer for `query`'s asker, without the id: the question as it was spelt."""
    end = 12 + len(query.question)
    if wire[12:end] == query.question:
        return wire[2:]
    return wire[2:12] + query.question + wire[end:]


def shortened(body: bytes, limit: int) -> bytes:
    """An answer without id that fits `limit` with it: whole records, and the mark of truncation."""
    if len(body) + 2 <= limit:
        return body
    data = b"\0\0" + body
    _, flags, _, *counts = _HEADER.unpack_from(data)
    position = skip_name(data, 12) + 4
    option, kept, full = b"", [0, 0, 0], False
    starts = position
    for section, count in enumerate(counts):
        for _ in range(count):
            start = skip_name(data, position)
            kind, _, _, length = _record(data, start)
            end = start + 10 + length
            if kind == OPT:
                option = data[position:end]
            elif not full and end <= limit - 11 and not option:
                kept[section] += 1
                starts = end
            else:
                full = True
            position = end
    header = _HEADER.pack(0, flags | TC, 1, kept[0], kept[1], kept[2] + bool(option))
    if len(option) > 11:
        option = option[:9] + b"\0\0"
    return (header + data[12:starts] + option)[2:]


def answer(query: Query, rcode: int, rdatas: tuple[bytes, ...] = ()) -> bytes:
    """Our own answer, without the id: `rdatas` of the type that was asked for."""
    flags = QR | RA | query.flags & (RD | CD) | rcode & 15
    header = _HEADER.pack(0, flags, 1, len(rdatas), 0, query.edns)[2:]
    records = b"".join(
        b"\xc0\x0c" + _RECORD.pack(query.qtype, IN, TTL_S, len(rdata)) + rdata for rdata in rdatas
    )
    option = b"\0" + _RECORD.pack(OPT, OWN_SIZE, query.dnssec * DO, 0) if query.edns else b""
    return header + query.question + records + option


def refusal(data: bytes, rcode: int) -> bytes:
    """The answer, without the id, to a message that cannot be read further than its header."""
    flags = QR | RA | _PAIR.unpack_from(data)[1] & (0x7800 | RD) | rcode & 15
    if rcode > 15:
        option = b"\0" + _RECORD.pack(OPT, OWN_SIZE, rcode >> 4 << 24, 0)
        return _HEADER.pack(0, flags, 0, 0, 0, 1)[2:] + option
    return _HEADER.pack(0, flags, 0, 0, 0, 0)[2:]
