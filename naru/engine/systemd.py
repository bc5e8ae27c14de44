"""systemd's two small protocols: readiness notification and socket activation.

Spec: sd_notify(3), sd_listen_fds(3). Nothing happens when systemd did not start us.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

FIRST_FD = 3


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Tell the service manager `READY=1`, `STOPPING=1`, `RELOADING=1` …"""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto(state.encode(), address)


def count_sockets(environ: Mapping[str, str]) -> int:
    """How many listening sockets were handed to this process."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    return int(environ.get("LISTEN_FDS", "0") or 0)


def take_sockets(environ: Mapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The listening sockets that were handed to this process, with their names."""
    count = count_sockets(environ)
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for index in range(count):
        number = FIRST_FD + index
        os.set_inheritable(number, False)
        name = names[index] if index < len(names) else ""
        found.append((name, socket.socket(fileno=number)))
    return found
