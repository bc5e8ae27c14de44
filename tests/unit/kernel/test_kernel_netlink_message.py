"""The bytes of netlink messages, against what the kernel's headers say."""

import socket
import struct

from naru.kernel.netlink import message as m


def test_attributes_are_padded_and_come_back() -> None:
    data = m.text(3, "eth0") + m.u32(10, 7) + m.nested(18, m.text(1, "veth"))
    assert len(data) % 4 == 0
    assert data[:4] == struct.pack("=HH", 9, 3)
    found = m.attributes(data)
    assert found[3] == b"eth0\0"
    assert found[10] == struct.pack("=I", 7)
    assert m.attributes(found[18])[1] == b"veth\0"


def test_broken_attributes_end_quietly() -> None:
    whole = m.u32(1, 5)
    assert m.attributes(whole + b"\x03\x00\x01\x00") == {1: struct.pack("=I", 5)}
    assert m.attributes(whole + b"\xff\x00\x02\x00") == {1: struct.pack("=I", 5)}
    assert m.attributes(b"\0\0") == {}


def test_several_messages_in_one_datagram() -> None:
    data = m.request(16, 0, 1, b"abc") + m.request(20, m.NLM_F_ACK, 2, b"defg")
    first, second = m.messages(data)
    assert (first.kind, first.sequence, first.body) == (16, 1, b"abc")
    assert (second.kind, second.flags, second.body) == (20, m.NLM_F_ACK | m.NLM_F_REQUEST, b"defg")
    assert list(m.messages(data[:-2]))[0] == first
    assert len(list(m.messages(data[:-2]))) == 1
    assert list(m.messages(b"\0" * 16)) == []


def test_headers_have_the_kernels_sizes() -> None:
    assert len(m.link_header(5, 1, 1)) == 16
    assert len(m.address_header(socket.AF_INET, 24, 5)) == 8
    assert len(m.route_header(socket.AF_INET, 0)) == 12


def test_parsing_what_was_packed() -> None:
    index, flags, found = m.parse_link(m.link_header(5, 1, 1) + m.text(3, "x"))
    assert (index, flags, found) == (5, 1, {3: b"x\0"})
    family, prefix, scope, index, _ = m.parse_address(m.address_header(2, 24, 9, scope=253))
    assert (family, prefix, scope, index) == (2, 24, 253, 9)
    parsed = m.parse_route(m.route_header(2, 16, table=254, protocol=3, kind=1))
    assert parsed == (2, 16, 254, 3, 1, {})


def _error(code: int, flags: int, original: bytes, words: bytes = b"") -> m.Message:
    header = struct.pack("=IHHII", 16 + len(original), 16, 0, 1, 0)
    body = struct.pack("=i", -code) + header + (b"" if flags & 0x100 else original) + words
    return m.Message(m.NLMSG_ERROR, flags, 1, body)


def test_acknowledgement_and_error() -> None:
    assert m.error_of(_error(0, 0x100, b"")) == (0, "")
    assert m.error_of(_error(17, 0x100, b"original")) == (17, "")


def test_the_kernels_words() -> None:
    words = m.text(1, "Device is up")
    assert m.error_of(_error(16, 0x300, b"original", words)) == (16, "Device is up")
    assert m.error_of(_error(16, 0x200, b"original", words)) == (16, "Device is up")
