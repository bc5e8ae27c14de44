"""The sockets that narud listens on: made, or taken over from systemd.

A UNIX socket is root's and one group's, 0660: whoever may write to it is root on this host.
"""

import contextlib
import errno
import grp
import logging
import os
import socket
import stat
from collections.abc import Mapping, Sequence

from naru.engine import systemd
from naru.engine.config import HANDED_OVER, Config, ConfigError, split_tcp
from naru.engine.tls import server_context
from naru.http.server import Listener

log = logging.getLogger("naru.engine")

_BACKLOG = 1024


def open_listeners(config: Config, environ: Mapping[str, str]) -> list[Listener]:
    """All of `config.hosts`. Raises: ConfigError, with nothing left open."""
    handed = systemd.take_sockets(environ)
    if handed and not any(host.startswith(HANDED_OVER) for host in config.hosts):
        raise ConfigError(
            "systemd handed over a socket that no host names: add fd:// to hosts, or disable "
            "naru.socket"
        )
    opened: list[Listener] = []
    try:
        for host in config.hosts:
            kind, _, rest = host.partition("://")
            if kind == "unix":
                opened.append(Listener(unix_socket(rest, socket_group(config.group))))
            elif kind == "tcp":
                context = server_context(config) if config.tls or config.tlsverify else None
                opened += [Listener(sock, context) for sock in tcp_sockets(*split_tcp(rest))]
            else:
                opened += _from_systemd(rest, handed, config)
    except BaseException:
        for listener in opened:
            listener.sock.close()
        raise
    return opened


def _from_systemd(
    wanted: str, handed: Sequence[tuple[str, socket.socket]], config: Config
) -> list[Listener]:
    if not handed:
        raise ConfigError("fd://: no sockets were handed over by systemd (LISTEN_FDS)")
    chosen = [sock for name, sock in handed if wanted in ("", "*", name)]
    if wanted.isdigit():
        chosen = [sock for _, sock in handed if sock.fileno() == int(wanted)]
    if not chosen:
        raise ConfigError(f"fd://{wanted}: no socket of this name or number was handed over")
    listeners = []
    for sock in chosen:
        if sock.family == socket.AF_UNIX:
            listeners.append(Listener(sock))
            continue
        if not config.tlsverify and not config.insecure:
            raise ConfigError(
                f"fd://{wanted}: refusing a TCP socket without tlsverify (or --insecure)"
            )
        tls = server_context(config) if config.tls or config.tlsverify else None
        listeners.append(Listener(sock, tls))
    return listeners


def socket_group(name: str | None) -> int:
    """The group's number: `name`, else `docker`, else `naru`, else root. Raises: ConfigError."""
    if name is not None:
        if name.isdigit():
            return int(name)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError as error:
            raise ConfigError(f"group {name} does not exist") from error
    for candidate in ("docker", "naru"):
        with contextlib.suppress(KeyError):
            return grp.getgrnam(candidate).gr_gid
    return 0


def unix_socket(path: str, group: int) -> socket.socket:
    """A listening socket at `path`; a dead one in its place is replaced.

    Raises: ConfigError when another process listens there, or something else lies there.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    _clear_away(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on unix://{path}: {error}") from error
    finally:
        os.umask(before)
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, group)
    os.chmod(path, 0o660)
    sock.listen(_BACKLOG)
    return sock


def _clear_away(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"cannot listen on unix://{path}: there is something else of that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise ConfigError(f"cannot listen on unix://{path}: {error}") from error
        else:
            raise ConfigError(f"cannot listen on unix://{path}: another process listens there")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def tcp_sockets(address: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address that `address` means. Raises: ConfigError."""
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
        for family, kind, proto, _, where in dict.fromkeys(found):
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)
            opened.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
            sock.listen(_BACKLOG)
    except OSError as error:
        for sock in opened:
            sock.close()
        raise ConfigError(f"cannot listen on tcp://{address}:{port}: {error}") from error
    return opened


def remove_socket_files(config: Config) -> None:
    for host in config.hosts:
        if host.startswith("unix://"):
            with contextlib.suppress(OSError):
                os.unlink(host.removeprefix("unix://"))
