"""The light HTTP client: bodies, chunks, lines, kept connections, early answers, hijacks."""

import json
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from naru.client.engine import ApiError, Engine, Unreachable
from naru.client.wire import decode, encode, encode_indented, filters, query
from naru.http.client import HttpClient, ProtocolError

if TYPE_CHECKING:
    from naru.http.client import Stream


def serving(*answers: bytes) -> tuple[Callable[[], "Stream"], list[bytes], list[threading.Thread]]:
    """A dialler whose n-th connection gets the n-th answer once a request's end has come."""
    heard: list[bytes] = []
    threads: list[threading.Thread] = []
    left = list(answers)

    def dial() -> "Stream":
        ours, theirs = socket.socketpair()
        answer = left.pop(0)

        def serve() -> None:
            with theirs:
                data = b""
                for part in answer.split(b"<next>"):
                    while b"\r\n\r\n" not in data:
                        more = theirs.recv(65536)
                        if not more:
                            return
                        data += more
                    heard.append(data)
                    data = b""
                    theirs.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return ours

    return dial, heard, threads


def client(*answers: bytes) -> tuple[HttpClient, list[bytes]]:
    dial, heard, _ = serving(*answers)
    return HttpClient(dial, {"Host": "x"}), heard


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_body_with_a_length() -> None:
    http, heard = client(OK)
    answer = http.request("GET", "/a?b=1")
    assert (answer.status, answer.read()) == (200, b"ok")
    assert heard == [b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n"]
    http.close()


def test_chunks_with_extensions_and_trailers() -> None:
    body = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
    http, _ = client(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert http.request("GET", "/").read() == b"abc0123456789"
    http.close()


def test_lines_are_whole_though_chunks_cut_them() -> None:
    body = b"5\r\n{1}\n{\r\n4\r\n2}\n3\r\n0\r\n\r\n"
    http, _ = client(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert list(http.request("GET", "/").lines()) == [b"{1}", b"{2}", b"3"]
    http.close()


def test_a_connection_is_kept_and_used_again() -> None:
    http, heard = client(OK + b"<next>" + OK)
    assert http.request("GET", "/1").read() == b"ok"
    assert http.request("GET", "/2").read() == b"ok"
    assert len(heard) == 2
    http.close()


def test_a_kept_connection_that_died_is_dialled_again() -> None:
    http, heard = client(OK, OK)
    assert http.request("GET", "/1").read() == b"ok"
    assert http.request("GET", "/2").read() == b"ok"
    assert len(heard) == 2
    http.close()


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    http, _ = client(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert http.request("GET", "/").read() == b"all of it"
    http.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
    ],
)
def test_a_body_that_is_cut_short_is_an_error(answer: bytes) -> None:
    http, _ = client(answer)
    response = http.request("GET", "/")
    with pytest.raises(ProtocolError):
        response.read()
    response.close()
    http.close()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_an_error(answer: bytes) -> None:
    http, _ = client(answer)
    with pytest.raises(ProtocolError):
        http.request("GET", "/")


def test_a_line_break_never_leaves_a_header() -> None:
    http, _ = client(OK)
    with pytest.raises(ValueError, match="line break"):
        http.request("GET", "/a\r\nX: y")


def test_an_answer_before_the_body_was_sent() -> None:
    http, _ = client(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    answer = http.request("PUT", "/", body=(b"x" * 65536 for _ in range(64)))
    assert (answer.status, answer.read()) == (400, b"no")


def test_what_came_with_the_head_of_a_hijack_is_kept() -> None:
    http, _ = client(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly")
    peer = http.request("POST", "/", {"Connection": "Upgrade", "Upgrade": "tcp"}).take_over()
    assert peer.pending()
    assert peer.recv() == b"early"
    assert peer.recv() == b""
    peer.close()


def engine(*answers: bytes, version: str | None = None) -> tuple[Engine, list[bytes]]:
    dial, heard, _ = serving(*answers)
    return Engine("unix:///x", dial, version), heard


@pytest.mark.parametrize(
    ("theirs", "agreed"), [("1.51", "1.51"), ("1.60", "1.51"), ("1.41", "1.41"), ("1.9", "1.24")]
)
def test_the_older_version_is_agreed_on(theirs: str, agreed: str) -> None:
    ping = f"HTTP/1.1 200 OK\r\nApi-Version: {theirs}\r\nContent-Length: 0\r\n\r\n".encode()
    api, heard = engine(ping + b"<next>HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
    assert api.get("/x") == []
    assert heard[1].startswith(f"GET /v{agreed}/x HTTP/1.1".encode())
    api.close()


def test_the_engines_words_are_told() -> None:
    body = b'{"message":"No such container: x"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    api, _ = engine(head + body, version="1.51")
    with pytest.raises(ApiError) as caught:
        api.get("/containers/x/json")
    assert caught.value.message == "Error response from daemon: No such container: x"
    assert caught.value.status == 404
    api.close()


def test_an_engine_that_is_not_there() -> None:
    def dial() -> "Stream":
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(Unreachable, match="Cannot connect to the Docker daemon at unix:///x"):
        Engine("unix:///x", dial).get("/info")


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, true, "\\u00e9\\ud83d\\ude00"]}', " [] \n", '"x"', "-1e3"]
)
def test_json_comes_as_the_json_module_would_have_it(text: str) -> None:
    assert decode(text) == json.loads(text)
    assert json.loads(encode(decode(text))) == json.loads(text)
    assert encode_indented(decode(text)) == json.dumps(
        json.loads(text), indent=4, ensure_ascii=False
    )


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{} x", "nope", '{"a" 1}'])
def test_broken_json(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_queries() -> None:
    assert query({"a": 1, "b": None, "c": True, "d": False, "e": ["x y", "&"], "f": "é/"}) == (
        "?a=1&c=1&d=0&e=x%20y&e=%26&f=%C3%A9%2F"
    )
    assert query({}) == ""
    assert filters({"b": ["2", "1"], "a": ["x"]}) == '{"a":{"x":true},"b":{"1":true,"2":true}}'
    assert filters({}) is None


def test_the_host_header_names_a_tcp_engine() -> None:
    ping = b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 0\r\n\r\n"
    dial, heard, _ = serving(ping + b"<next>" + OK)
    api = Engine("tcp://10.0.0.1:2376", dial)
    api.call("GET", "/x").read()
    assert b"\r\nHost: 10.0.0.1:2376\r\n" in heard[0]
    api.close()
