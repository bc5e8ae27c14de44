"""Networks of one's own: making them, being on them, and what travels over them.

As a script it is the two ends of a transfer, each in the namespace of a container:
`networks.py --serve PORT MODE` and `networks.py --send ADDRESS PORT MODE`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from client import Api
from engines import Engine

NETS = 200
MANY_PORTS = 1000
BYTES = 1 << 30
CONNECTIONS = 3000
_CHUNK = 1 << 20
_BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

MAKE, JOIN, START = (
    "network create + remove, ms",
    "connect + disconnect a running container, ms",
    "start on a network of one's own, ms",
)
CREATE_MANY, LIST_MANY, REMOVE_MANY = (
    f"{NETS} networks with a container each: create, s",
    f"{NETS} networks: list, ms",
    f"{NETS} networks with a container each: remove, s",
)
BETWEEN, PUBLISHED = "1 GiB container to container, s", "1 GiB host to published port, s"
FEW, CROWDED = (
    "a connection to a published port, 1 published, µs",
    f"… with {MANY_PORTS:,} published, µs",
)
GOALS = {
    MAKE: 1 / 5,
    JOIN: 1 / 5,
    START: 1 / 4,
    CREATE_MANY: 1 / 4,
    LIST_MANY: 1 / 4,
    REMOVE_MANY: 1 / 4,
    BETWEEN: 1.03,
    PUBLISHED: 1.03,
}


def small(engine: Engine) -> dict[str, float]:
    """One network, one container."""
    api = engine.api()
    found = {}
    begin = time.perf_counter()
    api.call("POST", "/networks/create", {"Name": "bench-small"})
    api.call("DELETE", "/networks/bench-small")
    found[MAKE] = _ms(begin)
    with _network(api, "bench-net") as name, _running(api) as container:
        body = {"Container": container}
        begin = time.perf_counter()
        api.call("POST", f"/networks/{name}/connect", body)
        api.call("POST", f"/networks/{name}/disconnect", body)
        found[JOIN] = _ms(begin)
        on_it = api.create(["sleep", "600"], NetworkMode=name)
        begin = time.perf_counter()
        api.start(on_it)
        found[START] = _ms(begin)
        api.remove(on_it)
    return found


def many(engine: Engine) -> dict[str, float]:
    """Subnets are named: the reference's default pools end after 31 networks."""
    api = engine.api()
    base = 150 if engine.name == "naru" else 160
    made, containers = [], []
    try:
        begin = time.perf_counter()
        for number in range(NETS):
            name = f"bench-many-{number}"
            config = [{"Subnet": f"10.{base}.{number}.0/24"}]
            body = {"Name": name, "IPAM": {"Config": config}}
            api.call("POST", "/networks/create", body)
            made.append(name)
            containers.append(api.create(["sleep", "600"], NetworkMode=name))
            api.start(containers[-1])
        creating = time.perf_counter() - begin
        begin = time.perf_counter()
        api.call("GET", "/networks")
        listing = _ms(begin)
    finally:
        begin = time.perf_counter()
        for container in containers:
            api.remove(container)
        for name in made:
            api.call("DELETE", f"/networks/{name}")
        removing = time.perf_counter() - begin
    return {CREATE_MANY: creating, LIST_MANY: listing, REMOVE_MANY: removing}


def traffic(engine: Engine) -> dict[str, float]:
    """The kernel's path; a firewall of somebody else's on bridged packets is set aside."""
    api = engine.api()
    port = 23101 if engine.name == "naru" else 23102
    ports = {"9000/tcp": [{"HostPort": str(port)}]}
    with _plain_bridges(), _network(api, "bench-net") as name:
        server = api.create(["sleep", "600"], NetworkMode=name, PortBindings=ports)
        client = api.create(["sleep", "600"], NetworkMode=name)
        try:
            for container in (server, client):
                api.start(container)
            address = _address(api, server, name)
            with _serving(api, server, "bytes"):
                between = _send(_namespace(api, client), address, 9000, "bytes")
                published = _send("", "127.0.0.1", port, "bytes")
        finally:
            for container in (server, client):
                api.remove(container)
    return {BETWEEN: between, PUBLISHED: published}


def connections(engine: Engine) -> dict[str, float]:
    """What a new connection costs with few and with many ports published."""
    api = engine.api()
    port = 23201 if engine.name == "naru" else 23202
    ports = {"9000/tcp": [{"HostPort": str(port)}]}
    server = api.create(["sleep", "600"], PortBindings=ports)
    crowd = api.create(["sleep", "600"], PortBindings=_thousand(engine))
    try:
        api.start(server)
        with _serving(api, server, "connections"):
            few = _send("", "127.0.0.1", port, "connections") / CONNECTIONS
            api.start(crowd)
            crowded = _send("", "127.0.0.1", port, "connections") / CONNECTIONS
    finally:
        api.remove(server)
        api.remove(crowd)
    return {FEW: few * 1e6, CROWDED: crowded * 1e6}


def _thousand(engine: Engine) -> dict[str, list[dict[str, str]]]:
    """The reference starts two processes for each port: 50 are enough to see whether it matters."""
    count = MANY_PORTS if engine.name == "naru" else 50
    first = 24000 if engine.name == "naru" else 26000
    return {f"{n}/tcp": [{"HostPort": str(first + n)}] for n in range(1, count + 1)}


@contextlib.contextmanager
def _network(api: Api, name: str) -> Iterator[str]:
    api.call("POST", "/networks/create", {"Name": name})
    try:
        yield name
    finally:
        api.call("DELETE", f"/networks/{name}")


@contextlib.contextmanager
def _running(api: Api) -> Iterator[str]:
    container = api.create(["sleep", "600"])
    try:
        api.start(container)
        yield container
    finally:
        api.remove(container)


@contextlib.contextmanager
def _plain_bridges() -> Iterator[None]:
    before = _BRIDGE_NETFILTER.read_text() if _BRIDGE_NETFILTER.exists() else ""
    if before:
        _BRIDGE_NETFILTER.write_text("0")
    try:
        yield
    finally:
        if before:
            _BRIDGE_NETFILTER.write_text(before)


def _namespace(api: Api, container: str) -> str:
    state = api.json("GET", f"/containers/{container}/json")["State"]
    return f"/proc/{state['Pid']}/ns/net"


def _address(api: Api, container: str, network: str) -> str:
    settings = api.json("GET", f"/containers/{container}/json")["NetworkSettings"]
    return str(settings["Networks"][network]["IPAddress"])


@contextlib.contextmanager
def _serving(api: Api, container: str, mode: str) -> Iterator[None]:
    argv = ["nsenter", f"--net={_namespace(api, container)}", sys.executable, __file__]
    process = subprocess.Popen([*argv, "--serve", "9000", mode], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def _send(namespace: str, address: str, port: int, mode: str) -> float:
    enter = ["nsenter", f"--net={namespace}"] if namespace else []
    argv = [*enter, sys.executable, __file__, "--send", address, str(port), mode]
    return float(subprocess.check_output(argv))


def _ms(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000


def _serve(port: int, mode: str) -> None:
    listener = socket.create_server(("", port), backlog=1024)
    os.write(1, b"ready\n")
    while True:
        connection, _ = listener.accept()
        if mode == "connections":
            connection.close()
        else:
            threading.Thread(target=_drain, args=(connection,), daemon=True).start()


def _drain(connection: socket.socket) -> None:
    room = bytearray(_CHUNK)
    with connection:
        while connection.recv_into(room):
            pass


def _transfer(address: str, port: int, mode: str) -> float:
    begin = time.perf_counter()
    if mode == "bytes":
        data = bytes(_CHUNK)
        with socket.create_connection((address, port)) as client:
            for _ in range(BYTES // _CHUNK):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            client.recv(1)
    else:
        for _ in range(CONNECTIONS):
            with socket.create_connection((address, port)) as client:
                client.recv(1)
    return time.perf_counter() - begin


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(int(sys.argv[2]), sys.argv[3])
    else:
        print(_transfer(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
