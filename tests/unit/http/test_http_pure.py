"""The parts of HTTP that do no I/O: heads, bodies, frames of stdio and of WebSockets."""

import pytest

from naru.base.errors import InvalidParameter
from naru.http import stdcopy, websocket
from naru.http.chunked import ChunkedDecoder, LengthDecoder
from naru.http.encode import HeadEncoder
from naru.http.head import parse_head
from naru.http.message import BadMessage, Peer, Request, Response, Stream


def test_head_is_parsed_with_lower_case_names() -> None:
    head = parse_head(b"POST /a%20b?x=1&y HTTP/1.1\r\nHost: d\r\nX-Thing: 1\r\nx-thing: 2\r\n\r\n")
    assert (head.method, head.path, head.query_text) == ("POST", "/a%20b", "x=1&y")
    assert head.headers == {b"host": b"d", b"x-thing": b"1, 2"}
    assert head.keep_alive and not head.upgrade and head.length == 0


@pytest.mark.parametrize(
    "lines",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        b"GET / HTTP/1.1\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\n\nGET /x HTTP/1.1",
        b"GET x HTTP/1.1\r\nHost: a",
        b"NOPE / HTTP/1.1\r\nHost: a",
        b"",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(lines: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_head(lines + b"\r\n\r\n")


def test_upgrade_is_seen_with_and_without_a_body() -> None:
    upgrade = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    assert parse_head(upgrade + b"\r\n").upgrade
    head = parse_head(upgrade + b"Content-Length: 2\r\n\r\n")
    assert head.upgrade and head.length == 2


def test_length_decoder_gives_back_what_follows() -> None:
    decoder = LengthDecoder(5)
    assert decoder.feed(b"abc") == ([b"abc"], b"")
    assert decoder.feed(b"deGET") == ([b"de"], b"GET")
    assert decoder.done


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_chunked_decoder_takes_any_cut(step: int) -> None:
    wire = b"5;ext=1\r\nhello\r\n06\r\n world\r\n0\r\nTrailer: x\r\n\r\nNEXT"
    decoder, payload, rest = ChunkedDecoder(), b"", b""
    for at in range(0, len(wire), step):
        piece = wire[at : at + step]
        if decoder.done:
            rest += piece
            continue
        parts, rest = decoder.feed(piece)
        payload += b"".join(parts)
    assert decoder.done and payload == b"hello world" and rest == b"NEXT"


@pytest.mark.parametrize(
    "wire", [b"-5\r\n", b"0x5\r\n", b"5\r\nhelloX\r\n", b"\r\n", b"f" * 5000, b"g\r\n"]
)
def test_chunked_decoder_refuses_what_is_unclear(wire: bytes) -> None:
    with pytest.raises(BadMessage):
        ChunkedDecoder().feed(wire)


def test_frames_of_stdio_survive_any_cut() -> None:
    wire = stdcopy.frame(1, b"out") + stdcopy.frame(2, b"") + stdcopy.frame(2, b"error")
    assert wire[:8] == b"\x01\0\0\0\0\0\0\x03"
    reader, found = stdcopy.FrameReader(), []
    for at in range(len(wire)):
        found += reader.feed(wire[at : at + 1])
    assert found == [(1, b"out"), (2, b""), (2, b"error")] and reader.pending_bytes == 0


@pytest.mark.parametrize(
    "wire", [b"\x09\0\0\0\0\0\0\1x", b"\x01\1\0\0\0\0\0\1x", b"\x01\0\0\0\xff\xff\xff\xff"]
)
def test_a_wrong_frame_is_refused(wire: bytes) -> None:
    with pytest.raises(InvalidParameter):
        list(stdcopy.FrameReader().feed(wire))


def _masked(opcode: int, payload: bytes, fin: int = 0x80) -> bytes:
    mask = b"\x01\x02\x03\x04"
    size = (
        bytes([0x80 | len(payload)])
        if len(payload) < 126
        else b"\xfe" + len(payload).to_bytes(2, "big")
    )
    return bytes([fin | opcode]) + size + mask + websocket.unmask(payload, mask)


def test_websocket_frames() -> None:
    wire = _masked(websocket.TEXT, b"hello") + _masked(websocket.BINARY, b"x" * 300)
    reader, found = websocket.FrameReader(), []
    for at in range(len(wire)):
        found += reader.feed(wire[at : at + 1])
    assert found == [(websocket.TEXT, b"hello"), (websocket.BINARY, b"x" * 300)]
    assert websocket.encode(websocket.BINARY, b"a" * 200)[:4] == b"\x82\x7e\x00\xc8"


@pytest.mark.parametrize(
    "wire", [b"\x81\x05hello", b"\xf1\x80\0\0\0\0", b"\x89\xfe\x01\x00", b"\x82\xff" + b"\x7f" * 8]
)
def test_websocket_refuses_broken_frames(wire: bytes) -> None:
    with pytest.raises(websocket.Broken):
        list(websocket.FrameReader().feed(wire))


def test_websocket_handshake_is_the_one_of_the_rfc() -> None:
    headers = {
        b"upgrade": b"websocket", b"connection": b"Upgrade", b"sec-websocket-version": b"13",
        b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    request = Request("GET", "/", "", headers, Peer("unix"))
    answer = websocket.accept_headers(request)
    assert answer is not None and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    headers[b"sec-websocket-version"] = b"8"
    assert websocket.accept_headers(request) is None


def test_encoder_writes_no_body_where_none_belongs() -> None:
    encoder = HeadEncoder(b"Server: t\r\n")
    whole = encoder.whole(Response(204), head_only=False, close=False)
    assert whole.startswith(b"HTTP/1.1 204 No Content\r\nServer: t\r\n")
    assert b"Content-Length" not in whole
    head = encoder.whole(Response(200, b"OK"), head_only=True, close=True)
    assert head.endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\n")


def test_encoder_of_streams() -> None:
    async def nothing(_: object) -> None:
        return

    head = HeadEncoder(b"").stream(Stream(nothing), chunked=True, close=False)
    assert head.endswith(b"Transfer-Encoding: chunked\r\n\r\n")


def test_a_query_with_too_many_fields_is_refused() -> None:
    request = Request("GET", "/", "a&" * 2000, {}, Peer("unix"))
    with pytest.raises(BadMessage):
        request.query()
