"""narud killed or stopped and started again while containers and clients go on."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import Hammer, assert_gapless, execute, follow, numbers_in, web

pytestmark = pytest.mark.root

LINES = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; usleep 5000; done"
HEALTH = {"Test": ["CMD", "true"], "Interval": 200_000_000}


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(50) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    if lab.process is None or lab.process.poll() is not None:
        lab.start()
    lab.remove_all()
    assert until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def page(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        return bytes(answer.read())


def pid(lab: EngineLab, container: str) -> int:
    return int(lab.inspect(container)["State"]["Pid"])


def loopbacks(lab: EngineLab, container: str) -> list[str]:
    bindings = lab.inspect(container)["NetworkSettings"]["Ports"]["80/tcp"]
    return ["127.0.0.1", *("[::1]" for item in bindings if item["HostIp"] == "::")]


def test_requests_and_log_lines_survive_kill_and_stop(lab: EngineLab) -> None:
    container, port = web(lab, "")
    writer = lab.run("sh", "-c", LINES)
    before = pid(lab, container)
    seen: list[bytes] = []
    with contextlib.ExitStack() as running:
        hammers = [running.enter_context(Hammer(port, host)) for host in loopbacks(lab, container)]
        for end in (lab.kill, lab.stop):
            with follow(lab, f"/containers/{writer}/logs?follow=1&stdout=1") as stream:
                until(lambda: len(numbers_in(stream.text())) > 20, "lines are followed")
                end()
                assert stream.ended.wait(20)
                seen.append(stream.text())
            for hammer in hammers:
                hammer.await_more("pages are served without narud")
            lab.start()
            assert pid(lab, container) == before
        for hammer in hammers:
            hammer.await_more("pages are served by the new narud's ports")
    assert [hammer.failed for hammer in hammers] == [[] for _ in hammers]
    assert lab.wait(writer) == 0
    numbers = numbers_in(lab.logs(writer))
    assert_gapless(numbers)
    assert len(numbers) == 400
    for text in seen:
        assert_gapless(numbers_in(text))


def test_an_open_connection_survives(lab: EngineLab) -> None:
    """What was connected through a published port before stays connected."""
    serve = "i=0; while :; do i=$((i+1)); echo line $i || exit; usleep 10000; done"
    binding = {"99/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    container = lab.run(
        "nc", "-ll", "-p", "99", "-e", "sh", "-c", serve, HostConfig={"PortBindings": binding}
    )
    port = int(lab.inspect(container)["NetworkSettings"]["Ports"]["99/tcp"][0]["HostPort"])
    with until(lambda: connected(port), "the port is served") as sock:
        got = bytearray()
        for end in (lab.kill, lab.stop):
            received(sock, got, len(got) + 200)
            end()
            received(sock, got, len(got) + 200)
            lab.start()
        received(sock, got, len(got) + 200)
    assert_gapless(numbers_in(bytes(got)))


def connected(port: int) -> socket.socket | None:
    with contextlib.suppress(OSError):
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        if sock.recv(1, socket.MSG_PEEK):
            return sock
    return None


def received(sock: socket.socket, got: bytearray, size: int) -> None:
    while len(got) < size:
        piece = sock.recv(4096)
        assert piece, "the connection was closed"
        got += piece


def test_what_exec_started_goes_on_and_ends_with_its_container(lab: EngineLab) -> None:
    container = lab.run("sleep", "600")
    body = {"Cmd": ["sleep", "601"], "AttachStdout": True}
    session = lab.json("POST", f"/containers/{container}/exec", body)["Id"]

    def words() -> str:
        return str(lab.json("GET", f"/containers/{container}/top")["Processes"])

    with follow(lab, f"/exec/{session}/start", "POST", {}) as stream:
        until(lambda: "sleep 601" in words(), "it runs")
        lab.kill()
        assert stream.ended.wait(20)
    lab.start()
    assert "sleep 601" in words()
    lab.call("POST", f"/containers/{container}/kill")
    assert lab.status(container) == "exited"


def test_followed_log_goes_on_from_its_last_line(lab: EngineLab) -> None:
    """As a client does it: it remembers the time of its last line and asks for what came since."""
    writer = lab.run("sh", "-c", LINES)
    url = f"/containers/{writer}/logs?follow=1&stdout=1&timestamps=1"
    with follow(lab, url) as stream:
        until(lambda: stream.text().count(b"\n") > 30, "lines are followed")
        lab.kill()
        assert stream.ended.wait(20)
        first = stream.text()
    whole = first[: first.rindex(b"\n") + 1].splitlines()
    lab.start()
    since = whole[-1].split()[0].decode()
    with follow(lab, f"{url}&since={since}") as stream:
        assert stream.ended.wait(60)
        rest = stream.text().splitlines()
    merged = list(dict.fromkeys([*whole, *rest]))
    assert_gapless([int(line.rpartition(b" ")[2]) for line in merged])
    assert len(merged) == 400


def test_rotation_over_restarts_loses_nothing(lab: EngineLab) -> None:
    script = "i=0; while :; do i=$((i+1)); echo line $i; [ $((i%20)) = 0 ] && usleep 5000; done"
    options = {"max-size": "20k", "max-file": "1000"}
    writer = lab.run(
        "sh", "-c", script, HostConfig={"LogConfig": {"Type": "json-file", "Config": options}}
    )
    for end in (lab.kill, lab.stop, lab.kill):
        seen = len(lab.logs(writer))
        until(lambda seen=seen: len(lab.logs(writer)) > seen + 9000, "lines are written")
        end()
        lab.start()
    lab.call("POST", f"/containers/{writer}/kill")
    numbers = numbers_in(lab.logs(writer))
    assert_gapless(numbers)
    assert len(numbers) > 2000
    log = Path(lab.inspect(writer)["LogPath"])
    assert len(list(log.parent.glob(f"{log.name}*"))) > 2, "it was rotated"


def test_adopted_containers_can_do_everything(lab: EngineLab) -> None:
    plain = lab.run("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    sick = lab.run("sleep", "600", Healthcheck=HEALTH)
    frozen = lab.run("sleep", "600")
    until(lambda: lab.inspect(sick)["State"]["Health"]["Status"] == "healthy", "it is healthy")
    until(lambda: lab.logs(plain) == b"ready\n", "the trap is set")
    lab.call("POST", f"/containers/{frozen}/pause")
    started = lab.inspect(plain)["State"]["StartedAt"]
    lab.kill()
    lab.start()
    assert lab.inspect(plain)["State"]["StartedAt"] == started
    assert lab.status(frozen) == "paused"
    health = lab.inspect(sick)["State"]["Health"]
    assert health["Status"] == "healthy", "what was known of its health is not forgotten"
    assert health["Log"]
    last = health["Log"][-1]["Start"]
    until(
        lambda: lab.inspect(sick)["State"]["Health"]["Log"][-1]["Start"] > last,
        "probes of the adopted container go on",
    )
    assert execute(lab, plain, "echo", "inside") == (0, b"inside\n")
    lab.call("POST", f"/containers/{frozen}/unpause")
    assert lab.status(frozen) == "running"
    assert json.loads(lab.call("GET", f"/containers/{plain}/stats?stream=0"))["pids_stats"]
    assert "sleep" in str(lab.json("GET", f"/containers/{plain}/top"))
    lab.call("POST", f"/containers/{plain}/stop?t=20")
    assert lab.inspect(plain)["State"]["ExitCode"] == 7
    lab.call("POST", f"/containers/{frozen}/kill")
    assert lab.inspect(frozen)["State"]["ExitCode"] == 137
    lab.call("POST", f"/containers/{plain}/restart?t=0")
    assert lab.status(plain) == "running"
    lab.call("DELETE", f"/containers/{sick}?force=1")
    with pytest.raises(ApiError, match="No such container"):
        lab.inspect(sick)


def test_attached_session_comes_back_to_an_adopted_container(lab: EngineLab) -> None:
    container = lab.run("cat", OpenStdin=True)
    url = f"/containers/{container}/attach?stream=1&stdin=1&stdout=1"
    with follow(lab, url, "POST", hijack=True) as session:
        session.sock.sendall(b"before\n")
        until(lambda: session.text() == b"before\n", "it is echoed")
        lab.kill()
        assert session.ended.wait(20)
    lab.start()
    with follow(lab, url, "POST", hijack=True) as session:
        session.sock.sendall(b"after\n")
        until(lambda: session.text() == b"after\n", "it is echoed by the adopted container")
    assert lab.logs(container) == b"before\nafter\n"


def test_what_ended_while_narud_was_away(lab: EngineLab, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    command = ("sh", "-c", "until [ -e /gate/open ]; do usleep 10000; done; exit 5")
    binds = {"Binds": [f"{gate}:/gate"]}
    kept = lab.run(*command, HostConfig=binds)
    gone = lab.run(*command, HostConfig={**binds, "AutoRemove": True})
    volume = lab.run(*command, HostConfig={**binds, "AutoRemove": True}, Volumes={"/anonymous": {}})
    name = next(m["Name"] for m in lab.inspect(volume)["Mounts"] if m["Type"] == "volume")
    again = lab.run(*command, HostConfig={**binds, "RestartPolicy": {"Name": "always"}})
    pids = [pid(lab, item) for item in (kept, gone, volume, again)]
    lab.kill()
    (gate / "open").touch()
    until(lambda: not any(os.path.exists(f"/proc/{number}") for number in pids), "all ended")
    (gate / "open").unlink()
    before = time.time()
    lab.start()
    until(lambda: lab.status(kept) == "exited", "its end is seen")
    state = lab.inspect(kept)["State"]
    assert (state["ExitCode"], state["Error"]) == (5, "")
    assert state["FinishedAt"] < time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime(before))
    for container in (gone, volume):
        until(lambda c=container: is_gone(lab, c), "containers with --rm are gone")
    until(lambda: not has_volume(lab, name), "the anonymous volume goes with its container")
    until(lambda: lab.status(again) == "running", "always means always")
    assert lab.inspect(again)["RestartCount"] == 1
    (gate / "open").touch()


def has_volume(lab: EngineLab, name: str) -> bool:
    return any(item["Name"] == name for item in lab.json("GET", "/volumes")["Volumes"] or ())


def is_gone(lab: EngineLab, container: str) -> bool:
    try:
        lab.inspect(container)
    except ApiError as error:
        return error.status == 404
    return False


def test_sigterm_ends_with_streams_open_and_a_start_under_way(lab: EngineLab) -> None:
    container = lab.run("sh", "-c", "cat; sleep 600", OpenStdin=True)
    waiting = [lab.create("sleep", "600") for _ in range(6)]
    base = f"/containers/{container}"
    results: dict[str, str] = {}

    def start(identifier: str) -> None:
        try:
            lab.call("POST", f"/containers/{identifier}/start")
            results[identifier] = "started"
        except (OSError, ApiError) as error:
            results[identifier] = repr(error)

    with contextlib.ExitStack() as held:
        streams = [
            held.enter_context(follow(lab, "/events")),
            held.enter_context(follow(lab, f"{base}/logs?follow=1&stdout=1")),
            held.enter_context(follow(lab, f"{base}/stats")),
            held.enter_context(follow(lab, f"{base}/wait", "POST")),
            held.enter_context(
                follow(lab, f"{base}/attach?stream=1&stdin=1&stdout=1", "POST", hijack=True)
            ),
        ]
        starts = [threading.Thread(target=start, args=(item,)) for item in waiting]
        for thread in starts:
            thread.start()
        assert lab.process is not None
        begun = time.monotonic()
        lab.process.send_signal(signal.SIGTERM)
        assert lab.process.wait(20) == 0
        took_s = time.monotonic() - begun
        for thread in starts:
            thread.join()
        assert all(stream.ended.wait(20) for stream in streams)
    assert took_s < 10
    lab.start()
    assert lab.status(container) == "running"
    for identifier in waiting:
        status = lab.status(identifier)
        assert status in ("created", "running")
        if results[identifier] == "started":
            assert status == "running"


def test_the_record_of_a_stop_is_kept_when_narud_ends_in_it(lab: EngineLab) -> None:
    """A stop that waits for a deaf workload does not hold up narud's own end."""
    deaf = lab.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")

    def stop() -> None:
        with contextlib.suppress(OSError, ApiError):
            lab.call("POST", f"/containers/{deaf}/stop?t=60")

    since = time.time()
    thread = threading.Thread(target=stop)
    thread.start()
    path = f"/events?since={since:.6f}"
    with follow(lab, path) as stream:
        until(lambda: any(e["Action"] == "kill" for e in stream.objects()), "SIGTERM was sent")
    begun = time.monotonic()
    assert lab.stop() == 0
    assert time.monotonic() - begun < 10
    thread.join()
    lab.start()
    assert lab.status(deaf) == "running"
    lab.call("POST", f"/containers/{deaf}/stop?t=0")
    assert lab.inspect(deaf)["State"]["ExitCode"] == 137


STUCK = """
import threading, time
from naru.engine import main
from naru.kernel import threads
ready = main._Narud._ready
def stuck(self):
    threads._pool().submit(time.sleep, 3600)
    ready(self)
main._Narud._ready = stuck
main.run()
"""


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    """As a read of a dead network file system does."""
    with engine_lab(59) as lab:
        lab.launch(program=("-c", STUCK))
        lab.ready()
        begun = time.monotonic()
        assert lab.stop() == 0
        assert time.monotonic() - begun < 10
        lab.start()
