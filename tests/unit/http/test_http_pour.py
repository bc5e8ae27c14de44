"""Bodies that the kernel moves into a pipe, and what ends that early."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from naru.base.tasks import TaskRegistry
from naru.http.connection import Limits
from naru.http.encode import HeadEncoder
from naru.http.message import Answer, Request, Response
from naru.http.server import Listener, Server
from naru.http.streams import ClientGone

DEADLINE_S = 10.0
PUT = b"PUT /%b HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n"


class Sink:
    """Takes bodies through a pipe; `poured` counts the times that the kernel moved the rest."""

    def __init__(self) -> None:
        self.got = b""
        self.poured = 0
        self.waiting = asyncio.Event()
        self.gone = asyncio.Event()

    def handle(self, request: Request) -> Response | Coroutine[Any, Any, Answer]:
        return self.take(request) if request.body is not None else Response(200, b"next")

    async def take(self, request: Request) -> Answer:
        assert request.body is not None
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writing, False)
        if request.path == "/broken":
            os.close(reading)
            reader = None
        else:
            reader = threading.Thread(target=self._read, args=(reading,))
            reader.start()
        try:
            while data := await request.body.read():
                if reader is not None:
                    assert os.write(writing, data) == len(data)
                self.waiting.set()
                self.poured += await request.body.pour(writing)
        except BrokenPipeError:
            return Response(400, b"broken")
        except ClientGone:
            self.gone.set()
            raise
        finally:
            os.close(writing)
            if reader is not None:
                await asyncio.to_thread(reader.join)
        return Response(200, b"taken")

    def _read(self, fd: int) -> None:
        with open(fd, "rb", buffering=0) as file:
            self.got = file.readall() or b""


class Bench:
    def __init__(self, sink: Sink, server: Server, client: socket.socket) -> None:
        self.sink, self.server = sink, server
        self._client = client

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._client, data)

    async def hear(self, end: bytes) -> bytes:
        """What the server says up to `end`, or to the end of the connection."""
        said = b""
        while not said.endswith(end):
            with contextlib.suppress(ConnectionError):
                data = await asyncio.get_running_loop().sock_recv(self._client, 1 << 16)
                if data:
                    said += data
                    continue
            break
        return said

    def hang_up(self) -> None:
        self._client.close()


def play(folder: Path, case: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        sink, tasks = Sink(), TaskRegistry()
        server = Server(sink.handle, HeadEncoder(b"Server: t\r\n"), tasks, Limits())
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(folder / "s"))
        sock.listen(8)
        server.listen(Listener(sock))
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(folder / "s"))
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await case(Bench(sink, server, client))
            finally:
                await server.shutdown(0.2)
                await tasks.drain(1)
        assert server.open_connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("size", [2, 70_000, 5_000_001])
def test_the_rest_is_poured_and_the_next_request_is_read(tmp_path: Path, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    async def case(bench: Bench) -> None:
        for number in (1, 2):
            await bench.send(PUT % (b"whole", size) + body[:1])
            await bench.sink.waiting.wait()
            bench.sink.waiting.clear()
            await bench.send(body[1:] + b"GET /now HTTP/1.1\r\nHost: d\r\n\r\n")
            said = await bench.hear(b"next")
            assert said.count(b"HTTP/1.1 200") == 2
            assert b"taken" in said
            assert bench.sink.got == body
            assert bench.sink.poured == number

    play(tmp_path, case)


def test_chunks_are_not_poured(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        await bench.send(
            b"PUT /c HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        await bench.sink.waiting.wait()
        await bench.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await bench.hear(b"taken")).startswith(b"HTTP/1.1 200")
        assert (bench.sink.got, bench.sink.poured) == (b"abcde", 0)

    play(tmp_path, case)


def test_a_client_that_goes_amid_the_body(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        await bench.send(PUT % (b"cut", 100) + b"a")
        await bench.sink.waiting.wait()
        await bench.send(b"b")
        bench.hang_up()
        await bench.sink.gone.wait()

    play(tmp_path, case)


def test_a_pipe_that_nobody_reads_ends_in_an_answer(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        await bench.send(PUT % (b"broken", 5) + b"a")
        await bench.sink.waiting.wait()
        await bench.send(b"bcde")
        assert (await bench.hear(b"broken")).startswith(b"HTTP/1.1 400")

    play(tmp_path, case)


def test_the_server_ends_while_it_waits_for_the_body(tmp_path: Path) -> None:
    async def case(bench: Bench) -> None:
        await bench.send(PUT % (b"wait", 100) + b"a")
        await bench.sink.waiting.wait()
        bench.server.abort_all()
        assert await bench.hear(b"never") == b""
        await bench.sink.gone.wait()

    play(tmp_path, case)
