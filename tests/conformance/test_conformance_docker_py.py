"""The Python SDK `docker`, as its users write it, against a narud of our own."""

import datetime
import gc
import io
import queue
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from engine_lab import EngineLab, engine_lab

docker = pytest.importorskip("docker", reason="the SDK is not installed: make setup-dev")
errors = docker.errors

# The SDK leaves the sockets of streams that were not read to their end to the collector.
pytestmark = [
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEADLINE_S = 30


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(10) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture
def client(lab: EngineLab) -> Iterator[Any]:
    sdk = docker.DockerClient(base_url=lab.host, timeout=60)
    yield sdk
    sdk.close()
    lab.remove_all()
    gc.collect()


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def members_of(chunks: Iterator[bytes]) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        return {
            entry.name: archive.extractfile(entry).read()  # type: ignore[union-attr]
            for entry in archive
            if entry.isreg()
        }


# --- running


def test_run_returns_the_output(client: Any) -> None:
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    assert client.containers.list(all=True) == []


def test_run_raises_with_status_and_stderr(client: Any) -> None:
    with pytest.raises(errors.ContainerError) as raised:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 7"], remove=True)
    assert raised.value.exit_status == 7
    assert raised.value.stderr == b"no\n"


def test_run_of_a_missing_image(client: Any) -> None:
    with pytest.raises(errors.APIError, match="missing:latest"):
        client.containers.run("missing", "true")
    with pytest.raises(errors.ImageNotFound):
        client.images.get("missing")


def test_a_command_that_does_not_exist(client: Any) -> None:
    with pytest.raises(errors.APIError, match="executable file not found") as raised:
        client.containers.run("busybox", "no-such-command")
    assert raised.value.status_code == 400


def test_options_reach_the_workload(client: Any) -> None:
    script = "echo $A; id -u; id -g; pwd; hostname; cat /sys/fs/cgroup/pids.max 2>/dev/null; "
    out = client.containers.run(
        "busybox",
        [
            "sh",
            "-c",
            script + "cat /proc/self/limits | grep 'open files'; grep CapEff /proc/1/status",
        ],
        environment={"A": "b c"},
        user="1000:1001",
        working_dir="/tmp",
        hostname="box",
        ulimits=[docker.types.Ulimit(name="nofile", soft=99, hard=100)],
        cap_drop=["ALL"],
        remove=True,
    ).decode()
    lines = out.splitlines()
    assert lines[:5] == ["b c", "1000", "1001", "/tmp", "box"]
    assert any(line.split()[3:5] == ["99", "100"] for line in lines if "open files" in line)
    assert lines[-1].split() == ["CapEff:", "0" * 16]


def test_life_of_a_container(client: Any) -> None:
    container = client.containers.run("busybox", "top", name="life", detach=True, labels={"a": "b"})
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running" and container.name == "life"
    assert client.containers.list(filters={"label": "a=b"}) == [container]
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("life2")
    assert client.containers.get("life2") == container
    first = container.attrs["State"]["StartedAt"]
    container.restart(timeout=0)
    container.reload()
    assert container.status == "running" and container.attrs["State"]["StartedAt"] != first
    with pytest.raises(errors.APIError, match="container is running") as raised:
        container.remove()
    assert raised.value.status_code == 409
    container.kill("SIGKILL")
    assert container.wait(timeout=DEADLINE_S)["StatusCode"] == 137
    container.remove()
    with pytest.raises(errors.NotFound, match="No such container: life2"):
        client.containers.get("life2")


def test_stop_sends_the_stop_signal(client: Any) -> None:
    script = "trap 'exit 42' USR1; echo up; while :; do sleep 0.1; done"
    container = client.containers.run(
        "busybox", ["sh", "-c", script], stop_signal="SIGUSR1", detach=True
    )
    assert next(container.logs(stream=True)) == b"up\n"
    container.stop(timeout=DEADLINE_S)
    assert container.wait(timeout=DEADLINE_S)["StatusCode"] == 42


def test_wait_for_the_next_exit_and_the_removal(client: Any) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "exit 3"])
    results: queue.Queue[Any] = queue.Queue()
    ready = threading.Event()

    def wait(condition: str) -> None:
        ready.set()
        results.put(container.wait(timeout=DEADLINE_S, condition=condition))

    waiter = threading.Thread(target=wait, args=("removed",))
    waiter.start()
    ready.wait(DEADLINE_S)
    container.start()
    assert container.wait(timeout=DEADLINE_S) == {"StatusCode": 3}
    container.remove()
    with_status = (3, 0)  # 0: the wait was registered only after the exit had been seen
    try:
        assert results.get(timeout=DEADLINE_S)["StatusCode"] in with_status
    except queue.Empty:
        pytest.fail("the wait for the removal never ended")
    finally:
        waiter.join(DEADLINE_S)


def test_update_and_inspect_limits(client: Any) -> None:
    container = client.containers.run(
        "busybox", "top", detach=True, mem_limit="64m", nano_cpus=10**9
    )
    assert container.attrs == {} or container.attrs["HostConfig"]["Memory"] in (0, 64 << 20)
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    assert container.attrs["HostConfig"]["NanoCpus"] == 10**9
    container.update(mem_limit=96 << 20, memswap_limit=-1)
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 96 << 20
    with pytest.raises(errors.APIError, match="Minimum memory limit allowed is 6MB"):
        container.update(mem_limit="1k")


def test_names_written_in_another_case_are_honoured(client: Any) -> None:
    host_config = client.api.create_host_config(cpu_rt_period=1000, cpu_rt_runtime=500)
    made = client.api.create_container("busybox", "true", host_config=host_config, runtime="runc")
    shown = client.api.inspect_container(made)["HostConfig"]
    assert (shown["CpuRealtimePeriod"], shown["CpuRealtimeRuntime"]) == (1000, 500)
    assert shown["Runtime"] == "runc"


# --- streams


def test_logs(client: Any) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo a; echo b >&2; echo c"], detach=True
    )
    container.wait(timeout=DEADLINE_S)
    assert sorted(container.logs().splitlines()) == [b"a", b"b", b"c"]
    assert container.logs(stderr=False) == b"a\nc\n"
    assert container.logs(stdout=False) == b"b\n"
    stamped = container.logs(stderr=False, timestamps=True).splitlines()
    assert [line.split(b" ", 1)[1] for line in stamped] == [b"a", b"c"]


def test_logs_tail_and_since(client: Any) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo a; echo b; sleep 0.3; echo c"], detach=True
    )
    container.wait(timeout=DEADLINE_S)
    assert container.logs(tail=2) == b"b\nc\n" and container.logs(tail=0) == b""
    stamps = [line.split()[0] for line in container.logs(timestamps=True).splitlines()]
    assert stamps == sorted(stamps) and len(stamps) == 3
    last = datetime.datetime.fromisoformat(stamps[2][:26].decode()).replace(tzinfo=datetime.UTC)
    assert container.logs(since=last.timestamp()) == b"c\n"
    assert container.logs(until=last.timestamp() - 0.1) == b"a\nb\n"


def test_logs_follow_to_the_end(client: Any) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True
    )
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"


def test_attach_before_start_sees_every_byte(client: Any) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "echo out; echo err >&2"])
    stream = container.attach(stream=True, logs=True, demux=True)
    container.start()
    out, err = zip(*stream, strict=True)
    assert b"".join(part or b"" for part in out) == b"out\n"
    assert b"".join(part or b"" for part in err) == b"err\n"


def test_stdin_half_close_reaches_the_workload(client: Any) -> None:
    container = client.containers.create("busybox", ["wc", "-c"], stdin_open=True, tty=False)
    wire = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    sock = wire._sock
    sock.settimeout(DEADLINE_S)
    sock.sendall(b"x" * 70000)
    sock.shutdown(1)
    said = b""
    while data := sock.recv(4096):
        said += data
    wire.close()
    assert said == b"\x01\0\0\0\0\0\0\x06" + b"70000\n"


def test_exec(client: Any) -> None:
    container = client.containers.run("busybox", "top", detach=True)
    done = container.exec_run(
        ["sh", "-c", "echo $V; pwd; exit 4"], environment={"V": "w"}, workdir="/tmp"
    )
    assert done == (4, b"w\n/tmp\n")
    both = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert both.output == (b"o\n", b"e\n")
    assert container.exec_run("id -u", user="1000").output == b"1000\n"
    assert container.exec_run("no-such-command").exit_code == 127
    code, stream = container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
    assert code is None and b"".join(stream) == b"1\n2\n"


def test_exec_with_stdin(client: Any) -> None:
    container = client.containers.run("busybox", "top", detach=True)
    created = client.api.exec_create(container.id, ["cat"], stdin=True)
    wire = client.api.exec_start(created, socket=True)
    wire._sock.settimeout(DEADLINE_S)
    wire._sock.sendall(b"ping")
    wire._sock.shutdown(1)
    said = b""
    while data := wire._sock.recv(4096):
        said += data
    wire.close()
    assert said == b"\x01\0\0\0\0\0\0\x04ping"
    assert client.api.exec_inspect(created)["ExitCode"] == 0


def test_events(client: Any, lab: EngineLab) -> None:
    since = lab.json("GET", "/info")["SystemTime"]
    stream = client.events(decode=True, filters={"type": "container", "container": "told"})
    client.containers.run("busybox", ["sh", "-c", "exit 5"], name="told", detach=True).wait()
    client.containers.get("told").remove()
    seen = []
    for event in stream:
        seen.append(event)
        if event["Action"] == "destroy":
            break
    stream.close()
    assert [event["Action"] for event in seen] == ["create", "start", "die", "destroy"]
    attributes = seen[2]["Actor"]["Attributes"]
    assert attributes["exitCode"] == "5" and attributes["name"] == "told"
    assert seen[0]["status"] == "create" and seen[0]["from"] == "busybox"
    now = lab.json("GET", "/info")["SystemTime"]
    again = client.events(since=since, until=now, decode=True, filters={"container": "told"})
    assert [event["Action"] for event in again] == [event["Action"] for event in seen]


def test_events_of_volumes_execs_and_failed_starts(client: Any, lab: EngineLab) -> None:
    since = lab.json("GET", "/info")["SystemTime"]
    user = client.containers.run("busybox", "top", detach=True, volumes={"told": {"bind": "/v"}})
    user.exec_run("true")
    user.remove(force=True)
    client.volumes.get("told").remove()
    with pytest.raises(errors.APIError):
        client.containers.run("busybox", "nope", name="failed")
    now = lab.json("GET", "/info")["SystemTime"]
    told = list(client.events(since=since, until=now, decode=True))
    volume = [event for event in told if event["Actor"]["ID"] == "told"]
    assert [event["Action"] for event in volume] == ["create", "mount", "unmount", "destroy"]
    assert volume[1]["Actor"]["Attributes"] == {
        "container": user.id,
        "destination": "/v",
        "driver": "local",
        "propagation": "",
        "read/write": "true",
    }
    actions = [event["Action"] for event in told]
    assert "exec_create: true " in actions and "exec_start: true " in actions
    failed = [e for e in told if e["Actor"]["Attributes"].get("name") == "failed"]
    assert [event["Action"] for event in failed if event["Type"] == "container"] == ["create"]


def test_stats_and_top(client: Any) -> None:
    container = client.containers.run("busybox", ["sleep", "600"], detach=True)
    stats = container.stats(stream=False)
    assert stats["pids_stats"]["current"] == 1 and stats["memory_stats"]["usage"] > 0
    assert stats["networks"]["eth0"]["rx_bytes"] >= 0
    assert stats["read"] > stats["preread"]
    top = container.top()
    assert top["Titles"][-1] == "CMD" and top["Processes"][0][-1] == "sleep 600"


# --- files


def test_archives_both_ways(client: Any) -> None:
    container = client.containers.create("busybox", "true")
    assert container.put_archive("/tmp", tar_of({"in/file": b"data"}))
    chunks, stat = container.get_archive("/tmp/in")
    assert stat["name"] == "in"
    assert members_of(chunks) == {"in/file": b"data"}
    with pytest.raises(errors.NotFound):
        container.get_archive("/missing")
    with pytest.raises(errors.NotFound):
        container.put_archive("/missing", tar_of({}))


def test_diff_and_export(client: Any) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo x > /tmp/new"], detach=True)
    container.wait(timeout=DEADLINE_S)
    changes = container.diff()
    assert {"Path": "/tmp", "Kind": 0} in changes and {"Path": "/tmp/new", "Kind": 1} in changes
    assert members_of(container.export())["tmp/new"] == b"x\n"


# --- images


def test_commit_save_load(client: Any) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo kept > /kept"], detach=True)
    container.wait(timeout=DEADLINE_S)
    image = container.commit("made", tag="1", changes='ENV X=y\nCMD ["cat", "/kept"]', author="me")
    try:
        assert image.tags == ["made:1"] and image.attrs["Author"] == "me"
        assert client.containers.run("made:1", remove=True) == b"kept\n"
        saved = b"".join(image.save(named=True))
        container.remove()
        client.images.remove("made:1")
        assert [item.tags for item in client.images.load(saved)] == [["made:1"]]
        assert client.images.get("made:1").id == image.id
        assert client.images.get("made:1").history()[0]["CreatedBy"]
    finally:
        client.images.remove("made:1", force=True)


def test_commit_of_what_has_just_ended(client: Any) -> None:
    for _ in range(3):
        container = client.api.create_container("busybox", ["touch", "/x"])
        client.api.start(container)
        client.images.remove(client.api.commit(container)["Id"])


def test_import_tag_remove(client: Any) -> None:
    client.api.import_image_from_data(tar_of({"f": b"1"}), repository="own", tag="a")
    image = client.images.get("own:a")
    assert image.tag("own", "b")
    image.reload()
    assert sorted(image.tags) == ["own:a", "own:b"]
    client.images.remove("own:a")
    client.images.remove("own:b")
    with pytest.raises(errors.ImageNotFound):
        client.images.get(image.id)


def test_load_of_something_else(client: Any) -> None:
    with pytest.raises(errors.ImageLoadError):
        client.images.load(b"abc")


def test_an_image_in_use_stays(client: Any) -> None:
    client.containers.create("busybox", "true", name="user")
    image = client.images.get("busybox")
    with pytest.raises(errors.APIError, match="is being used by stopped") as raised:
        client.images.remove(image.id)
    assert raised.value.status_code == 409


# --- volumes and networks


def test_volumes(client: Any) -> None:
    volume = client.volumes.create("kept", labels={"l": "1"})
    mount = {"kept": {"bind": "/data", "mode": "rw"}}
    client.containers.run("busybox", ["sh", "-c", "echo v > /data/f"], volumes=mount, remove=True)
    assert client.containers.run("busybox", "cat /data/f", volumes=mount, remove=True) == b"v\n"
    user = client.containers.create("busybox", volumes=mount)
    assert user.attrs["Mounts"][0]["Name"] == "kept"
    with pytest.raises(errors.APIError, match="volume is in use") as raised:
        volume.remove()
    assert raised.value.status_code == 409
    user.remove()
    volume.remove()
    with pytest.raises(errors.NotFound):
        client.volumes.get("kept")


def test_ports_and_networks(client: Any) -> None:
    container = client.containers.run("busybox", "top", detach=True, ports={"80/tcp": None})
    container.reload()
    assert int(container.ports["80/tcp"][0]["HostPort"]) > 0
    address = container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    bridge = next(item for item in client.networks.list() if item.name == "bridge")
    bridge.reload()
    shown = bridge.attrs["Containers"][container.id]
    assert shown["IPv4Address"].split("/")[0] == address
    assert {item.name for item in client.networks.list()} == {"bridge", "host", "none"}


def test_links_can_be_taken_back(client: Any) -> None:
    client.containers.run("busybox", "top", name="db", detach=True)
    web = client.containers.run("busybox", "top", name="web", detach=True, links={"db": "store"})
    web.reload()
    assert web.attrs["HostConfig"]["Links"] == ["/db:/web/store"]
    assert b"store" in web.exec_run("cat /etc/hosts").output
    client.api.remove_container("web/store", link=True)
    web.reload()
    assert web.attrs["HostConfig"]["Links"] is None


# --- health, restarts, the engine


def test_health(client: Any) -> None:
    check = {"test": ["CMD-SHELL", "test -e /ok"], "interval": 100_000_000, "retries": 1}
    container = client.containers.run("busybox", "top", name="well", detach=True, healthcheck=check)
    stream = client.events(decode=True, filters={"container": "well", "event": "health_status"})
    container.exec_run("touch /ok")
    for event in stream:
        if event["Action"] == "health_status: healthy":
            break
    stream.close()
    container.reload()
    assert container.health == "healthy"
    assert container.attrs["State"]["Health"]["Log"]


def test_restart_policy(client: Any) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    stream = client.events(decode=True, filters={"type": "container", "event": "die"})
    container = client.containers.run("busybox", "false", detach=True, restart_policy=policy)
    ends = [next(stream) for _ in range(3)]
    stream.close()
    assert {end["Actor"]["ID"] for end in ends} == {container.id}
    container.wait(timeout=DEADLINE_S)
    container.reload()
    assert container.attrs["RestartCount"] == 2 and container.status == "exited"


def test_prune(client: Any) -> None:
    client.containers.run("busybox", "true", name="gone", detach=True).wait(timeout=DEADLINE_S)
    keep = client.containers.run("busybox", "top", detach=True)
    assert len(client.containers.prune()["ContainersDeleted"]) == 1
    assert client.containers.list(all=True) == [keep]
    assert client.containers.prune()["ContainersDeleted"] is None


def test_the_engine(client: Any) -> None:
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["Driver"] == "overlay2"
    assert {"LayersSize", "Images", "Containers", "Volumes"} <= client.df().keys()
    assert client.swarm.attrs == {} or not client.swarm.attrs
    with pytest.raises(errors.APIError) as raised:
        client.nodes.list()
    assert raised.value.status_code == 503


# --- networks of one's own


@pytest.fixture
def networks(client: Any) -> Iterator[Any]:
    yield client.networks
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.networks.prune()


def test_a_network_is_made_listed_shown_and_removed(networks: Any) -> None:
    pool = docker.types.IPAMPool(
        subnet="10.233.1.0/24", gateway="10.233.1.254", iprange="10.233.1.128/25",
        aux_addresses={"router": "10.233.1.129"},
    )  # fmt: skip
    made = networks.create(
        "mine", ipam=docker.types.IPAMConfig(pool_configs=[pool]), internal=True,
        labels={"a": "b"}, options={"com.docker.network.driver.mtu": "1400"},
    )  # fmt: skip
    made.reload()
    assert made.attrs["IPAM"]["Config"] == [
        {
            "Subnet": "10.233.1.0/24",
            "Gateway": "10.233.1.254",
            "IPRange": "10.233.1.128/25",
            "AuxiliaryAddresses": {"router": "10.233.1.129"},
        }
    ]
    assert (made.attrs["Internal"], made.attrs["Labels"]) == (True, {"a": "b"})
    assert networks.list(names=["mine"]) == networks.list(ids=[made.id]) == [made]
    assert networks.list(filters={"label": "a=b"}) == [made]
    with pytest.raises(errors.APIError, match="network with name mine already exists") as raised:
        networks.create("mine")
    assert raised.value.status_code == 409
    made.remove()
    with pytest.raises(errors.NotFound, match="network mine not found"):
        networks.get("mine")


def test_containers_join_and_leave(client: Any, networks: Any) -> None:
    made = networks.create("mine", ipam=docker.types.IPAMConfig(
        pool_configs=[docker.types.IPAMPool(subnet="10.233.2.0/24")]
    ))  # fmt: skip
    db = client.containers.run("busybox", "top", detach=True, name="db", network="mine")
    web = client.containers.run("busybox", "top", detach=True, name="web")
    made.connect(web, aliases=["front"], ipv4_address="10.233.2.77", links=[("db", "store")])
    made.reload()
    assert made.containers == [db, web] or made.containers == [web, db]
    web.reload()
    shown = web.attrs["NetworkSettings"]["Networks"]
    assert shown["mine"]["IPAddress"] == "10.233.2.77"
    assert shown["mine"]["Links"] == ["db:store"]
    assert set(shown) == {"bridge", "mine"}
    for asker, name, address in ((db, "front", "10.233.2.77"), (web, "store", "10.233.2.2")):
        answer = asker.exec_run(["nslookup", name]).output.decode()
        assert address in answer, answer
    with pytest.raises(errors.APIError, match="has active endpoints") as raised:
        made.remove()
    assert raised.value.status_code == 403
    made.disconnect(web)
    web.reload()
    assert set(web.attrs["NetworkSettings"]["Networks"]) == {"bridge"}
    assert db.exec_run(["nslookup", "front"]).exit_code != 0
    with pytest.raises(errors.NotFound, match="is not connected to network mine"):
        made.disconnect(web)
    db.remove(force=True)
    assert networks.prune()["NetworksDeleted"] == ["mine"]
