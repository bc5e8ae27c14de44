"""Where an engine is, other than a plain UNIX socket: TCP, with or without TLS.

Apart from the hot path: `socket` and `ssl` are imported only when a host asks for them.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from naru.base.errors import InvalidParameter
from naru.client.tls import TlsStream
from naru.http.client import dial_unix

if TYPE_CHECKING:
    from collections.abc import Callable

    from naru.http.client import Stream

PLAIN_PORT = 2375
TLS_PORT = 2376
CONNECT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files, empty when there is none; `verify`: the peer must prove its name."""

    ca: str
    cert: str
    key: str
    verify: bool


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Raises: InvalidParameter when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if files.ca:
            context.load_verify_locations(files.ca)
        elif files.verify:
            context.load_default_certs()
        if files.cert or files.key:
            context.load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(path for path in (files.ca, files.cert, files.key) if path)
        raise InvalidParameter(f"cannot use the TLS files {named}: {error}") from error
    return context


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """Host and port of `h:1`, `[::1]:1`, `h`, `:1`. Raises: InvalidParameter."""
    if address.startswith("["):
        name, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = address.partition(":")
    if port and not port.isdigit():
        raise InvalidParameter(f"Invalid bind address format: {address}")
    return name or "127.0.0.1", int(port) if port else default_port


def dialer(host: str, tls: TlsFiles | None) -> tuple[str, Callable[[], Stream]]:
    """`host` in its full form, and what connects to it. Raises: InvalidParameter."""
    scheme, found, address = host.partition("://")
    if not found:
        scheme, address = "tcp", host
    if scheme == "unix":
        return host, lambda: dial_unix(address)
    if scheme not in ("tcp", "http", "https"):
        raise InvalidParameter(
            f"unable to parse the host `{host}`: naru speaks unix:// and tcp:// only"
        )
    address = address.rstrip("/")
    name, port = split_address(address, TLS_PORT if tls else PLAIN_PORT)
    context = tls_context(tls) if tls else None

    def dial() -> Stream:
        sock = socket.create_connection((name, port), CONNECT_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream: Stream = sock if context is None else TlsStream(sock, context, name)
        stream.settimeout(None)
        return stream

    return f"tcp://{address}", dial
