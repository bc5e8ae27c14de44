"""What is measured, and the ratio to the reference that each figure is to reach."""

import atexit
import concurrent.futures
import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns
import networks
from engines import ROOT, Engine

Case = Callable[[Engine], dict[str, float]]
PORTS = 100
CROWD = 50
CLIENTS = 8
LISTED = 1000
LINES = 500_000


def machine() -> str:
    cpus = os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{cpus} cores, {memory} GiB, Linux {os.uname().release.split('-')[0]}"


class _Clock:
    seconds = 0.0


@contextlib.contextmanager
def timed() -> Iterator[_Clock]:
    clock = _Clock()
    begin = time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - begin


def make_busybox(engine: Engine) -> None:
    """`busybox:latest` in the engine, unless it is there."""
    api = engine.api()
    with contextlib.suppress(AssertionError):
        api.call("GET", "/images/busybox:latest/json")
        return
    tar = subprocess.run(
        [sys.executable, str(ROOT / "tools/busybox_image.py")], check=True, capture_output=True
    ).stdout
    api.call("POST", "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD+sh", raw=tar)


def _cli(engine: Engine, *words: str) -> float:
    docker = shutil.which("docker")
    if docker is None:
        sys.exit("bench: the docker CLI is not on this machine")
    with timed() as clock:
        subprocess.run(
            [docker, "-H", f"unix://{engine.socket}", *words],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    return clock.seconds * 1000


def cli_run(engine: Engine) -> dict[str, float]:
    return {
        "docker CLI run --rm, ms": _cli(engine, "run", "--rm", "busybox", "true"),
        "… with --network none, ms": _cli(
            engine, "run", "--rm", "--network", "none", "busybox", "true"
        ),
    }


def cycle(engine: Engine) -> dict[str, float]:
    api = engine.api()
    with timed() as clock:
        container = api.create(["true"])
        api.start(container)
        assert api.wait(container) == 0
        api.remove(container)
    return {"API create+start+wait+remove, bridge, ms": clock.seconds * 1000}


def ports(engine: Engine) -> dict[str, float]:
    api = engine.api()
    first = 20000 if engine.name == "naru" else 22000
    bindings = {f"{n}/tcp": [{"HostPort": str(first + n)}] for n in range(1, PORTS + 1)}
    container = api.create(["sleep", "600"], PortBindings=bindings)
    with timed() as starting:
        api.start(container)
    with timed() as removing:
        api.remove(container)
    return {
        "start with 100 published ports, ms": starting.seconds * 1000,
        "removal of it, ms": removing.seconds * 1000,
    }


def exec_true(engine: Engine) -> dict[str, float]:
    api = engine.api()
    container = api.create(["sleep", "600"])
    try:
        api.start(container)
        api.attached_exec(container, ["true"])
        with timed() as clock:
            for _ in range(5):
                api.attached_exec(container, ["true"])
    finally:
        api.remove(container)
    return {"API exec, attached, true, ms": clock.seconds * 1000 / 5}


def crowd(engine: Engine) -> dict[str, float]:
    def begin(_: int) -> str:
        api = engine.api()
        container = api.create(["sleep", "600"])
        api.start(container)
        return container

    def end(container: str) -> None:
        engine.api().remove(container)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        with timed() as starting:
            containers = list(pool.map(begin, range(CROWD)))
        memory = _per_container_mb(engine, containers)
        with timed() as removing:
            list(pool.map(end, containers))
    return {
        "50 containers created and started by 8 clients, s": starting.seconds,
        "50 running containers removed with force by 8 clients, s": removing.seconds,
        "per running container, PSS of the engine's processes, MB": memory,
    }


def _pss_kb(pid: str) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) if found else 0
    return 0


def _per_container_mb(engine: Engine, containers: list[str]) -> float:
    """Processes beside the workloads: monitors and shims that name one of the containers."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if any(container.encode() in words for container in containers):
                total += _pss_kb(entry.name)
    return total / 1024 / len(containers)


def stop_remove(engine: Engine) -> dict[str, float]:
    api = engine.api()
    container = api.create(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 600 & wait; done"])
    api.start(container)
    assert b"ready" in api.attached_exec(container, ["echo", "ready"])
    with timed() as clock:
        api.call("POST", f"/containers/{container}/stop")
        api.call("DELETE", f"/containers/{container}")
    return {"stop (ends on SIGTERM) + remove, ms": clock.seconds * 1000}


@functools.cache
def _thousand(engine: Engine) -> list[str]:
    api = engine.api()
    existing = [item["Id"] for item in api.json("GET", "/containers/json?all=1")]
    return existing + [api.create(["true"]) for _ in range(LISTED - len(existing))]


def listing(engine: Engine) -> dict[str, float]:
    _thousand(engine)
    api = engine.api()
    api.call("GET", "/containers/json?all=1")
    with timed() as clock:
        for _ in range(5):
            api.call("GET", "/containers/json?all=1")
    return {"containers/json?all=1 of 1,000, ms": clock.seconds * 1000 / 5}


def ps_process(engine: Engine) -> dict[str, float]:
    """`naru ps` beside `docker ps`, each on its own engine."""
    words = [str(ROOT / ".venv/bin/naru")] if engine.name == "naru" else ["docker"]
    elapsed = []
    for _ in range(5):
        with timed() as clock:
            subprocess.run(
                [*words, "-H", f"unix://{engine.socket}", "ps"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        elapsed.append(clock.seconds)
    return {"naru ps / docker ps as a process, ms": min(elapsed) * 1000}


def log_lines(engine: Engine) -> dict[str, float]:
    api = engine.api()
    line = "0123456789abcdefghijklmnopqrstuvwxyzABCDE"
    container = api.create(["sh", "-c", f"yes {line} | head -n {LINES}"])
    try:
        with timed() as writing:
            api.start(container)
            assert api.wait(container) == 0
        with timed() as reading:
            size = api.size_of(f"/containers/{container}/logs?stdout=1&stderr=1")
        assert engine.name == "docker" or size > 0
    finally:
        api.remove(container)
    return {
        "500,000 log lines: run and write, s": writing.seconds,
        "500,000 log lines: read back, s": reading.seconds,
    }


@functools.cache
def _big_tar() -> Path:
    """A root file system of 20,000 files, 218 MB."""
    folder = tempfile.mkdtemp(prefix="naru-bench-tar-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "root.tar"
    block = os.urandom(1 << 20)
    with tarfile.open(path, "w") as archive:
        for folder in range(200):
            entry = tarfile.TarInfo(f"d{folder:03}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
            for number in range(100):
                entry = tarfile.TarInfo(f"d{folder:03}/f{number:03}")
                entry.size, entry.mode = 10_900, 0o644
                begin = (folder * 100 + number) * 37 % (len(block) - entry.size)
                archive.addfile(entry, io.BytesIO(block[begin : begin + entry.size]))
    return path


def images(engine: Engine) -> dict[str, float]:
    api = engine.api()
    tar = _big_tar()
    saved = tar.with_name(f"{engine.name}.tar")
    with timed() as importing, tar.open("rb") as source:
        api.call("POST", "/images/create?fromSrc=-&repo=bench&tag=big", raw=source)
    with timed() as saving, saved.open("wb") as out:
        api.request("GET", "/v1.51/images/bench:big/get")
        shutil.copyfileobj(api.getresponse(), out, 1 << 20)
    api.call("DELETE", "/images/bench:big?force=1")
    with timed() as loading, saved.open("rb") as source:
        api.call("POST", "/images/load?quiet=1", raw=source)
    api.call("DELETE", "/images/bench:big?force=1")
    return {
        "import of 218 MB, 20,000 files, s": importing.seconds,
        "load of it, s": loading.seconds,
        "save of it, s": saving.seconds,
    }


@functools.cache
def _one_file_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("big")
        entry.size = 64 << 20
        archive.addfile(entry, io.BytesIO(os.urandom(1 << 20) * 64))
    return out.getvalue()


def put_archive(engine: Engine) -> dict[str, float]:
    api = engine.api()
    container = api.create(["sleep", "600"])
    try:
        api.start(container)
        with timed() as clock:
            api.call("PUT", f"/containers/{container}/archive?path=/tmp", raw=_one_file_tar())
    finally:
        api.remove(container)
    return {"PUT archive of one 64 MB file, ms": clock.seconds * 1000}


def idle_memory(engine: Engine) -> dict[str, float]:
    total = 0
    for pid in engine.pids:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        total += int(found[1]) if found else 0
    return {"engine's RSS, MB": total / 1024}


CASES: dict[str, tuple[Case, int]] = {
    "memory": (idle_memory, 1),
    "cli": (cli_run, 9),
    "cycle": (cycle, 15),
    "ports": (ports, 2),
    "exec": (exec_true, 7),
    "crowd": (crowd, 2),
    "stop": (stop_remove, 7),
    "archive": (put_archive, 5),
    "ps": (ps_process, 7),
    "logs": (log_lines, 2),
    "images": (images, 2),
    "list": (listing, 5),
    "networks": (networks.small, 9),
    "many": (networks.many, 1),
    "names": (dns.names, 5),
    "traffic": (networks.traffic, 3),
    "connections": (networks.connections, 3),
}

WARM = frozenset({"cli", "cycle", "exec", "stop", "archive", "list", "networks"})
"""Cases of milliseconds, measured right after a run of the same engine."""

GOALS = {
    **networks.GOALS,
    **dns.GOALS,
    "docker CLI run --rm, ms": 0.2,
    "… with --network none, ms": 0.22,
    "API create+start+wait+remove, bridge, ms": 0.15,
    "start with 100 published ports, ms": 0.03,
    "removal of it, ms": 0.03,
    "API exec, attached, true, ms": 0.37,
    "50 containers created and started by 8 clients, s": 0.2,
    "50 running containers removed with force by 8 clients, s": 0.1,
    "stop (ends on SIGTERM) + remove, ms": 0.33,
    "containers/json?all=1 of 1,000, ms": 0.1,
    "500,000 log lines: run and write, s": 0.6,
    "500,000 log lines: read back, s": 0.15,
    "import of 218 MB, 20,000 files, s": 0.2,
    "load of it, s": 0.2,
    "save of it, s": 0.25,
    "PUT archive of one 64 MB file, ms": 1.0,
    "naru ps / docker ps as a process, ms": 1.2,
    "engine's RSS, MB": 60 / 129,
    "per running container, PSS of the engine's processes, MB": 0.5 / 4.6,
}
