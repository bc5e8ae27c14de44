"""What a process in a container has, sees and may do; asked by probes inside, in run and exec."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import PYTHON, REG, connect, execute, make_image, outcome, system, with_python
from engine_lab import ApiError, EngineLab, engine_lab
from engine_traffic import output

pytestmark = pytest.mark.root

NOBODY = 65534


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(31) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()


@pytest.fixture
def box(lab: EngineLab) -> str:
    return lab.run("sleep", "1000")


def status(text: bytes) -> dict[str, str]:
    """/proc/PID/status."""
    pairs = (line.partition(":") for line in text.decode().splitlines())
    return {name: value.strip() for name, _, value in pairs}


# -- what it is given


@contextlib.contextmanager
def crowd(lab: EngineLab, container: str) -> Iterator[None]:
    """Clients of every kind, so that the engine has many descriptors open."""
    paths = (
        "GET /events", f"GET /containers/{container}/stats", "GET /_ping",
        f"GET /containers/{container}/logs?stdout=1&follow=1",
        f"POST /containers/{container}/attach?stream=1&stdout=1&stdin=1",
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            for path in paths:
                sock = stack.enter_context(connect(lab))
                sock.sendall(f"{path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
                assert sock.recv(12) == b"HTTP/1.1 200"
        yield


def test_no_descriptor_of_the_engine_gets_in(lab: EngineLab, box: str) -> None:
    with crowd(lab, box):
        listings = {
            "run": outcome(lab, "ls", "-l", "/proc/self/fd")[1],
            "run tty": outcome(lab, "ls", "-l", "/proc/self/fd", Tty=True)[1],
            "run init": outcome(lab, "ls", "-l", "/proc/1/fd", HostConfig={"Init": True})[1],
            "first": execute(lab, box, "ls", "-l", "/proc/1/fd")[1],
            "exec": execute(lab, box, "ls", "-l", "/proc/self/fd")[1],
            "exec tty": execute(lab, box, "ls", "-l", "/proc/self/fd", Tty=True)[1],
            "exec privileged": execute(lab, box, "ls", "-l", "/proc/self/fd", Privileged=True)[1],
        }
    for how, listing in listings.items():
        numbers = {
            int(line.split(" -> ")[0].split()[-1])
            for line in listing.decode().splitlines()
            if " -> " in line
        }
        assert numbers <= {0, 1, 2, 3}, (how, listing)
        for line in listing.decode().splitlines():
            target = line.partition(" -> ")[2].strip()
            assert not target.startswith(("socket:", "anon_inode", "/tmp", "/var")), (how, listing)


def test_the_hosts_null_device_is_never_given_away(lab: EngineLab, box: str) -> None:
    """A runtime makes a workload the owner of its stdio: it could then close it to the host."""
    host = os.stat("/dev/null")
    probe = ("stat", "-L", "-c", "%d %i %u", "/proc/self/fd/0")
    for how, (code, text) in {
        "run": outcome(lab, *probe, User="1234"),
        "exec": execute(lab, box, *probe, User="1234"),
        "exec tty": execute(lab, box, *probe, User="1234", Tty=True),
        "exec privileged": execute(lab, box, *probe, User="1234", Privileged=True),
    }.items():
        assert code == 0, (how, text)
        device, inode, _ = text.split()
        assert (int(device), int(inode)) != (host.st_dev, host.st_ino), how
    attack = "chmod 0 /proc/self/fd/0; chmod 0 /proc/self/fd/1; chmod 0 /proc/self/fd/2"
    execute(lab, box, "sh", "-c", attack, User="1234")
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o666


SIGNALS = ("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status")


def test_no_signal_is_blocked_or_ignored(lab: EngineLab, box: str) -> None:
    """Neither in the first process nor in an exec, and not 32 and 33 of the C library either."""
    nothing = ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    assert output(lab, *SIGNALS).split() == nothing
    code, text = execute(lab, box, *SIGNALS)
    assert (code, text.decode().split()) == (0, nothing)


@pytest.mark.parametrize("options", [[], ["no-new-privileges"]])
def test_capabilities_and_filter(lab: EngineLab, options: list[str]) -> None:
    """Twice in run: the second time with the filter that was compiled for the first."""
    host_config = {"SecurityOpt": options}
    probe = ("cat", "/proc/self/status")
    box = lab.run("sleep", "1000", HostConfig=host_config)
    for how, (code, text) in {
        "first": outcome(lab, *probe, HostConfig=host_config),
        "second": outcome(lab, *probe, HostConfig=host_config),
        "exec": execute(lab, box, *probe),
        "exec user": execute(lab, box, *probe, User="1"),
        "exec tty": execute(lab, box, *probe, Tty=True),
        "exec privileged": execute(lab, box, *probe, Privileged=True),
    }.items():
        found = status(text)
        assert code == 0, (how, text)
        assert int(found["CapInh"], 16) == 0, how
        assert int(found["CapAmb"], 16) == 0, how
        assert found["Seccomp"] == "2", how
        assert found["NoNewPrivs"] == ("1" if options else "0"), how
        if how == "exec user":
            assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
            assert found["Uid"].split() == ["1"] * 4
        elif how != "exec privileged":
            assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0xA80425FB, how


def test_compiled_filter_does_not_lend_itself(lab: EngineLab) -> None:
    """Filters are kept by what they allow: more capabilities never widen another's filter."""
    probe = "import ctypes; c=ctypes.CDLL(None, use_errno=True); print(c.unshare(0x10000000))"
    run = {"HostConfig": with_python()}
    for _ in range(2):
        assert outcome(lab, PYTHON, "-c", probe, **run)[1].strip() == b"-1"
        wide = {"HostConfig": {**with_python(), "CapAdd": ["SYS_ADMIN"]}}
        outcome(lab, PYTHON, "-c", probe, **wide)
        loose = {"HostConfig": {**with_python(), "SecurityOpt": ["seccomp=unconfined"]}}
        outcome(lab, PYTHON, "-c", probe, **loose)


SOCKETS = """
import socket, errno
for family, kind, proto in ((38, 5, 0), (40, 1, 0), (40, 5, 0), (16, 3, 9)):
    try:
        socket.socket(family, kind, proto).close()
        print(family, "open")
    except OSError as error:
        print(family, errno.errorcode[error.errno])
socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
print("ordinary sockets open")
"""


def test_dangerous_sockets_are_denied(lab: EngineLab) -> None:
    box = lab.run("sleep", "1000", HostConfig=with_python())
    for code, text in (
        outcome(lab, PYTHON, "-c", SOCKETS, HostConfig=with_python()),
        execute(lab, box, PYTHON, "-c", SOCKETS),
    ):
        lines = text.decode().splitlines()
        assert code == 0 and lines[-1] == "ordinary sockets open", text
        assert all(" E" in line for line in lines[:3]), text
        assert not any("open" in line for line in lines[:3]), text


# -- what it sees


def test_the_hosts_files_are_masked(lab: EngineLab, box: str) -> None:
    script = (
        "for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug"
        " /proc/latency_stats; do [ -e $p ] && [ -n \"$(head -c 1 $p 2>/dev/null)\" ] &&"
        " echo open $p; done;"
        "for p in /proc/acpi /proc/scsi /proc/asound /sys/firmware"
        " /sys/devices/virtual/powercap; do [ -d $p ] && [ -n \"$(ls -A $p)\" ] &&"
        " echo open $p; done;"
        "for p in /sys/devices/system/cpu/cpu*/thermal_throttle; do"
        " [ -d $p ] && [ -n \"$(ls -A $p)\" ] && echo open $p; done;"
        "for p in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe"
        " /proc/sys/vm/panic_on_oom /proc/irq/default_smp_affinity /sys/kernel/uevent_helper"
        " /sys/kernel/mm/ksm/run; do [ -e $p ] && (echo x > $p) 2>/dev/null && echo wrote $p;"
        " done; echo done"
    )  # fmt: skip
    assert outcome(lab, "sh", "-c", script) == (0, b"done\n")
    assert execute(lab, box, "sh", "-c", script) == (0, b"done\n")


def test_the_release_agent_is_out_of_reach(lab: EngineLab) -> None:
    script = (
        "mkdir /tmp/c; for k in memory rdma pids devices; do"
        " mount -t cgroup -o $k cgroup /tmp/c 2>/dev/null && echo mounted;"
        " unshare -Urm sh -c \"mount -t cgroup -o $k c /tmp/c && echo mounted\" 2>/dev/null;"
        " unshare -UrC sh -c \"mount -t cgroup -o $k c /tmp/c && echo mounted\" 2>/dev/null; done;"
        "mount -t cgroup2 none /tmp/c 2>/dev/null && echo mounted;"
        "find /sys/fs/cgroup -name release_agent -o -name notify_on_release |"
        " while read f; do (echo x > $f) 2>/dev/null && echo wrote $f; done;"
        "mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted;"
        "mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x 2>/dev/null && echo made;"
        "mknod /tmp/vda b 254 0 2>/dev/null && dd if=/tmp/vda of=/dev/null count=1 2>/dev/null &&"
        " echo read; echo done"
    )  # fmt: skip
    assert outcome(lab, "sh", "-c", script) == (0, b"done\n")


def test_the_engines_sockets_are_out_of_reach(lab: EngineLab) -> None:
    """No abstract socket of ours, and what lies in directories is for root alone."""
    box = lab.run("cat", OpenStdin=True, HostConfig={"NetworkMode": "host"})
    _, text = execute(lab, box, "cat", "/proc/net/unix")
    marks = (box, str(lab.exec_root), "conmon", "naru", "crun")
    abstract = [line.split()[-1] for line in text.decode().splitlines() if " @" in line]
    assert not [name for name in abstract if any(mark in name for mark in marks)]
    for folder, _, names in os.walk(lab.exec_root):
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            if stat.S_ISSOCK(found.st_mode) and found.st_mode & 0o077:
                assert os.stat(folder).st_mode & 0o077 == 0, f"{folder}/{name}"
    found = os.stat(lab.socket)
    assert stat.S_IMODE(found.st_mode) == 0o660 and found.st_uid == 0


LISTER = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    for act in (os.listdir, os.chdir):
        try:
            act(path)
            print("entered", path)
        except PermissionError:
            pass
"""


def test_state_is_for_root_alone(lab: EngineLab, box: str) -> None:
    """Whoever has an account on the host enters no root file system, volume or secret."""
    lab.call("POST", "/volumes/create", {"Name": "secret"})
    paths = [str(lab.data_root), str(lab.exec_root)]
    lab.exec_root.chmod(0o755)
    lab.kill()
    lab.start()
    for root in list(paths):
        for folder, names, _ in os.walk(root):
            if folder.count("/") - root.count("/") >= 2:
                names.clear()
            paths += [os.path.join(folder, name) for name in names]
    assert len(paths) > 10
    lab.directory.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", LISTER, *paths], capture_output=True, text=True, check=True
        )
        assert done.stdout in ("", f"entered {lab.exec_root}\n"), "traversed for the socket only"
    finally:
        lab.directory.chmod(0o700)
    assert stat.S_IMODE(lab.data_root.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(lab.exec_root.stat().st_mode) == 0o711


def test_state_is_not_in_containers(lab: EngineLab, box: str) -> None:
    script = f"ls -d {lab.data_root} {lab.exec_root} {lab.directory} 2>/dev/null; echo done"
    assert execute(lab, box, "sh", "-c", script) == (0, b"done\n")


# -- who it is


@pytest.mark.parametrize(
    "user",
    [
        "4294967296", "4294967295", "2147483648", "-1", "18446744073709551616", "99" * 400,
        "0:4294967296", "1000:-1", "1000:2147483648", "0x0", "1e3", " 0", "root ", "٠", "big",
        "minus", "empty", "text", "bigroup", "root:biggroup",
    ],
)  # fmt: skip
def test_no_odd_user_is_root(lab: EngineLab, user: str) -> None:
    if not [i for i in lab.json("GET", "/images/json") if "users:latest" in i["RepoTags"]]:
        passwd = (
            b"root:x:0:0:root:/root:/bin/sh\nbig:x:4294967296:4294967296::/:\nminus:x:-1:-1::/:\n"
            b"empty:x:::::\ntext:x:zero:zero::/:\nbigroup:x:5:18446744073709551616::/:\n"
        )
        group = b"root:x:0:\nbiggroup:x:4294967296:\n"
        make_image(lab, "users", system(("etc/passwd", REG, passwd), ("etc/group", REG, group)))
    code, text = outcome(lab, "id", "-u", Image="users", User=user)
    assert code != 0 or text.strip() not in (b"0", b""), (user, text)
    box = lab.run("sleep", "1000", Image="users")
    try:
        code, text = execute(lab, box, "id", "-u", User=user)
    except ApiError as error:
        assert error.status < 500, error
    else:
        assert code != 0 or text.strip() not in (b"0", b""), (user, text)


def test_groups_are_the_images(lab: EngineLab) -> None:
    passwd = b"root:x:0:0::/:\nann:x:1000:1000::/:\n"
    group = b"root:x:0:\nann:x:1000:\nshared:x:2000:ann,root\nother:x:3000:root\nlog:x:4000:ann\n"
    make_image(lab, "groups", system(("etc/passwd", REG, passwd), ("etc/group", REG, group)))
    wanted = {
        "ann": "1000 2000 4000", "1000": "1000 2000 4000", "": "0 2000 3000", "1000:3000": "3000",
        "7777": "0", "7777:8888": "8888", "ann:other": "3000",
    }  # fmt: skip
    for user, groups in wanted.items():
        box = lab.run("sleep", "1000", Image="groups", User=user)
        assert outcome(lab, "id", "-G", Image="groups", User=user)[1].decode().strip() == groups
        assert execute(lab, box, "id", "-G")[1].decode().strip() == groups, user
        assert execute(lab, box, "id", "-G", User=user)[1].decode().strip() == groups, user
    added = {"Image": "groups", "User": "ann", "HostConfig": {"GroupAdd": ["other", "9999"]}}
    box = lab.run("sleep", "1000", **added)
    for text in (outcome(lab, "id", "-G", **added)[1], execute(lab, box, "id", "-G")[1]):
        assert set(text.split()) == {b"1000", b"2000", b"4000", b"3000", b"9999"}


# -- what is slipped in


SYSCTLS = {
    "kernel.core_pattern": "|/tmp/evil",
    "kernel.shm_rmid_forced": "1+kernel.core_pattern=|/tmp/evil",
    "kernel.shm_rmid_forced=1+kernel.core_pattern": "|/tmp/evil",
    "net.ipv4.ip_forward": "1\nkernel.core_pattern=|/tmp/evil",
    "net/../kernel/core_pattern": "|/tmp/evil",
    "net.../../kernel/core_pattern": "|/tmp/evil",
    "net.ipv4.conf.all/../../../../kernel.core_pattern": "|/tmp/evil",
    "fs.mqueue.../../kernel/core_pattern": "|/tmp/evil",
    "kernel.hostname": "evil",
    "vm.overcommit_memory": "1",
    "": "x",
}


@pytest.mark.parametrize("name", sorted(SYSCTLS))
def test_sysctls_stay_in_the_namespace(lab: EngineLab, name: str) -> None:
    watched = [Path("/proc/sys/kernel/core_pattern"), Path("/proc/sys/vm/overcommit_memory")]
    before = [path.read_text() for path in watched]
    try:
        for host_config in ({}, {"Privileged": True}):
            code, text = outcome(
                lab, "true", HostConfig={"Sysctls": {name: SYSCTLS[name]}, **host_config}
            )
            assert code != 0 or name.startswith("net.ipv4.ip_forward"), text
        assert [path.read_text() for path in watched] == before
    finally:
        for path, text in zip(watched, before, strict=True):
            if path.read_text() != text:
                path.write_text(text)


def test_sysctls_of_the_hosts_network_are_refused(lab: EngineLab) -> None:
    for mode, name in (("NetworkMode", "net.ipv4.ip_default_ttl"), ("IpcMode", "kernel.msgmax")):
        with pytest.raises(ApiError) as caught:
            lab.run("true", HostConfig={mode: "host", "Sysctls": {name: "77"}})
        assert caught.value.status == 400


@pytest.mark.parametrize("where", ["Annotations", "Labels", "image label"])
def test_words_to_the_runtime_are_not_passed_on(lab: EngineLab, where: str) -> None:
    """Annotations with which a runtime is told to do something are not a container's to give."""
    mark = Path("/tmp") / f"naru-evil-{os.getpid()}"
    words = {
        "run.oci.seccomp_bpf_data": "BgAAAAAA/38=",
        "run.oci.seccomp.receiver": "/tmp/evil",
        "run.oci.hooks.stdout": str(mark),
        "run.oci.hooks.stderr": str(mark),
        "run.oci.handler": "wasm",
        "run.oci.keep_original_groups": "1",
        "run.oci.mount_context_type": "x",
        "run.oci.systemd.subgroup": "x",
        "run.oci.pidfd_receiver": str(mark),
        "org.criu.config": str(mark),
    }
    for name, value in words.items():
        fields: dict[str, object] = {}
        if where == "Annotations":
            fields = {"HostConfig": {"Annotations": {name: value}}}
        elif where == "Labels":
            fields = {"Labels": {name: value}}
        else:
            make_image(lab, "labelled", system(), f'LABEL {name}="{value}"')
            fields = {"Image": "labelled"}
        code, text = outcome(lab, "cat", "/proc/self/status", **fields)
        assert not mark.exists()
        if code == 0:
            assert status(text)["Seccomp"] == "2", name
            assert status(text)["Seccomp_filters"] == "1", name
        else:
            assert where == "Annotations" and code == -1 and name.encode() in text, (name, text)


def test_the_runtime_is_not_overwritten(lab: EngineLab) -> None:
    """An entry point that is the runtime itself, and a program that writes to what runs it."""
    crun = shutil.which("crun")
    assert crun is not None
    before = hashlib.sha256(Path(crun).read_bytes()).hexdigest()
    evil = b"#!/proc/self/exe\n"
    script = (
        b"#!/bin/sh\nfor i in 1 2 3; do for p in /proc/[0-9]*/exe; do"
        b" (echo dead > $p) 2>/dev/null; done; done; echo tried\n"
    )
    members = (("evil", REG, evil), ("overwrite", REG, script))
    make_image(lab, "overwriter", system(*members))
    outcome(lab, "/evil", Image="overwriter")
    box = lab.run("sh", "-c", "while :; do /overwrite >/dev/null; done", Image="overwriter")
    for command in (("/evil",), ("/overwrite",), ("true",), ("/proc/self/exe", "--version")):
        execute(lab, box, *command)
    assert hashlib.sha256(Path(crun).read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    "bind", ["/tmp:/proc", "/tmp:/proc/self", "/tmp:/", "/tmp:/proc/sys/kernel", "/tmp:/./proc/"]
)
def test_the_kernels_files_are_not_covered(lab: EngineLab, bind: str) -> None:
    code, text = outcome(lab, "true", HostConfig={"Binds": [bind]})
    assert code == -1 and text
