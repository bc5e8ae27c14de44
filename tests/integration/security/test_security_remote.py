"""The API over TCP: refused without TLS, certificates, web pages of strangers, containers."""

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import descriptors, read_all
from engine_lab import ROOT, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

PING = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


# -- without TLS


@pytest.mark.parametrize(
    "flags", [[], ["--tls"], ["--tlsverify"], ["--tlsverify", "--tlscacert", "/nowhere"]]
)
def test_tcp_without_mutual_tls_is_refused(tmp_path: Path, flags: list[str]) -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-m", "naru.engine.main", "-H", f"tcp://127.0.0.1:{port}",
         "--data-root", f"{tmp_path}/d", "--exec-root", f"{tmp_path}/e",
         "--pidfile", f"{tmp_path}/p", "--config-file", "/dev/null", *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("narud: "), done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


@pytest.fixture(scope="module")
def open_port() -> Iterator[tuple[EngineLab, int]]:
    port = free_port()
    with engine_lab(36, "-H", f"tcp://0.0.0.0:{port}", "--insecure") as engine:
        engine.start()
        engine.make_busybox()
        yield engine, port


def first(sock: socket.socket) -> bytes:
    """The head of an answer, on a connection that may stay open."""
    said = b""
    while b"\r\n\r\n" not in said and (data := sock.recv(4096)):
        said += data
    return said


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        return read_all(sock)


HOSTS = {
    "localhost": 200, "127.0.0.1": 200, "[::1]": 200, "127.0.0.1:2375": 200, "10.1.2.3": 200,
    "evil.example": 403, "evil.example:2375": 403, "localhost.evil.example": 403,
    "127.0.0.1.evil.example": 403, "127.0.0.1.nip.io": 403, "localhost@evil.example": 403,
    "": 403, "127.0.0.1, evil.example": 403, "[::1].evil.example": 403, "2130706433x": 403,
    "evil.example#localhost": 403, "localhost\tevil": 403,
}  # fmt: skip


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_names_of_strangers_are_refused(open_port: tuple[EngineLab, int], host: str) -> None:
    """DNS rebinding: a stranger's name that resolves to us is no name of ours."""
    said = ask(open_port[1], PING.replace(b"localhost", host.encode()))
    assert int(said.split()[1]) == HOSTS[host], said[:200]


def test_a_request_without_host_is_refused(open_port: tuple[EngineLab, int]) -> None:
    for version in (b"1.0", b"1.1"):
        said = ask(open_port[1], b"GET /_ping HTTP/%b\r\nConnection: close\r\n\r\n" % version)
        assert int(said.split()[1]) in (400, 403), said[:200]


PAGES = {
    "other origin": b"Origin: http://evil.example",
    "null origin": b"Origin: null",
    "empty origin": b"Origin: ",
    "same name, other port": b"Origin: http://localhost:9999",
    "origin with our name inside": b"Origin: http://localhost.evil.example",
    "fetch": b"Sec-Fetch-Site: cross-site",
    "fetch of a neighbour": b"Sec-Fetch-Site: same-site",
}
CALLS = {
    "form": b"POST /containers/prune HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n",
    "read": b"GET /containers/json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
    "preflight": b"OPTIONS /containers/create HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
    "websocket": b"GET /containers/%b/attach/ws?stream=1&stdin=1 HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
}


@pytest.mark.parametrize("page", sorted(PAGES))
@pytest.mark.parametrize("call", sorted(CALLS))
def test_pages_of_strangers_are_refused(
    open_port: tuple[EngineLab, int], page: str, call: str
) -> None:
    """Cross-site POST and WebSocket, over TCP and over the UNIX socket behind a proxy."""
    lab, port = open_port
    head = CALLS[call].replace(b"%b", b"nobody") + PAGES[page] + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(head)
        said = first(sock)
    assert int(said.split()[1]) in (403, 404), said[:200]
    assert call == "preflight" or said.startswith(b"HTTP/1.1 403"), said[:200]
    assert b"access-control-allow" not in said.lower()
    if page.endswith("origin"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(lab.socket)
            sock.sendall(head)
            assert first(sock).startswith((b"HTTP/1.1 403", b"HTTP/1.1 404"))


def test_bodies_that_a_form_can_send_are_refused(open_port: tuple[EngineLab, int]) -> None:
    """Without Origin (an old browser): the types that a page may send unasked are not JSON."""
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"):
        body = b'{"Image":"busybox"}'
        said = ask(
            open_port[1],
            b"POST /containers/create HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body),
        )
        assert said.startswith(b"HTTP/1.1 400"), said[:200]


def test_hijacks_over_tcp_that_vanish_leave_nothing(open_port: tuple[EngineLab, int]) -> None:
    """What ends without a word is for TCP's own keep-alive, see `tune`."""
    lab, port = open_port
    box = lab.run("cat", OpenStdin=True, AttachStdin=True)
    before = len(descriptors(lab))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            sock.sendall(
                f"POST /containers/{box}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n"
                "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
            )
            assert b" 101 " in first(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: len(descriptors(lab)) <= before + 2, "all are closed")
    lab.remove_all()


# -- with certificates


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_ca(folder: Path, name: str) -> None:
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN={name}",
    )  # fmt: skip


def make_certificate(folder: Path, ca: str, name: str, days: str = "10") -> None:
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
    )  # fmt: skip
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
        "-CAcreateserial", "-out", f"{name}.pem", "-days", days, "-extfile", "ext",
    )  # fmt: skip


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineLab, int, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    try:
        make_ca(folder, "ca")
        make_ca(folder, "stranger-ca")
        make_certificate(folder, "ca", "server")
        make_certificate(folder, "ca", "client")
        make_certificate(folder, "stranger-ca", "stranger")
        make_certificate(folder, "ca", "expired", "-1")
        make_ca(folder, "self-signed")
    except FileNotFoundError:
        pytest.skip("this machine has no openssl to make certificates with")
    port = free_port()
    flags = (
        "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", f"{folder}/ca.pem",
        "--tlscert", f"{folder}/server.pem", "--tlskey", f"{folder}/server.key",
    )  # fmt: skip
    with engine_lab(37, *flags) as engine:
        yield engine.start(), port, folder


def greet(port: int, folder: Path, certificate: str | None) -> bytes:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if certificate is not None:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(PING)
        return sock.recv(4096)


def test_only_certificates_of_the_authority_get_in(mutual: tuple[EngineLab, int, Path]) -> None:
    lab, port, folder = mutual
    assert greet(port, folder, "client").startswith(b"HTTP/1.1 200")
    for certificate in (None, "stranger", "self-signed", "expired"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            assert not greet(port, folder, certificate), certificate
            raise ConnectionResetError
    assert lab.call("GET", "/_ping") == b"OK"
    assert greet(port, folder, "client").startswith(b"HTTP/1.1 200")


def test_plain_and_old_talk_to_a_tls_port_is_ended(mutual: tuple[EngineLab, int, Path]) -> None:
    lab, port, folder = mutual
    assert not ask(port, PING).startswith(b"HTTP/1.1 200")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)
    assert lab.call("GET", "/_ping") == b"OK"


def test_handshakes_that_never_end(mutual: tuple[EngineLab, int, Path]) -> None:
    """Clients that say nothing, or half a hello, are dropped, and hold nobody meanwhile."""
    lab, port, folder = mutual
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        slow = []
        for number in range(30):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            if number % 2:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            slow.append(sock)
        assert greet(port, folder, "client").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun < 3
        for sock in slow:
            assert not read_all(sock).startswith(b"HTTP/")
        assert time.monotonic() - begun < 14
    assert lab.call("GET", "/_ping") == b"OK"
    assert b"Traceback" not in lab.log.read_bytes()
