"""DNS messages: read, refused, written, aged, cut. What we write is read by a library not ours."""

import random
import struct

import dns.edns
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.rdatatype
import dns.reversename
import dns.rrset
import pytest

from naru.network.dns import message
from naru.network.dns.message import Malformed, Query, Reply


def asked(name: str = "Web.Net.", qtype: str = "A", **more: object) -> bytes:
    return dns.message.make_query(name, qtype, **more).to_wire()  # type: ignore[arg-type]


def query(data: bytes) -> Query:
    found = message.parse_query(data)
    assert isinstance(found, Query)
    return found


def read(body: bytes) -> dns.message.Message:
    return dns.message.from_wire(b"\x12\x34" + body)


def upstream(
    *records: str, rcode: int = 0, authority: tuple[str, ...] = (), name: str = "example.com."
) -> tuple[bytes, bytes]:
    """An answer, and the question section that it is to."""
    ask = dns.message.make_query(name, "A")
    reply = dns.message.make_response(ask)
    reply.set_rcode(rcode)
    for section, texts in ((reply.answer, records), (reply.authority, authority)):
        for text in texts:
            owner, ttl, kind, data = text.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return reply.to_wire(), ask.to_wire()[12:]


def test_a_question_is_read() -> None:
    found = query(asked())
    assert found.name == b"\x03web\x03net\0"
    assert found.question == b"\x03Web\x03Net\0\0\x01\0\x01"
    assert (found.qtype, found.qclass, found.size, found.edns) == (1, 1, 512, False)


@pytest.mark.parametrize(("payload", "size"), [(0, 512), (512, 512), (1232, 1232), (65535, 4096)])
def test_what_the_asker_can_take_is_read(payload: int, size: int) -> None:
    found = query(asked(use_edns=0, payload=payload, want_dnssec=True))
    assert (found.edns, found.dnssec, found.size, found.options) == (True, True, size, False)


def test_options_are_seen() -> None:
    cookie = dns.edns.GenericOption(10, b"12345678")
    assert query(asked(use_edns=0, options=[cookie])).options


HEAD = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
TAIL = b"\0\x01\0\x01"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", None),
        (HEAD[:11], None),
        (b"\x12\x34\x81" + HEAD[3:] + b"\x01a\0" + TAIL, None),
        (b"\x12\x34\x11" + HEAD[3:] + b"\x01a\0" + TAIL, message.NOTIMP),
        (HEAD, message.FORMERR),
        (HEAD + b"\x01a\0\0\x01\0", message.FORMERR),
        (HEAD + b"\x01a\0" + TAIL + b"x", message.FORMERR),
        (HEAD + b"\x01a\xc0\x0c" + TAIL, message.FORMERR),
        (HEAD + b"\x40" + b"a" * 64 + b"\0" + TAIL, message.FORMERR),
        (HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0" + TAIL, message.FORMERR),
        (HEAD[:5] + b"\x02" + HEAD[6:] + (b"\x01a\0" + TAIL) * 2, message.FORMERR),
        (HEAD[:7] + b"\x01" + HEAD[8:] + b"\x01a\0" + TAIL, message.FORMERR),
        (HEAD[:11] + b"\x01" + b"\x01a\0" + TAIL, message.FORMERR),
        (HEAD[:11] + b"\x02" + b"\x01a\0" + TAIL + OPT * 2, message.FORMERR),
        (HEAD[:11] + b"\x01" + b"\x01a\0" + TAIL + b"\x01b" + OPT, message.FORMERR),
        (HEAD[:11] + b"\x01" + b"\x01a\0" + TAIL + OPT[:6] + b"\x01" + OPT[7:], message.BADVERS),
    ],
)
def test_what_is_no_question_is_refused_or_ignored(data: bytes, answer: int | None) -> None:
    assert message.parse_query(data) == answer


def test_a_name_of_255_bytes_is_a_name() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(name) == 255
    assert query(HEAD + name + TAIL).name == name


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("web", b"\x03web\0"),
        ("Web.Net.", b"\x03web\x03net\0"),
        ("my_app-1", b"\x08my_app-1\0"),
        ("", None),
        ("a..b", None),
        (".a", None),
        ("a" * 64, None),
        (".".join(["a" * 63] * 4), None),
        ("é", b"\x02\xc3\xa9\0"),
    ],
)
def test_names_are_written(text: str, wire: bytes | None) -> None:
    assert message.encode_name(text) == wire


@pytest.mark.parametrize(
    "address", ["10.1.2.30", "fd00::1", "2001:db8:0:1:2:3:4:ffff", "255.0.0.1"]
)
def test_reverse_names_are_what_clients_ask(address: str) -> None:
    packed = dns.inet.inet_pton(dns.inet.af_for_address(address), address)
    wire = dns.reversename.from_address(address).to_wire()
    assert message.reverse_name(packed) == wire


def test_our_answers_are_read_by_others() -> None:
    body = message.answer(query(asked()), 0, (b"\x0a\0\0\x01", b"\x0a\0\0\x02"))
    reply = read(body)
    assert reply.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert [str(item) for item in reply.answer[0]] == ["10.0.0.1", "10.0.0.2"]
    assert (reply.answer[0].ttl, reply.edns) == (600, -1)
    assert reply.question[0].name.to_text() == "Web.Net."  # as it was spelt


def test_edns_is_answered_with_edns() -> None:
    reply = read(message.answer(query(asked(use_edns=0, want_dnssec=True)), message.SERVFAIL))
    assert (reply.edns, reply.payload, reply.rcode()) == (0, 4096, 2)
    assert reply.ednsflags & dns.flags.DO
    assert read(message.refusal(HEAD, message.BADVERS)).rcode() == 16
    assert read(message.refusal(HEAD, message.FORMERR)).rcode() == 1


SOA = "com. 900 SOA ns.com. root.com. 1 2 3 4 60"


@pytest.mark.parametrize(
    ("records", "authority", "rcode", "life"),
    [
        (("example.com. 300 A 1.2.3.4",), (), 0, 300),
        (("example.com. 300 CNAME b.com.", "b.com. 20 A 1.2.3.4"), (), 0, 20),
        (("example.com. 0 A 1.2.3.4",), (), 0, 0),
        (("example.com. 999999 A 1.2.3.4",), (), 0, 86400),
        ((), (SOA,), 3, 60),
        ((), (SOA,), 0, 60),
        ((), (SOA.replace("900", "30"),), 3, 30),
        ((), (SOA.replace(" 60", " 7200").replace("900", "7200"),), 3, 900),
        ((), (), 3, 0),
        ((), (), 0, 0),
        ((), (SOA,), 2, 0),
        ((), ("com. 900 NS ns.com.",), 0, 0),
    ],
)
def test_answers_live_as_long_as_they_say(
    records: tuple[str, ...], authority: tuple[str, ...], rcode: int, life: int
) -> None:
    wire, question = upstream(*records, authority=authority, rcode=rcode)
    reply = message.parse_reply(wire, question)
    assert (reply.life_s, reply.rcode, reply.truncated) == (life, rcode, False)


def test_truncated_answers_are_not_kept() -> None:
    wire, question = upstream("example.com. 300 A 1.2.3.4")
    reply = message.parse_reply(wire[:2] + bytes((wire[2] | 2,)) + wire[3:], question)
    assert (reply.truncated, reply.life_s) == (True, 0)


def test_the_time_to_live_runs_down() -> None:
    wire, question = upstream("example.com. 300 CNAME b.com.", "b.com. 20 A 1.2.3.4")
    reply = message.parse_reply(wire, question)
    assert message.aged(wire, reply.ttls, 0) is wire
    later = dns.message.from_wire(message.aged(wire, reply.ttls, 21))
    assert [item.ttl for item in later.answer] == [279, 0]


def test_edns_of_an_answer_has_no_time_to_live() -> None:
    ask = dns.message.make_query("example.com.", "A", use_edns=0)
    reply = dns.message.make_response(ask)
    reply.answer.append(dns.rrset.from_text("example.com.", 300, "IN", "A", "1.2.3.4"))
    question = b"\x07example\x03com\0\0\x01\0\x01"
    found = message.parse_reply(reply.to_wire(), question)
    assert (len(found.ttls), found.life_s) == (1, 300)


def test_the_spelling_of_the_question_does_not_matter() -> None:
    wire, _ = upstream("example.com. 300 A 1.2.3.4")
    own = query(asked("EXAMPLE.com."))
    assert message.parse_reply(wire, own.question).life_s == 300
    body = message.addressed(wire, own)
    assert read(body).question[0].name.to_text() == "EXAMPLE.com."
    assert len(body) == len(wire) - 2


@pytest.mark.parametrize("change", ["name", "type", "class", "question", "query", "short", "cut"])
def test_an_answer_to_something_else_is_none(change: str) -> None:
    wire, question = upstream("example.com. 300 A 1.2.3.4")
    wrong = {
        "name": wire[:13] + b"f" + wire[14:],
        "type": wire[:26] + b"\x1c" + wire[27:],
        "class": wire[:28] + b"\x03" + wire[29:],
        "question": wire[:5] + b"\0" + wire[6:],
        "query": wire[:2] + b"\x01" + wire[3:],
        "short": wire[:11],
        "cut": wire[:-1],
    }[change]
    with pytest.raises(Malformed):
        message.parse_reply(wrong, question)


def test_a_refusal_may_be_bare() -> None:
    reply = message.parse_reply(b"\x12\x34\x81\x01" + b"\0" * 8, b"\x01a\0\0\x01\0\x01")
    assert (reply.bare, reply.rcode, reply.life_s) == (True, 1, 0)


def test_pointers_that_loop_are_harmless() -> None:
    question = b"\x01a\0\0\x01\0\x01"
    head = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0"
    loop = b"\xc0\x13\0\x01\0\x01\0\0\0\x09\0\x04abcd"  # its name points at itself
    assert message.parse_reply(head + question + loop, question).life_s == 9


def test_a_strange_soa_is_refused() -> None:
    question = b"\x01a\0\0\x01\0\x01"
    head = b"\x12\x34\x81\x83\0\x01\0\0\0\x01\0\0"
    soa = b"\xc0\x0c\0\x06\0\x01\0\0\0\x09\0\x04\0\0\0\0"
    with pytest.raises(Malformed):
        message.parse_reply(head + question + soa, question)


def test_what_does_not_fit_is_cut_at_a_record() -> None:
    addresses = tuple(struct.pack(">I", n) for n in range(100))
    for limit in (512, 513, 530, 1232):
        for edns in (-1, 0):
            own = query(asked(use_edns=edns))
            body = message.shortened(message.answer(own, 0, addresses), limit)
            reply = read(body)
            assert len(body) + 2 <= limit
            assert reply.flags & dns.flags.TC
            assert 25 < len(reply.answer[0]) < 80
            assert reply.edns == edns
    short = message.answer(own, 0, addresses[:3])
    assert message.shortened(short, 512) is short


def test_no_bytes_break_the_reading() -> None:
    """100,000 messages made wrong at random: read, refused or ignored, never an error."""
    rng = random.Random(5)
    wire, question = upstream("example.com. 300 CNAME b.com.", "b.com. 20 A 1.2.3.4")
    negative, _ = upstream(authority=(SOA,), rcode=3)
    seeds = [asked(), asked(use_edns=0), wire, negative]
    for _ in range(100_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            byte = rng.choice((0, 1, 12, 63, 64, 192, 255, rng.randrange(256)))
            data[rng.randrange(len(data))] = byte
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        packet = bytes(data)
        found = message.parse_query(packet)
        if isinstance(found, Query):
            assert len(message.answer(found, 0)) <= len(packet) + 11
        elif found is not None:
            assert len(message.refusal(packet, found)) <= 21
        try:
            reply = message.parse_reply(packet, question)
        except Malformed:
            continue
        assert isinstance(reply, Reply)
        assert len(message.aged(packet, reply.ttls, 5)) == len(packet)
        if not reply.bare:
            assert len(message.shortened(packet[2:], 60)) <= 58
