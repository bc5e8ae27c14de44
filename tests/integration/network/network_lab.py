"""A host of its own for a test: network and mount namespaces, an outside world, an engine.

`@in_lab` runs the test's body in a fresh process inside new namespaces, so nothing of this
machine's network, firewall or other engines is seen or touched. `outside` is a namespace behind
the lab's only other interface, wan0: 203.0.113.1 here, 203.0.113.2 there (fd00:99::1 and ::2).
"""

import asyncio
import contextlib
import functools
import inspect
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from naru.kernel import host, netns
from naru.kernel.netlink.client import ConfigureLink, Netlink
from naru.kernel.nft import Nft
from naru.kernel.spawn import Spawner
from naru.network.model import Attachment, AttachRequest, NetworkOptions
from naru.network.service import NetworkService
from naru.spec.engine.container_config import (
    EndpointIPAMConfig,
    EndpointSettings,
    PortBinding,
)
from naru.spec.engine.network import IPAM, IPAMConfig, NetworkCreate
from naru.storage.metadata import Database

HOST, OUTSIDE = "203.0.113.1", "203.0.113.2"
HOST6, OUTSIDE6 = "fd00:99::1", "fd00:99::2"
STRANGER, STRANGER6 = "203.0.113.3", "fd00:99::3"
DEADLINE_S = 2.0
Asked = Mapping[str, EndpointSettings]


class Lab:
    """Lives in the test's own process; engines are made by `engine`."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.netlink = Netlink()
        self.outside = os.path.join(root, "outside")
        self.events: list[tuple[str, str, str]] = []

    def build(self) -> None:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        at_once = "net/ipv6/conf/default/accept_dad"  # a real wan0 has been up for long
        netns.create_netns(self.outside, [(at_once, "0")])
        fd = netns.open_netns(self.outside)
        host.set_sysctl(at_once, "0")
        self.netlink.create_veth("wan0", None, fd, "wan0")
        host.set_sysctl(at_once, "1")
        here = ConfigureLink(name="wan0", addresses=((HOST, 24), (HOST6, 64)))
        self.netlink.configure(None, here, loopback=True)
        there = ConfigureLink(
            name="wan0",
            addresses=((OUTSIDE, 24), (STRANGER, 24), (STRANGER6, 64), (OUTSIDE6, 64)),
            routes=(("172.16.0.0/12", HOST), ("fd00:7::/32", HOST6)),
        )
        self.netlink.configure(fd, there, loopback=True)
        os.close(fd)
        ask(OUTSIDE6, 9)  # refused: the neighbours know each other now

    @contextlib.asynccontextmanager
    async def engine(
        self,
        name: str = "a",
        bip: str = "",
        keep: dict[str, Attachment] | None = None,
        problems: int = 0,
        honour: bool = False,
    ) -> AsyncIterator[NetworkService]:
        """A NetworkService with its own root; entering reconciles, leaving closes."""
        root = os.path.join(self.root, name)
        os.makedirs(root, exist_ok=True)
        db = Database.open(os.path.join(root, "db"))
        options = NetworkOptions(root, key=name, bip=bip, honour_host_firewall=honour)
        nft = Nft()
        spawner = Spawner()
        service = NetworkService(
            db, self.netlink, nft, spawner, options, lambda *event: self.events.append(event[:3])
        )
        await service.open()
        told = await service.reconcile(keep or {})
        assert len(told) == problems, told
        try:
            yield service
        finally:
            await service.close()
            await db.close()
            spawner.close()
            nft.close()


async def make(network: NetworkService, name: str, *subnets: str, **fields: object) -> str:
    """A network of the user's; `fields` are of POST /networks/create. Its id."""
    configs = [IPAMConfig(subnet=subnet) for subnet in subnets]
    ipam = IPAM(config=configs) if configs else None
    body = {"ipam": ipam, "enable_ipv6": any(":" in subnet for subnet in subnets)} | fields
    return await network.create(NetworkCreate(name=name, **body))  # type: ignore[arg-type]


def endpoint(
    ip: str = "", *, ip6: str = "", priority: int = 0, **fields: object
) -> EndpointSettings:
    """What a container asks of one network."""
    ipam = EndpointIPAMConfig(ipv4_address=ip, ipv6_address=ip6) if ip or ip6 else None
    return EndpointSettings(ipam_config=ipam, gw_priority=priority, **fields)  # type: ignore[arg-type]


def on(*names: str, **asked: EndpointSettings) -> Asked:
    """Endpoints on these networks, with or without wishes."""
    return {name: EndpointSettings() for name in names} | asked


def container_id(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def request(
    name: str, *ports: str, mode: str = "bridge", on: Asked | None = None, **more: object
) -> AttachRequest:
    """Ports as `-p` writes them: `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]:8080:80`.

    `on`: the networks and what is asked of each; the mode's alone when it is left out.
    """
    bindings: dict[str, list[PortBinding] | None] = {}
    for port in ports:
        rest, _, target = port.rpartition(":")
        host_ip, _, host_port = rest.rpartition(":")
        key = target if "/" in target else f"{target}/tcp"
        bindings.setdefault(key, []).append(
            PortBinding(host_ip=host_ip.strip("[]"), host_port=host_port)
        )
    endpoints = {mode: EndpointSettings()} if on is None else on
    return AttachRequest(
        container_id=container_id(name),
        name=name,
        network_mode=mode,
        endpoints=endpoints,
        port_bindings=bindings,
        **more,  # type: ignore[arg-type]
    )


@contextlib.contextmanager
def serving(
    pin: str | None, port: int = 80, kind: int = socket.SOCK_STREAM, *, ipv6: bool = False
) -> Iterator[None]:
    """In the sandbox: a server that answers with the address of whoever asks; `ipv6`: too."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::" if ipv6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen(512)
        return made

    server = make() if pin is None else netns.run_in_netns(pin, make)

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                if kind == socket.SOCK_STREAM:
                    peer, address = server.accept()
                    with peer:
                        peer.sendall(address[0].removeprefix("::ffff:").encode())
                else:
                    data, address = server.recvfrom(1500)
                    if not data:
                        return
                    server.sendto(address[0].removeprefix("::ffff:").encode(), address)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(0.2)


def ask(
    address: str,
    port: int,
    *,
    pin: str | None = None,
    udp: bool = False,
    timeout_s: float = 1.0,
    source: str = "",
) -> str | None:
    """What a server says to a client in `pin` (None: the lab's host); None when nobody answers.

    A UDP client is connected: it hears only the address that it asked.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM

    def make() -> socket.socket:
        return socket.socket(family, kind)

    with make() if pin is None else netns.run_in_netns(pin, make) as client:
        client.settimeout(timeout_s)
        try:
            if source:
                client.bind((source, 0))
            client.connect((address, port))
            if udp:
                client.send(b"?")
            return client.recv(100).decode() or None
        except OSError:
            return None


def unheard(address: str, port: int, pin: str | None = None, source: str = "") -> bool:
    """Whether nobody answers there, though it is waited for a little."""
    return ask(address, port, pin=pin, timeout_s=0.15, source=source) is None


def pings(address: str, pin: str | None = None, timeout_s: float = 1.0) -> bool:
    """Whether an ICMP echo is answered."""
    ipv6 = ":" in address

    def make() -> socket.socket:
        if ipv6:
            return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    echo = struct.pack("!BBHHH", 128 if ipv6 else 8, 0, 0, 77, 1)
    if not ipv6:
        total = sum(struct.unpack("!4H", echo))
        echo = struct.pack("!BBHHH", 8, 0, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF, 77, 1)
    end = time.monotonic() + timeout_s
    with make() if pin is None else netns.run_in_netns(pin, make) as client:
        try:
            client.sendto(echo, (address, 0))
            while True:
                client.settimeout(max(end - time.monotonic(), 0.001))
                data, peer = client.recvfrom(1500)
                kind = data[0] if ipv6 else data[20]
                if peer[0] == address and kind == (129 if ipv6 else 0):
                    return True
        except OSError:
            return False


async def eventually(check: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Wait until `check()` holds; answers after how many seconds."""
    begin = time.monotonic()
    while not check():
        assert time.monotonic() - begin < deadline_s, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


def links(lab: Lab) -> set[str]:
    """Every link of Naru's except bridges."""
    return {
        link.name
        for link in lab.netlink.links()
        if link.name.startswith("naru") and link.kind != "bridge"
    }


def in_lab(body: Callable[[Lab], Awaitable[None]]) -> Callable[[], None]:
    """Decorator: run the coroutine function inside a fresh lab. Needs root."""

    @functools.wraps(body)
    def test() -> None:
        run_in_lab(Path(inspect.getfile(body)), body.__name__)

    test.__signature__ = inspect.Signature()  # type: ignore[attr-defined]  # no fixtures
    test.body = body  # type: ignore[attr-defined]  # found again by `enter`
    return test


def run_in_lab(
    file: Path, name: str, arguments: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> None:
    root = tempfile.mkdtemp(prefix="naru-network-", dir="/var/tmp")
    argv = ["unshare", "--net", "--mount", sys.executable, __file__, root, str(file), name]
    try:
        done = subprocess.run(
            [*argv, *arguments],
            env=os.environ | (env or {}),
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        _end_processes(root)
        shutil.rmtree(root, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _end_processes(root: str) -> None:
    """Relays and name servers of this lab's engines: they hold locks below its root."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for fd in ("4", "5"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(root + "/"):
                    os.kill(int(pid), signal.SIGKILL)


def enter() -> None:
    """The process inside: `network_lab.py [--joined] ROOT FILE TEST`; `--joined` builds nothing."""
    joined = sys.argv[1] == "--joined"
    root, file, name = sys.argv[1 + joined : 4 + joined]
    sys.path[:0] = [os.path.dirname(__file__), os.getcwd()]
    module = __import__(Path(file).stem)
    lab = sys.modules["network_lab"].Lab(root)
    if not joined:
        lab.build()
    body = getattr(module, name)
    asyncio.run(getattr(body, "body", body)(lab))


if __name__ == "__main__":
    enter()
