"""Names through 127.0.0.11: how long one takes, alone and among sixteen, and the slowest of them.

    .venv/bin/python bench/dns.py       the name server alone, beside REFERENCE_DOCKER_HOST's

`names` is the case for `run.py`: it needs an engine that makes networks. Needs root.
"""

import asyncio
import contextlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from client import Api
from engines import Engine, reference

from naru.kernel import netns
from naru.kernel.netlink.client import Netlink
from naru.kernel.spawn import Spawner
from naru.network.dns.keeper import DnsKeeper
from naru.network.dns.model import Client, Member

SERVER = ("127.0.0.11", 53)
ONE, SIXTEEN = "a name, one at a time, µs", "a name, 16 in flight, µs"
SLOWEST = "99th percentile at 1,000 names/s, ms"
GOALS = {ONE: 1.0, SIXTEEN: 1 / 1.5}
ROUNDS = 7
_ALONE, _AMONG, _PACED = 6000, 30_000, 2000


def names(engine: Engine) -> dict[str, float]:
    """Two containers on a network of their own; one asks for the other."""
    api = engine.api()
    with _container(api) as pid:
        return _measured(f"/proc/{pid}/ns/net", "bench-dns-b")


@contextlib.contextmanager
def _container(api: Api) -> Iterator[int]:
    api.call("POST", "/networks/create", {"Name": "bench-dns"})
    made = []
    try:
        for name in ("bench-dns-a", "bench-dns-b"):
            made.append(api.create(["sleep", "600"], name, NetworkMode="bench-dns"))
            api.start(made[-1])
        yield int(api.json("GET", f"/containers/{made[0]}/json")["State"]["Pid"])
    finally:
        for container in made:
            api.remove(container)
        api.call("DELETE", "/networks/bench-dns")


def _measured(namespace: str, name: str) -> dict[str, float]:
    argv = ["nsenter", f"--net={namespace}", sys.executable, __file__, "--load", name]
    found: dict[str, float] = json.loads(subprocess.check_output(argv))
    return found


def _load(name: str) -> dict[str, float]:
    """Asked from the namespace that this process is in."""
    labels = b"".join(bytes((len(label),)) + label for label in name.encode().split(b"."))
    question = b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    packets = [struct.pack(">H", number) + question for number in range(4096)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(SERVER)
        client.settimeout(2)
        return {
            ONE: _in_flight(client, packets, 1, _ALONE),
            SIXTEEN: _in_flight(client, packets, 16, _AMONG),
            SLOWEST: _paced(client, packets),
        }


def _in_flight(client: socket.socket, packets: list[bytes], window: int, count: int) -> float:
    send, receive = client.send, client.recv
    begin = time.perf_counter()
    for n in range(window):
        send(packets[n])
    for n in range(window, count):
        receive(2048)
        send(packets[n & 4095])
    for _ in range(window):
        answer = receive(2048)
    assert answer[7], "an answer without an address"
    return (time.perf_counter() - begin) / count * 1e6


def _paced(client: socket.socket, packets: list[bytes]) -> float:
    took, due = [], time.perf_counter()
    for n in range(_PACED):
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))
        begin = time.perf_counter()
        client.send(packets[n & 4095])
        client.recv(2048)
        took.append((time.perf_counter() - begin) * 1e3)
    return statistics.quantiles(took, n=100)[98]


@contextlib.contextmanager
def _alone() -> Iterator[str]:
    """The name server with one sandbox: its namespace."""
    with tempfile.TemporaryDirectory(prefix="naru-bench-dns-") as root:
        pin = os.path.join(root, "box")
        netns.create_netns(pin)
        fd = netns.open_netns(pin)
        netlink, spawner = Netlink(), Spawner()
        netlink.configure(fd, None, loopback=True)
        os.close(fd)
        member = Member("n", "bench", ("10.0.0.2",), ("bench-dns-b",))
        loop = asyncio.new_event_loop()
        keeper = DnsKeeper(spawner, root, "bench")
        try:
            loop.run_until_complete(keeper.serve(Client("c", pin, (member,))))
            yield pin
        finally:
            loop.run_until_complete(keeper.withdraw("c"))
            loop.run_until_complete(keeper.stop())
            loop.close()
            spawner.close()
            netns.remove_netns(pin)


def main() -> int:
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(_load(sys.argv[2])))
        return 0
    other = reference()
    with contextlib.ExitStack() as stack:
        asked = {"naru": (stack.enter_context(_alone()), "bench-dns-b")}
        if other is not None:
            pid = stack.enter_context(_container(other.api()))
            asked["docker"] = (f"/proc/{pid}/ns/net", "bench-dns-b")
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(ROUNDS):
            for engine, where in asked.items():
                for figure, value in _measured(*where).items():
                    found.setdefault(figure, {}).setdefault(engine, []).append(value)
    for figure, values in found.items():
        medians = {engine: statistics.median(items) for engine, items in values.items()}
        print(figure, *(f"{engine} {value:.3f}" for engine, value in medians.items()), sep=" | ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
