"""Containers whose users are others on the host: what they see, own, share and cannot do."""

import contextlib
import io
import os
import socket
import stat
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import Hammer, docker, execute, follow, output, web

pytestmark = pytest.mark.root

BASE = 0x7F000000
PRIVATE = {"UsernsMode": "private"}


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(70) as engine:
        engine.directory.chmod(0o711)  # the container's root goes through it
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    null = os.stat("/dev/null")
    yield
    lab.remove_all()
    lab.call("POST", '/volumes/prune?filters={"all":["true"]}')
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode) == (0, null.st_mode)


def sleeping(lab: EngineLab, name: str = "", **host: Any) -> str:
    return lab.run("sleep", "600", name=name, HostConfig={**PRIVATE, **host})


def shell(lab: EngineLab, container: str, script: str, **fields: Any) -> str:
    code, text = execute(lab, container, "sh", "-c", script, **fields)
    assert code == 0, text
    return text.decode()


def said(lab: EngineLab, script: str, **host: Any) -> str:
    return output(lab, "sh", "-c", script, HostConfig={**PRIVATE, **host})


def on_disk(lab: EngineLab, container: str, path: str) -> os.stat_result:
    """A file that the container made, as its layer has it."""
    return os.stat(lab.data_root / "snapshots/snapshots" / container / "upper" / path)


def tar_of(name: str, uid: int, gid: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.uid, info.gid, info.size = uid, gid, 2
        tar.addfile(info, io.BytesIO(b"hi"))
    return out.getvalue()


def owners(data: bytes) -> dict[str, tuple[int, int]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {item.name.removeprefix("./"): (item.uid, item.gid) for item in tar}


# -- what the container is


def test_root_inside_is_nobody_outside(lab: EngineLab) -> None:
    box = sleeping(lab)
    pid = lab.inspect(box)["State"]["Pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(BASE), "65536"]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", str(BASE), "65536"]
    assert os.stat(f"/proc/{pid}").st_uid == BASE
    assert lab.json("GET", f"/containers/{box}/top?ps_args=-eo%20pid,uid")["Processes"] == [
        [str(pid), str(BASE)]
    ]
    other = sleeping(lab)
    other_pid = lab.inspect(other)["State"]["Pid"]
    kinds = ("user", "net", "ipc", "uts", "pid", "mnt")
    mine, theirs, host = (
        [os.readlink(f"/proc/{number}/ns/{kind}") for kind in kinds]
        for number in (pid, other_pid, "self")
    )
    assert not {*mine} & {*theirs} | {*mine} & {*host}
    assert lab.inspect(box)["HostConfig"]["UsernsMode"] == "private"


def test_capabilities_count_inside_only(lab: EngineLab) -> None:
    box = sleeping(lab)
    for text in (
        said(lab, "cat /proc/self/status"),
        shell(lab, box, "cat /proc/self/status"),
        shell(lab, box, "cat /proc/self/status", User="1"),
    ):
        lines = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        assert int(lines["CapInh"], 16) == 0
        assert int(lines["CapAmb"], 16) == 0
        assert lines["Seccomp"] == "2"
    powers = {"CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined"]}
    text = said(
        lab,
        "mknod /tmp/disk b 254 0 && echo made;"
        "mount -o remount,rw /proc/sys; echo x > /proc/sys/kernel/core_pattern && echo wrote;"
        "dmesg -c >/dev/null && echo cleared; nice -n -5 true && echo pushed;"
        "chown 5 /dev/null && echo owned; chmod 0 /dev/null && echo closed;"
        "ip link set lo down && echo own network",
        **powers,
    )
    assert [line for line in text.splitlines() if ":" not in line][-1:] == ["own network"]
    for word in ("made", "wrote", "cleared", "pushed", "owned", "closed"):
        assert f"\n{word}" not in f"\n{text}", word


def test_files_of_the_engine_and_streams_belong_to_root(lab: EngineLab) -> None:
    script = (
        "stat -c %u:%g /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm /dev/pts /tmp /;"
        "echo more >> /etc/hosts && echo out > /dev/stdout && echo err > /dev/stderr"
    )
    for text in (
        said(lab, script),
        said(lab, script, IpcMode="shareable", Tmpfs={"/tmp": ""}),
        shell(lab, sleeping(lab), script),
    ):
        assert sorted(text.split()) == ["0:0"] * 7 + ["err", "out"]
    text = output(
        lab, "sh", "-c", "id -u; id -g; id -G; echo err > /dev/stderr", User="7:8",
        HostConfig={**PRIVATE, "GroupAdd": ["9"]},
    )  # fmt: skip
    assert sorted(text.split()) == ["7", "8", "8", "9", "err"]
    box = sleeping(lab)
    assert shell(lab, box, "id -u; echo e > /dev/stderr", User="7").split() == ["7", "e"]


def test_a_terminal_belongs_to_its_user(lab: EngineLab) -> None:
    script = "stat -c %u:%a $(tty); echo seen > $(tty)"
    for user, wanted in (("", "0:620"), ("7", "7:620")):
        container = lab.run("sh", "-c", script, Tty=True, User=user, HostConfig=PRIVATE)
        assert lab.wait(container) == 0
        text = lab.call("GET", f"/containers/{container}/logs?stdout=1").decode()
        assert text.split() == [wanted, "seen"]
    box = sleeping(lab)
    body = {"Cmd": ["sh", "-c", script], "Tty": True, "AttachStdout": True}
    session = lab.json("POST", f"/containers/{box}/exec", body)["Id"]
    assert lab.call("POST", f"/exec/{session}/start", {"Tty": True}).split() == [b"0:620", b"seen"]


def test_limits_names_and_sysctls(lab: EngineLab) -> None:
    text = output(
        lab, "sh", "-c",
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ping_group_range "
        "/proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax; ulimit -n",
        Hostname="box", Domainname="inner.test",
        HostConfig={
            **PRIVATE, "Sysctls": {"net.core.somaxconn": "99", "kernel.shmmax": "1000000"},
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Memory": 64 << 20,
        },
    )  # fmt: skip
    assert text.split() == ["box", "inner.test", "0", "65535", "99", "1000000", "100"]
    text = said(lab, "head -c 3 /dev/zero | wc -c; ls /sys/fs/cgroup >/dev/null && echo cgroups")
    assert text.split() == ["3", "cgroups"]


# -- files


def test_files_keep_the_containers_ids_on_disk(lab: EngineLab) -> None:
    box = sleeping(lab)
    shell(lab, box, "touch /made /bin/new; chown 7:8 /bin/new; rm /etc/group; mkdir -p /a/b")
    for path, uid, gid in (("made", 0, 0), ("bin/new", 7, 8), ("a/b", 0, 0)):
        found = on_disk(lab, box, path)
        assert (found.st_uid, found.st_gid) == (uid, gid), path
    assert stat.S_ISCHR(on_disk(lab, box, "etc/group").st_mode)
    changes = {item["Path"]: item["Kind"] for item in lab.json("GET", f"/containers/{box}/changes")}
    assert changes == {
        "/made": 1, "/bin": 0, "/bin/new": 1, "/etc": 0, "/etc/group": 2, "/a": 1, "/a/b": 1
    }  # fmt: skip
    for state in ("running", "exited"):
        exported = owners(lab.call("GET", f"/containers/{box}/export"))
        assert exported["made"] == (0, 0), state
        assert exported["bin/new"] == (7, 8), state
        lab.call("POST", f"/containers/{box}/stop?t=0")
    lab.call("POST", f"/commit?container={box}&repo=kept")
    try:
        script = "stat -c %u:%g /made /bin/new; test ! -e /etc/group"
        for host in ({}, PRIVATE):
            text = output(lab, "sh", "-c", script, Image="kept", HostConfig=host)
            assert text.split() == ["0:0", "7:8"], host
    finally:
        lab.remove_all()
        lab.call("DELETE", "/images/kept")


def test_a_package_managers_work(lab: EngineLab) -> None:
    """Changing owners and modes of the image's own files, set-user-ID and links among them."""
    text = said(
        lab,
        "cp /bin/busybox /usr/b && chown 1000:42 /usr/b && chmod 4755 /usr/b &&"
        "chown -R 33:33 /var /home && ln /usr/b /usr/c && mkfifo /usr/p && mknod /usr/w p &&"
        "mkdir -m 1777 /usr/t && mv /usr/t /usr/u && rm -r /root &&"
        "stat -c %u:%g:%a /usr/b /usr/c /var /usr/u && chown 65535 /usr/b && ! chown 65536 /usr/b",
    )
    assert text.splitlines()[:4] == ["1000:42:4755", "1000:42:4755", "33:33:755", "0:0:1777"]


def test_volumes_are_shared_with_unmapped_containers(lab: EngineLab) -> None:
    binds = {"Binds": ["userns-shared:/v"]}
    plain = lab.run("sleep", "600", HostConfig=binds)
    shell(lab, plain, "touch /v/zero /v/seven; chown 7:7 /v/seven; chmod 600 /v/zero")
    box = sleeping(lab, **binds)
    assert shell(lab, box, "stat -c %u:%g /v /v/zero /v/seven").split() == ["0:0", "0:0", "7:7"]
    shell(lab, box, "echo text > /v/zero; touch /v/mine; chown 9 /v/mine; rm /v/seven")
    assert shell(lab, plain, "cat /v/zero; stat -c %u:%g /v/mine; ls /v").split() == [
        "text", "9:0", "mine", "zero",
    ]  # fmt: skip


def test_new_volumes_get_the_images_files(lab: EngineLab) -> None:
    lab.call(
        "PUT", f"/containers/{(box := sleeping(lab))}/archive?path=/home", raw=tar_of("f", 7, 8)
    )
    lab.call("POST", f"/commit?container={box}&repo=filled")
    try:
        binds = ["/home", "userns-named:/etc"]
        text = output(
            lab, "sh", "-c", "stat -c %u:%g /home /home/f /etc/passwd; touch /home/new",
            Image="filled", HostConfig={**PRIVATE, "Binds": binds},
        )  # fmt: skip
        assert text.split() == ["0:0", "7:8", "0:0"]
    finally:
        lab.remove_all()
        lab.call("DELETE", "/images/filled")


def test_a_part_of_a_volume(lab: EngineLab) -> None:
    lab.run("sh", "-c", "mkdir /v/part; touch /v/part/f", HostConfig={"Binds": ["userns-p:/v"]})
    mount = {
        "Type": "volume", "Source": "userns-p", "Target": "/p", "VolumeOptions": {"Subpath": "part"}
    }  # fmt: skip
    until(lambda: (lab.data_root / "volumes/userns-p/_data/part/f").exists(), "the part is there")
    assert said(lab, "stat -c %u /p/f; touch /p/g", Mounts=[mount]).split() == ["0"]
    assert os.stat(lab.data_root / "volumes/userns-p/_data/part/g").st_uid == 0


def test_a_volume_that_cannot_be_shown_with_other_ids(lab: EngineLab) -> None:
    options = {"type": "ramfs", "device": "none"}
    lab.call("POST", "/volumes/create", {"Name": "userns-ram", "DriverOpts": options})
    binds = {"Binds": ["userns-ram:/v"]}
    with pytest.raises(ApiError, match="cannot mount volume userns-ram in a user namespace: its"):
        sleeping(lab, **binds)
    assert output(lab, "touch", "/v/f", HostConfig=binds) == ""
    lab.remove_all()
    lab.call("DELETE", "/volumes/userns-ram")


def test_an_image_is_mounted(lab: EngineLab) -> None:
    filled = lab.run("sh", "-c", "mkdir /more; touch /more/f; chown 7:8 /more/f")
    assert lab.wait(filled) == 0
    lab.call("POST", f"/commit?container={filled}&repo=mounted")
    try:
        for source in ("mounted", "busybox"):
            mount = {"Type": "image", "Source": source, "Target": "/img"}
            box = sleeping(lab, Mounts=[mount])
            text = shell(lab, box, "stat -c %u:%g /img/bin/sh; touch /img/x 2>&1 | grep -o Read")
            assert text.split() == ["0:0", "Read"], source
        box = sleeping(lab, Mounts=[{"Type": "image", "Source": "mounted", "Target": "/img"}])
        assert shell(lab, box, "stat -c %u:%g /img/more/f").split() == ["7:8"]
        for _ in ("running", "exited"):
            got = lab.call("GET", f"/containers/{box}/archive?path=/img/more/f")
            assert owners(got) == {"f": (7, 8)}
            lab.call("POST", f"/containers/{box}/stop?t=0")
    finally:
        lab.remove_all()
        lab.call("DELETE", "/images/mounted")


def test_bind_mounts_are_the_hosts(lab: EngineLab) -> None:
    place = lab.directory / "bound"
    place.mkdir(mode=0o755)
    (place / "secret").write_text("secret")
    (place / "secret").chmod(0o600)
    (place / "theirs").touch()
    os.chown(place / "theirs", BASE + 7, BASE + 8)
    text = said(
        lab,
        "stat -c %u:%g /b /b/theirs; cat /b/secret; touch /b/new && echo made;"
        "chown 0 /b/secret && echo owned; chmod 777 /b && echo opened; rm /b/theirs && echo gone;"
        "mount --bind /b /tmp && touch /tmp/new && echo around; true",
        Binds=[f"{place}:/b"],
        CapAdd=["ALL"],
    )
    assert text.split()[:2] == ["65534:65534", "7:8"]
    for word in ("secret\n", "made", "owned", "opened", "gone", "around"):
        assert f"\n{word}" not in text, word
    assert sorted(os.listdir(place)) == ["secret", "theirs"]
    assert said(lab, "stat -c %u:%g /n; touch /n/f", Binds=[f"{place}/fresh/er:/n"]).split() == [
        "0:0"
    ]
    assert os.stat(place / "fresh/er/f").st_uid == BASE


@pytest.mark.parametrize("running", [True, False])
def test_copying_both_ways(lab: EngineLab, running: bool) -> None:
    box = sleeping(lab, Binds=["userns-copy:/v"])
    if not running:
        lab.call("POST", f"/containers/{box}/stop?t=0")
    for folder in ("/home", "/v", "/"):
        lab.call("PUT", f"/containers/{box}/archive?path={folder}", raw=tar_of("f", 7, 8))
        got = owners(lab.call("GET", f"/containers/{box}/archive?path={folder.rstrip('/')}/f"))
        assert got == {"f": (7, 8)}, folder
    assert (on_disk(lab, box, "home/f").st_uid, on_disk(lab, box, "f").st_gid) == (7, 8)
    assert os.stat(lab.data_root / "volumes/userns-copy/_data/f").st_uid == 7
    assert lab.call("HEAD", f"/containers/{box}/archive?path=/home/f") == b""
    if not running:
        lab.call("POST", f"/containers/{box}/start")
    text = shell(lab, box, "stat -c %u:%g /home/f /v/f /f; cat /f; touch /etc/hosts")
    assert text == "7:8\n7:8\n7:8\nhi"


def test_devices_do_not_get_in(lab: EngineLab) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("disk")
        info.type, info.devmajor, info.devminor = tarfile.BLKTYPE, 254, 0
        tar.addfile(info)
    box = sleeping(lab)
    with pytest.raises(ApiError, match="not permitted"):
        lab.call("PUT", f"/containers/{box}/archive?path=/home", raw=out.getvalue())
    assert shell(lab, box, "ls /home") == ""


def test_copying_by_the_docker_cli(lab: EngineLab, tmp_path: Path) -> None:
    box = sleeping(lab)
    (tmp_path / "in").write_text("in")
    assert docker(lab, "cp", str(tmp_path / "in"), f"{box}:/in").returncode == 0
    assert shell(lab, box, "stat -c %u:%g /in; cat /in") == "0:0\nin"
    assert docker(lab, "cp", f"{box}:/etc/hosts", str(tmp_path / "out")).returncode == 0
    assert "localhost" in (tmp_path / "out").read_text()
    assert os.stat(tmp_path / "out").st_uid == os.getuid()


# -- network


def test_a_low_port_is_served(lab: EngineLab) -> None:
    box, port = web(lab, **PRIVATE)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert answer.read() == b"page\n"
    assert shell(lab, box, "id -u; httpd -p 443 -h /www && echo low", User="7").split() == [
        "7", "low",
    ]  # fmt: skip
    inside = Path(f"/proc/{lab.inspect(box)['State']['Pid']}/ns/net")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 1)) != 0
    assert os.readlink(inside) != os.readlink("/proc/self/ns/net")
    gateway = lab.inspect(box)["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    assert "0% packet loss" in shell(lab, box, f"ping -c 1 -W 5 {gateway}")
    alone = said(lab, "ls /sys/class/net", NetworkMode="none")
    assert alone.split() == ["lo"]


def test_namespaces_of_another_mapped_container(lab: EngineLab) -> None:
    first = sleeping(lab, name="userns-first", IpcMode="shareable")
    mode = f"container:{first}"
    for modes in (
        {"NetworkMode": mode, "PidMode": mode, "IpcMode": mode},
        {"PidMode": mode},
        {"IpcMode": mode},
        {"NetworkMode": mode},
    ):
        second = sleeping(lab, **modes)
        names = {"NetworkMode": "net", "PidMode": "pid", "IpcMode": "ipc"}
        one, two = (lab.inspect(item)["State"]["Pid"] for item in (first, second))
        for name in ("user", *(names[kind] for kind in modes)):
            assert os.readlink(f"/proc/{one}/ns/{name}") == os.readlink(f"/proc/{two}/ns/{name}")
        assert shell(lab, second, "touch /dev/shm/x; stat -c %u /dev/shm/x").split() == ["0"]
    plain = lab.run("sleep", "600", HostConfig={"IpcMode": "shareable"})
    for kind in ("NetworkMode", "PidMode", "IpcMode"):
        with pytest.raises(ApiError, match="has other user ids"):
            sleeping(lab, **{kind: f"container:{plain}"})
    alien = sleeping(lab, IpcMode="shareable")
    with pytest.raises(ApiError, match="user namespaces of their own"):
        sleeping(lab, PidMode=mode, IpcMode=f"container:{alien}")
    guest = lab.run("sleep", "600", HostConfig={"NetworkMode": mode})
    assert shell(lab, guest, "hostname -i") == shell(lab, first, "hostname -i")


# -- its life


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"Privileged": True}, "privileged mode is incompatible with user namespaces"),
        ({"NetworkMode": "host"}, "cannot share the host's network namespace when user namespaces"),
        ({"PidMode": "host"}, "cannot share the host PID namespace when user namespaces are"),
        ({"IpcMode": "host"}, "cannot share the host's IPC namespace when user namespaces are"),
    ],
)
def test_what_it_cannot_have(lab: EngineLab, host: dict[str, Any], text: str) -> None:
    with pytest.raises(ApiError, match=text) as raised:
        lab.create("true", HostConfig={**PRIVATE, **host})
    assert raised.value.status == 400
    lab.create("true", HostConfig={"UsernsMode": "host", **host})


def test_the_way_to_its_files_is_open_to_others(lab: EngineLab) -> None:
    lab.directory.chmod(0o700)
    try:
        with pytest.raises(ApiError, match=f"chmod o[+]x {lab.directory}"):
            sleeping(lab)
    finally:
        lab.directory.chmod(0o711)


def test_a_user_beyond_the_range(lab: EngineLab) -> None:
    with pytest.raises(
        ApiError, match="user 70000, group 0: the container's user namespace has no"
    ):
        lab.run("true", User="70000", HostConfig=PRIVATE)
    code, text = execute(lab, sleeping(lab), "true", User="70000")
    assert code != 0
    assert b"no such ids" in text


def test_restart_stop_start_and_health(lab: EngineLab) -> None:
    check = {"Test": ["CMD", "test", "-O", "/root"], "Interval": 20_000_000, "Retries": 1}
    box = lab.run("sleep", "600", Healthcheck=check, HostConfig={**PRIVATE, "Binds": ["/v"]})
    shell(lab, box, "touch /kept /v/kept")
    for how in ("restart?t=0", "stop?t=0", "start", "pause", "unpause"):
        lab.call("POST", f"/containers/{box}/{how}")
    until(lambda: lab.inspect(box)["State"]["Health"]["Status"] == "healthy", "it is healthy")
    assert shell(lab, box, "stat -c %u /kept /v/kept").split() == ["0", "0"]


def test_the_engine_is_killed_and_adopts_them(lab: EngineLab) -> None:
    box, port = web(lab, **PRIVATE, Binds=["userns-adopt:/v"])
    first = sleeping(lab)
    guest = sleeping(lab, NetworkMode=f"container:{first}")
    with Hammer(port) as hammer:
        hammer.await_more("it serves")
        lab.kill()
        lab.start()
        hammer.await_more("it goes on")
    assert not hammer.failed
    assert lab.status(box) == "running"
    assert shell(lab, box, "id -u; touch /v/after; stat -c %u /v/after").split() == ["0", "0"]
    lab.call("PUT", f"/containers/{box}/archive?path=/v", raw=tar_of("put", 7, 8))
    lab.call("PUT", f"/containers/{guest}/archive?path=/", raw=tar_of("put", 7, 8))
    assert shell(lab, box, "stat -c %u /v/put").split() == ["7"]
    assert shell(lab, guest, "stat -c %u /put").split() == ["7"]
    again = sleeping(lab, NetworkMode=f"container:{first}")
    assert lab.status(again) == "running"
    lab.call("POST", f"/containers/{box}/restart?t=0")
    assert shell(lab, box, "stat -c %u /v/put").split() == ["7"]


def test_nobody_on_the_host_gets_into_its_files(lab: EngineLab) -> None:
    box = sleeping(lab)
    root = lab.exec_root / "mapped" / box / "root"
    assert root.is_dir()
    for uid, gid, wanted in ((1000, 1000, False), (BASE, BASE, True)):
        words = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "ls", str(root)]
        done = subprocess.run(words, capture_output=True, check=False)
        assert (done.returncode == 0) is wanted, (uid, done.stderr)


def test_the_docker_cli_sees_it(lab: EngineLab) -> None:
    box = sleeping(lab)
    with follow(lab, f"/containers/{box}/stats") as stats:
        until(lambda: stats.objects(), "statistics come")
    assert docker(lab, "exec", box, "id", "-u").stdout == "0\n"
    assert docker(lab, "inspect", "-f", "{{.HostConfig.UsernsMode}}", box).stdout == "private\n"


def test_killed_on_the_way(lab: EngineLab) -> None:
    """At each of these points something of a mapped container exists that another has not."""
    shared = {**PRIVATE, "Binds": ["userns-kill:/v"], "IpcMode": "shareable"}
    for point in (
        "start.mounted", "network.attach.netns-made", "start.attached", "start.prepared",
        "runtime.created", "start.running", "exit.seen", "exit.cleared",
        "network.detach.netns-removed",
    ):  # fmt: skip
        box = lab.create("touch", "/v/f", name="userns-killed", HostConfig=shared)
        lab.stop()
        lab.start({"NARU_FAILPOINTS": f"{point}=kill"})
        with contextlib.suppress(OSError):
            lab.call("POST", f"/containers/{box}/start")
            lab.wait(box)
        process = lab.process
        assert process is not None
        until(lambda process=process: process.poll() is not None, f"{point} kills narud")
        lab.start()
        until(lambda box=box: lab.status(box) in ("created", "exited"), f"{point}: it is not up")
        until(lambda: not lab.leftovers(), f"{point}: nothing is left: {lab.leftovers()}")
        lab.call("POST", f"/containers/{box}/start")
        assert lab.wait(box) == 0, point
        lab.call("DELETE", f"/containers/{box}")
