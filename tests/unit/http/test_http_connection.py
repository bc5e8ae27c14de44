"""Dialogues with a connection over a real socket pair of the kernel."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from naru.base.tasks import TaskRegistry
from naru.http.chunked import ChunkedDecoder
from naru.http.connection import Limits, tune
from naru.http.encode import HeadEncoder
from naru.http.message import Answer, Duplex, Hijack, Request, Response, Stream, Writer
from naru.http.server import Listener, Server

GET = b"GET %b HTTP/1.1\r\nHost: d\r\n\r\n"
DEADLINE_S = 5.0
PIECES = [bytes([number]) * size for number, size in enumerate((1, 65535, 65536, 0, 3_000_001, 7))]


class App:
    """What the server under test does, by path; and what happened to it."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self.release = asyncio.Event()

    def handle(self, request: Request) -> Response | Coroutine[Any, Any, Answer]:
        if request.path == "/now":
            return Response(200, b"now")
        return self.later(request)

    async def later(self, request: Request) -> Answer:
        match request.path:
            case "/echo":
                body = b""
                while request.body is not None and (data := await request.body.read()):
                    body += data
                return Response(200, body)
            case "/ignore":
                return Response(400, b"no")
            case "/slow":
                await self.release.wait()
                self.finished.set()
                return Response(200, b"slow")
            case "/ticks":
                return Stream(self.ticks)
            case "/pieces":
                return Stream(self.pieces)
            case "/flood":
                return Stream(self.flood)
            case "/raw":
                return Hijack(self.upper, 101 if request.upgrade else 200)
        return Response(404)

    async def ticks(self, out: Writer) -> None:
        try:
            await out.write(b"tick")
            await self.release.wait()
            await out.write(b"tock")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def pieces(self, out: Writer) -> None:
        for piece in PIECES:
            await out.write(piece)

    async def flood(self, out: Writer) -> None:
        while True:
            await out.write(bytes(65536))

    async def upper(self, duplex: Duplex) -> None:
        try:
            while data := await duplex.read():
                await duplex.write(data.upper())
            await duplex.write(b"END")
            if self.release.is_set():
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


Case = Callable[["Bench"], Awaitable[None]]


class Bench:
    def __init__(self, path: str, app: App, server: Server) -> None:
        self.path, self.app, self.server = path, app, server

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def ask(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Everything that the server says until it closes."""
        reader, writer = await self.open()
        writer.write(data)
        if half_close:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), DEADLINE_S)
        finally:
            writer.close()


def play(folder: Path, case: Case, limits: Limits | None = None) -> None:
    async def main() -> None:
        app, tasks = App(), TaskRegistry()
        server = Server(app.handle, HeadEncoder(b"Server: t\r\n"), tasks, limits or Limits())
        path = str(folder / "s")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen(64)
        server.listen(Listener(sock))
        try:
            async with asyncio.timeout(30):
                await case(Bench(path, app, server))
        finally:
            await server.shutdown(0.2)
            await tasks.drain(1)
        assert server.open_connections == 0
        assert len(tasks) == 0

    asyncio.run(main())


def test_requests_one_after_the_other_and_pipelined(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        reader, writer = await bench.open()
        for _ in range(3):
            writer.write(GET % b"/now")
            assert (await reader.readuntil(b"now")).startswith(b"HTTP/1.1 200 OK\r\nServer: t\r\n")
        writer.write(GET % b"/now" + GET % b"/echo" + GET % b"/now")
        said = await reader.readuntil(b"now")
        said += await reader.readuntil(b"now")
        assert said.count(b"HTTP/1.1 200") == 3
        writer.close()

    play(tmp_path, case)


def test_pieces_of_any_size_come_in_chunks(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        said = await bench.ask(b"GET /pieces HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        head, _, body = said.partition(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        decoder = ChunkedDecoder()
        parts, rest = decoder.feed(body)
        assert (b"".join(parts), rest, decoder.done) == (b"".join(PIECES), b"", True)

    play(tmp_path, case)


def test_body_by_length_and_in_chunks_then_the_next_request(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        reader, writer = await bench.open()
        writer.write(
            b"POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello" + GET % b"/now"
        )
        await reader.readuntil(b"\r\n\r\nhello")
        await reader.readuntil(b"now")
        writer.write(b"POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab")
        await writer.drain()
        writer.write(b"c\r\n0\r\n\r\n" + GET % b"/now")
        await reader.readuntil(b"\r\n\r\nabc")
        await reader.readuntil(b"now")
        writer.close()

    play(tmp_path, case)


def test_continue_is_said_when_the_body_is_wanted(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        head = b"POST %b HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        reader, writer = await bench.open()
        writer.write(head % b"/echo")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        await reader.readuntil(b"\r\n\r\nhi")
        writer.write(head % b"/ignore")
        assert (await reader.readuntil(b"no")).startswith(b"HTTP/1.1 400")
        writer.close()

    play(tmp_path, case)


@pytest.mark.parametrize("upgrade", [b"Connection: Upgrade\r\nUpgrade: tcp\r\n", b""])
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_hijack_keeps_bytes_that_came_with_the_head(
    tmp_path: Path, upgrade: bytes, body: bytes
) -> None:
    async def case(bench: Bench) -> None:
        length = b"Content-Length: %d\r\n" % len(body)
        head = b"POST /raw HTTP/1.1\r\nHost: d\r\n" + upgrade + length + b"\r\n" + body
        said = await bench.ask(head + b"early", half_close=True)
        status = b"101 UPGRADED" if upgrade else b"200 OK"
        assert said == b"HTTP/1.1 " + status + b"\r\n\r\nEARLYEND"

    play(tmp_path, case)


def test_hijacked_client_that_closes_after_its_half_close_is_noticed(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        bench.app.release.set()
        reader, writer = await bench.open()
        writer.write(b"POST /raw HTTP/1.1\r\nHost: d\r\n\r\n")
        writer.write_eof()
        await reader.readuntil(b"END")
        assert not bench.app.cancelled.is_set()
        writer.close()
        await asyncio.wait_for(bench.app.cancelled.wait(), DEADLINE_S)

    play(tmp_path, case)


def test_stream_is_chunked_and_ends_with_its_client(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        reader, writer = await bench.open()
        writer.write(GET % b"/ticks")
        assert b"Transfer-Encoding: chunked" in await reader.readuntil(b"4\r\ntick\r\n")
        writer.close()
        await asyncio.wait_for(bench.app.cancelled.wait(), DEADLINE_S)
        bench.app.release.set()
        said = await bench.ask(b"GET /ticks HTTP/1.0\r\n\r\n")
        assert said.endswith(b"\r\n\r\nticktock")

    play(tmp_path, case)


def test_a_change_is_finished_though_its_client_is_gone(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        _, writer = await bench.open()
        writer.write(b"POST /slow HTTP/1.1\r\nHost: d\r\n\r\n")
        await writer.drain()
        writer.close()
        await bench.ask(b"GET /now HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        bench.app.release.set()
        await asyncio.wait_for(bench.app.finished.wait(), DEADLINE_S)

    play(tmp_path, case)


def test_a_client_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        stuck = socket.socket(socket.AF_UNIX)
        stuck.connect(bench.path)
        stuck.sendall(GET % b"/flood")
        reader, writer = await bench.open()
        for _ in range(50):
            writer.write(GET % b"/now")
            await asyncio.wait_for(reader.readuntil(b"now"), DEADLINE_S)
        writer.close()
        stuck.close()

    play(tmp_path, case)


def test_broken_requests_are_answered_and_closed(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        assert (await bench.ask(b"BAD\r\n\r\n")).startswith(b"HTTP/1.1 400")
        long = b"GET / HTTP/1.1\r\nHost: d\r\nX: " + b"x" * 5000
        assert (await bench.ask(long)).startswith(b"HTTP/1.1 431")
        chunk = b"POST /echo HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        assert b"200" not in await bench.ask(chunk)

    play(tmp_path, case, Limits(head_bytes=4096, discard_deadline_s=0.2))


def test_slow_heads_end_at_their_deadline(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        assert await bench.ask(b"") == b""
        assert (await bench.ask(b"GET / HT")).startswith(b"HTTP/1.1 408")
        reader, writer = await bench.open()
        writer.write(GET % b"/now")
        await reader.readuntil(b"now")
        writer.write(b"GET ")
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).startswith(b"HTTP/1.1 408")
        writer.close()

    play(tmp_path, case, Limits(head_deadline_s=0.1, discard_deadline_s=0.1))


def test_caps_on_connections_are_told_with_503(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        first, second = await bench.open(), await bench.open()
        for reader, writer in (first, second):
            writer.write(GET % b"/now")
            await reader.readuntil(b"now")
        assert (await bench.ask(b"")).startswith(b"HTTP/1.1 503")
        first[1].close()
        second[1].write(GET % b"/now")
        await second[0].readuntil(b"now")
        ask = b"GET /now HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
        assert b"200" in await bench.ask(ask)
        second[1].close()

    play(tmp_path, case, Limits(connections_per_peer=2))


def test_shutdown_lets_a_change_finish_and_ends_streams(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        change, stream = await bench.open(), await bench.open()
        change[1].write(b"POST /slow HTTP/1.1\r\nHost: d\r\n\r\n")
        stream[1].write(GET % b"/ticks")
        await stream[0].readuntil(b"tick\r\n")
        ending = asyncio.ensure_future(bench.server.shutdown(5))  # noqa: TID251 - a test's own task
        await asyncio.wait_for(bench.app.cancelled.wait(), DEADLINE_S)
        bench.app.release.set()
        said = await asyncio.wait_for(change[0].read(), DEADLINE_S)
        assert b"Connection: close" in said and said.endswith(b"slow")
        await ending
        for _, writer in (change, stream):
            writer.close()

    play(tmp_path, case)


@pytest.mark.parametrize("turns", range(6))
def test_shutdown_while_a_client_is_let_in(tmp_path: Path, turns: int) -> None:
    async def case(bench: Bench) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(bench.path)
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(bench.server.shutdown(1), DEADLINE_S)
            client.settimeout(DEADLINE_S)
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""

    play(tmp_path, case)


def test_clients_that_vanish_are_asked_for() -> None:
    with socket.socket(socket.AF_INET) as sock:
        tune(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        interval = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        count = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    assert idle + interval * count <= 120
