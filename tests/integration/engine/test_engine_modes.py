"""Namespaces, users, devices, names and mounts as a client asks for them."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import docker, execute, output, web

pytestmark = pytest.mark.root

KINDS = ("pid", "ipc", "uts", "net", "mnt", "cgroup")


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(56) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def namespaces(lab: EngineLab, container: str) -> dict[str, str]:
    pid = lab.inspect(container)["State"]["Pid"]
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def of_host(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def sleeping(lab: EngineLab, **host: Any) -> str:
    return lab.run("sleep", "600", HostConfig=host)


def shell(lab: EngineLab, container: str, script: str) -> str:
    code, text = execute(lab, container, "sh", "-c", script)
    assert code == 0, text
    return text.decode()


# -- namespaces


def test_namespaces_are_private_unless_asked(lab: EngineLab) -> None:
    private = namespaces(lab, sleeping(lab))
    for kind in KINDS:
        if kind != "cgroup":
            assert private[kind] != of_host(kind), kind
    host = namespaces(lab, sleeping(
        lab, PidMode="host", IpcMode="host", UTSMode="host", NetworkMode="host",
        CgroupnsMode="host",
    ))  # fmt: skip
    for kind in ("pid", "ipc", "uts", "net", "cgroup"):
        assert host[kind] == of_host(kind), kind
    assert host["mnt"] != of_host("mnt")


def test_namespaces_of_another_container(lab: EngineLab) -> None:
    first = sleeping(lab, IpcMode="shareable")
    mode = f"container:{first}"
    second = sleeping(lab, PidMode=mode, IpcMode=mode, NetworkMode=mode)
    one, two = namespaces(lab, first), namespaces(lab, second)
    for kind in ("pid", "ipc", "net"):
        assert one[kind] == two[kind], kind
    shell(lab, first, "echo shared > /dev/shm/note")
    assert shell(lab, second, "cat /dev/shm/note") == "shared\n"
    assert shell(lab, first, "hostname -i") == shell(lab, second, "hostname -i")
    private = sleeping(lab)
    with pytest.raises(ApiError, match="non-shareable IPC"):
        sleeping(lab, IpcMode=f"container:{private}")
    lab.call("POST", f"/containers/{private}/kill")
    with pytest.raises(ApiError, match="non running"):
        sleeping(lab, NetworkMode=f"container:{private}")
    with pytest.raises(ApiError, match="No such container"):
        sleeping(lab, PidMode="container:nobody")
    lab.call("POST", f"/containers/{first}/restart?t=0")
    assert lab.status(first) == "running"


def test_stopping_a_pid_namespace_ends_its_guests(lab: EngineLab) -> None:
    first = sleeping(lab)
    guest = sleeping(lab, PidMode=f"container:{first}")
    lab.call("POST", f"/containers/{first}/kill")
    until(lambda: lab.status(guest) == "exited", "the guest has ended with its namespace")
    assert lab.inspect(guest)["State"]["ExitCode"] == 137


def test_guest_in_the_hosts_pid_namespace_is_wholly_killed(lab: EngineLab) -> None:
    guest = lab.run(
        "sh", "-c", "sleep 4243 & sleep 4243 & sleep 4243", HostConfig={"PidMode": "host"}
    )

    def left() -> int:
        found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        return found.stdout.splitlines().count("sleep 4243")

    until(lambda: left() == 3, "they run")
    lab.call("POST", f"/containers/{guest}/kill")
    until(lambda: left() == 0, "none is left")


# -- names and addresses


def test_names_of_the_container_and_of_others(lab: EngineLab) -> None:
    container = lab.run(
        "sleep", "600", Hostname="box", Domainname="example.org",
        HostConfig={
            "ExtraHosts": ["db:10.9.8.7", "up:host-gateway", "six:fd00::1"],
            "Dns": ["10.1.1.1", "10.1.1.2"], "DnsSearch": ["a.example", "b.example"],
            "DnsOptions": ["ndots:2"],
        },
    )  # fmt: skip
    network = lab.inspect(container)["NetworkSettings"]
    assert shell(lab, container, "hostname") == "box\n"
    assert shell(lab, container, "cat /proc/sys/kernel/domainname") == "example.org\n"
    hosts = shell(lab, container, "cat /etc/hosts").splitlines()
    for line in (
        "127.0.0.1\tlocalhost", "10.9.8.7\tdb", f"{network['Gateway']}\tup", "fd00::1\tsix",
        f"{network['IPAddress']}\tbox.example.org box",
    ):  # fmt: skip
        assert line in hosts, (line, hosts)
    assert shell(lab, container, "grep -v '^#' /etc/resolv.conf").split() == [
        "nameserver", "10.1.1.1", "nameserver", "10.1.1.2", "search", "a.example", "b.example",
        "options", "ndots:2",
    ]  # fmt: skip
    plain = sleeping(lab)
    assert shell(lab, plain, "hostname") == plain[:12] + "\n"
    assert shell(lab, plain, "cat /etc/hostname") == plain[:12] + "\n"
    host = sleeping(lab, NetworkMode="host")
    assert shell(lab, host, "hostname") == socket.gethostname() + "\n"
    with pytest.raises(ApiError, match="(?i)add-host|extra"):
        lab.create("true", HostConfig={"ExtraHosts": ["nonsense"]})
    shell(lab, plain, "echo 1.2.3.4 mine >> /etc/hosts")
    lab.call("POST", f"/containers/{plain}/restart?t=0")
    assert shell(lab, plain, "hostname") == plain[:12] + "\n"


# -- users, privileges and devices


def test_users_and_groups(lab: EngineLab) -> None:
    assert output(lab, "id", "-u", User="1234") == "1234\n"
    assert output(lab, "sh", "-c", "id -u; id -g", User="12:34") == "12\n34\n"
    assert output(lab, "id", "-G", User="12:34", HostConfig={"GroupAdd": ["55", "66"]}) == (
        "34 55 66\n"
    )
    assert output(lab, "sh", "-c", "id -u; echo $HOME", User="root") == "0\n/root\n"
    with pytest.raises(ApiError, match="nobody-here"):
        lab.run("true", User="nobody-here")
    with pytest.raises(ApiError, match="no-such-group"):
        lab.run("true", HostConfig={"GroupAdd": ["no-such-group"]})
    container = sleeping(lab)
    assert execute(lab, container, "id", "-u", User="77") == (0, b"77\n")
    status = "grep -E 'CapInh|CapEff' /proc/self/status"
    assert output(lab, "sh", "-c", status, User="1234").split() == [
        "CapInh:", "0000000000000000", "CapEff:", "0000000000000000",
    ]  # fmt: skip


def capabilities(lab: EngineLab, **host: Any) -> int:
    said = output(lab, "grep", "CapEff", "/proc/self/status", HostConfig=host)
    return int(said.split()[1], 16)


def test_privileges(lab: EngineLab) -> None:
    usual = capabilities(lab)
    assert capabilities(lab, CapDrop=["ALL"]) == 0
    assert capabilities(lab, CapDrop=["ALL"], CapAdd=["NET_BIND_SERVICE"]) == 1 << 10
    assert capabilities(lab, CapAdd=["SYS_ADMIN"]) == usual | 1 << 21
    assert capabilities(lab, Privileged=True) & (1 << 21 | 1 << 12) == 1 << 21 | 1 << 12
    with pytest.raises(ApiError, match="(?i)capability"):
        lab.create("true", HostConfig={"CapAdd": ["NONSENSE"]})
    script = "touch /proc/sys/kernel/domainname && mount -t tmpfs none /mnt && echo may"
    assert "may" in output(lab, "sh", "-c", f"mkdir -p /mnt; {script}",
                           HostConfig={"Privileged": True})  # fmt: skip
    refused = "mkdir -p /mnt; mount -t tmpfs none /mnt 2>/dev/null; echo $?"
    assert output(lab, "sh", "-c", refused) == "1\n"
    said = output(lab, "grep", "NoNewPrivs", "/proc/self/status",
                  HostConfig={"SecurityOpt": ["no-new-privileges"]})  # fmt: skip
    assert said.split() == ["NoNewPrivs:", "1"]


def test_devices(lab: EngineLab) -> None:
    device = {"PathOnHost": "/dev/full", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}
    container = sleeping(lab, Devices=[device])
    assert shell(lab, container, "head -c 3 /dev/mine | wc -c") == "3\n"
    code, _ = execute(lab, container, "sh", "-c", "echo x > /dev/mine")
    assert code != 0
    script = "mknod /made c 1 3; echo x > /made"
    assert "not permitted" in output(lab, "sh", "-c", "mknod /made b 7 99; cat /made", code=1)
    assert output(lab, "sh", "-c", script) == ""
    rules = {"DeviceCgroupRules": ["c 10:200 rwm"]}
    assert output(lab, "sh", "-c", "mknod /tun c 10 200 && echo made", HostConfig=rules) == "made\n"
    with pytest.raises(ApiError, match="no-such-device"):
        sleeping(lab, Devices=[{"PathOnHost": "/dev/no-such-device"}])


def test_read_only_and_tmpfs(lab: EngineLab) -> None:
    container = sleeping(lab, ReadonlyRootfs=True, Tmpfs={"/scratch": "size=1m,mode=1770,uid=5"})
    code, said = execute(lab, container, "touch", "/file")
    assert (code, b"Read-only" in said) == (1, True)
    assert shell(lab, container, "stat -c '%a %u' /scratch") == "1770 5\n"
    code, said = execute(
        lab, container, "dd", "if=/dev/zero", "of=/scratch/big", "bs=1M", "count=3"
    )
    assert (code, b"No space" in said) == (1, True)
    shell(lab, container, "echo fine > /dev/shm/note")
    assert execute(lab, container, "touch", "/etc/hosts")[0] == 1
    mount = {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}}
    other = sleeping(lab, Mounts=[mount])
    assert shell(lab, other, "stat -c %a /t; grep -c ' /t tmpfs' /proc/mounts") == "700\n1\n"
    assert "noexec" in shell(lab, container, "grep ' /scratch ' /proc/mounts")


# -- volumes and binds


def test_binds(lab: EngineLab, tmp_path: Path) -> None:
    missing = tmp_path / "made" / "deep"
    container = sleeping(lab, Binds=[f"{missing}:/there", f"{tmp_path}:/ro:ro"])
    assert missing.is_dir()
    shell(lab, container, "echo hello > /there/file")
    assert (missing / "file").read_text() == "hello\n"
    code, said = execute(lab, container, "touch", "/ro/file")
    assert (code, b"Read-only" in said) == (1, True)
    bind = {"Type": "bind", "Source": str(tmp_path / "absent"), "Target": "/x"}
    with pytest.raises(ApiError, match="bind source path does not exist"):
        lab.create("true", HostConfig={"Mounts": [bind]})
    assert not (tmp_path / "absent").exists()
    single = tmp_path / "single"
    single.write_text("one file\n")
    said = output(lab, "cat", "/etc/single", HostConfig={"Binds": [f"{single}:/etc/single:ro"]})
    assert said == "one file\n"
    for bind_text in ("relative/path:/x", f"{tmp_path}:relative", f"{tmp_path}:/x:nonsense"):
        with pytest.raises(ApiError):
            lab.create("true", HostConfig={"Binds": [bind_text]})
    with pytest.raises(ApiError, match="(?i)duplicate mount point"):
        lab.create("true", HostConfig={"Binds": [f"{tmp_path}:/x", f"{single}:/x"]})


def names(lab: EngineLab) -> set[str]:
    return {item["Name"] for item in lab.json("GET", "/volumes")["Volumes"] or ()}


def volume_of(lab: EngineLab, container: str, destination: str) -> str:
    mounts = lab.inspect(container)["Mounts"]
    return str(next(m["Name"] for m in mounts if m["Destination"] == destination))


def test_volumes(lab: EngineLab) -> None:
    container = sleeping(lab, Binds=["keep:/keep", "bin-copy:/bin:ro"])
    shell(lab, container, "echo kept > /keep/note")
    assert shell(lab, container, "ls /bin/busybox") == "/bin/busybox\n"
    with pytest.raises(ApiError, match="in use"):
        lab.call("DELETE", "/volumes/keep")
    guest = sleeping(lab, VolumesFrom=[f"{container}:ro"])
    assert shell(lab, guest, "cat /keep/note") == "kept\n"
    code, said = execute(lab, guest, "touch", "/keep/x")
    assert (code, b"Read-only" in said) == (1, True)
    lab.call("DELETE", f"/containers/{guest}?force=1&v=1")
    lab.call("DELETE", f"/containers/{container}?force=1&v=1")
    assert {"keep", "bin-copy"} <= names(lab), "rm -v leaves named volumes"
    assert output(lab, "cat", "/keep/note", HostConfig={"Binds": ["keep:/keep"]}) == "kept\n"
    part = {"Type": "volume", "Source": "keep", "Target": "/part",
            "VolumeOptions": {"Subpath": "sub/deep"}}  # fmt: skip
    with pytest.raises(ApiError, match="subpath"):
        sleeping(lab, Mounts=[part])
    output(lab, "sh", "-c", "mkdir -p /k/sub/deep; echo inner > /k/sub/deep/f",
           HostConfig={"Binds": ["keep:/k"]})  # fmt: skip
    assert output(lab, "cat", "/part/f", HostConfig={"Mounts": [part]}) == "inner\n"
    lab.remove_all()
    for name in ("keep", "bin-copy"):
        lab.call("DELETE", f"/volumes/{name}")


def test_anonymous_volumes_go_with_their_container(lab: EngineLab) -> None:
    kept = lab.run("sleep", "600", Volumes={"/data": {}})
    gone = lab.run("sleep", "600", Volumes={"/data": {}})
    automatic = lab.run("sleep", "600", Volumes={"/data": {}}, HostConfig={"AutoRemove": True})
    volumes = [volume_of(lab, item, "/data") for item in (kept, gone, automatic)]
    assert set(volumes) <= names(lab)
    lab.call("DELETE", f"/containers/{kept}?force=1")
    lab.call("DELETE", f"/containers/{gone}?force=1&v=1")
    lab.call("POST", f"/containers/{automatic}/kill")
    until(lambda: volumes[2] not in names(lab), "--rm takes its volume along")
    assert volumes[0] in names(lab)
    assert volumes[1] not in names(lab)
    pruned = json.loads(lab.call("POST", "/volumes/prune"))
    assert pruned["VolumesDeleted"] == [volumes[0]]


def test_restart_keeps_files_and_volumes(lab: EngineLab) -> None:
    container = lab.run(
        "sh", "-c", "echo run >> /count; echo run >> /data/count; sleep 600", Volumes={"/data": {}}
    )

    def counted(runs: int) -> bool:
        return execute(lab, container, "cat", "/count", "/data/count")[1] == b"run\n" * runs * 2

    for runs in (1, 2):
        until(lambda runs=runs: counted(runs), "each run is counted in both")
        lab.call("POST", f"/containers/{container}/restart?t=0")
    until(lambda: counted(3), "the third, too")


# -- the network's rules


def answers(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as page,
    ):
        return bool(page.read())
    return False


def test_flushed_rules_come_back(lab: EngineLab) -> None:
    _, port = web(lab)
    table = lab.bridge().replace("-", "_")
    subprocess.run(["nft", "delete", "table", "inet", table], check=True)
    begun = time.monotonic()
    until(lambda: answers(port), "the port is back", deadline_s=20)
    assert time.monotonic() - begun < 10
    subprocess.run(["nft", "flush", "table", "inet", table], check=True)
    until(lambda: answers(port), "the port is back again", deadline_s=20)


def test_docker_cli_flags(lab: EngineLab) -> None:
    """The same by the words that people type."""
    done = docker(
        lab, "run", "--rm", "--hostname", "typed", "--add-host", "a:1.2.3.4", "--read-only",
        "--tmpfs", "/scratch:size=1m", "--user", "7:8", "--cap-drop", "ALL", "--init",
        "--ulimit", "nofile=64:128", "--memory", "32m", "--cpus", "0.5", "--pids-limit", "20",
        "-e", "WORD=there", "-w", "/scratch", "--network", "none", "--stop-signal", "INT",
        "--sysctl", "kernel.msgmax=9000", "--device", "/dev/null:/dev/mine:rw",
        "busybox", "sh", "-c", "hostname; id -u; pwd; echo $WORD; ulimit -n; ls /sys/class/net",
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == ["typed", "7", "/scratch", "there", "64", "lo"]
