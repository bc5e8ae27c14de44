"""What a process inside really gets: capabilities, filter, ids, limits, descriptors."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import json
from seccomp_filter import X86_64, Filter, filter_of
from spec_container import Sandbox

from naru.base.errors import StartFailed
from naru.runtime.resources import has_swap_limit
from naru.runtime.seccomp import numbers
from naru.runtime.seccomp.cache import SeccompCache
from naru.runtime.user import ResolvedUser, resolve_user
from naru.spec.engine.container_config import ContainerConfig, DeviceMapping, HostConfig, Ulimit

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("crun") is None, reason="needs crun"),
]

DEFAULT_MASK = "00000000a80425fb"
STATUS = "cat /proc/self/status"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    yield from Sandbox.make(tmp_path_factory.mktemp("spec"))


def fields(status: str) -> dict[str, str]:
    return {
        name: value.strip()
        for name, _, value in (line.partition(":") for line in status.splitlines())
    }


def test_default_capabilities_and_filter(sandbox: Sandbox) -> None:
    status = fields(sandbox.sh(STATUS))
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert status["CapPrm"] == status["CapEff"] == status["CapBnd"] == DEFAULT_MASK
    assert (status["Seccomp"], status["Seccomp_filters"], status["NoNewPrivs"]) == ("2", "1", "0")


def test_precompiled_filter_is_the_one_installed(sandbox: Sandbox, tmp_path: Path) -> None:
    spec = sandbox.spec("/bin/sleep", "60")
    cache = SeccompCache(str(tmp_path / "filters"), "test", sandbox.host.machine)
    program = cache.get(cache.key(spec["linux"]["seccomp"]))
    if program is None:
        pytest.skip("no compiler for this machine")
    bundle = sandbox.bundle(sandbox.spec("/bin/sleep", "60", seccomp_bpf=program))
    sandbox.crun("create", "--bundle", str(bundle), bundle.name)
    try:
        sandbox.crun("start", bundle.name)
        pid = sandbox.pid(bundle.name)
        installed = Filter(filter_of(pid))
        status = fields(Path(f"/proc/{pid}/status").read_text())
    finally:
        sandbox.crun("delete", "-f", bundle.name)
    assert status["Seccomp"] == "2"
    assert status["CapInh"] == "0" * 16
    assert installed.decide(X86_64, numbers.X86_64["unshare"]) == "errno 1"
    assert installed.decide(X86_64, numbers.X86_64["fchmodat2"]) == "allow"
    assert installed.decide(X86_64, 9999) == "errno 38"


def test_compiled_by_the_runtime_and_learnt(sandbox: Sandbox, tmp_path: Path) -> None:
    bundle = sandbox.bundle(sandbox.spec("/bin/sleep", "60"))
    sandbox.crun("create", "--bundle", str(bundle), bundle.name)
    cache = SeccompCache(str(tmp_path / "filters"), "test", "another-machine")
    key = cache.key({"made": "by the runtime"})
    try:
        assert cache.get(key) is None
        assert cache.learn(key, str(sandbox.state / bundle.name))
    finally:
        sandbox.crun("delete", "-f", bundle.name)
    again = SeccompCache(str(tmp_path / "filters"), "test", "another-machine").get(key)
    assert again is not None and again == cache.get(key)
    status = fields(sandbox.sh(STATUS, seccomp_bpf=again))
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize("precompiled", [False, True])
def test_denied_calls(sandbox: Sandbox, tmp_path: Path, precompiled: bool) -> None:
    script = "unshare -r true && echo escaped; mount -t tmpfs x /tmp && echo escaped; echo end"
    more = {}
    if precompiled:
        cache = SeccompCache(str(tmp_path / "filters"), "test", sandbox.host.machine)
        more["seccomp_bpf"] = cache.get(cache.key(sandbox.spec("x")["linux"]["seccomp"]))
    assert sandbox.sh(script, **more) == "end\n"


def test_unconfined(sandbox: Sandbox) -> None:
    status = fields(sandbox.sh(STATUS, host_config=HostConfig(security_opt=["seccomp=unconfined"])))
    assert status["Seccomp"] == "0"


def test_custom_profile(sandbox: Sandbox) -> None:
    profile = (
        '{"defaultAction":"SCMP_ACT_ALLOW",'
        '"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}'
    )
    output = sandbox.sh(
        "mkdir /tmp/x || echo refused",
        host_config=HostConfig(security_opt=[f"seccomp={profile}"]),
    )
    assert output == "refused\n"


def test_privileged_is_bounded_by_the_host(sandbox: Sandbox) -> None:
    status = fields(sandbox.sh(STATUS, host_config=HostConfig(privileged=True)))
    host = fields(Path("/proc/self/status").read_text())
    assert status["CapEff"] == status["CapBnd"]
    assert int(status["CapBnd"], 16) == int(host["CapBnd"], 16)
    assert (status["CapInh"], status["Seccomp"]) == ("0" * 16, "0")


def test_dropped_and_added(sandbox: Sandbox) -> None:
    host_config = HostConfig(cap_drop=["ALL"], cap_add=["net_admin", "CHOWN"])
    status = fields(sandbox.sh(STATUS, host_config=host_config))
    assert int(status["CapEff"], 16) == 1 << 12 | 1


def test_another_user_has_no_capability(sandbox: Sandbox) -> None:
    root_fd = os.open(sandbox.rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        user = resolve_user(root_fd, "web", ["55"])
    finally:
        os.close(root_fd)
    assert user == ResolvedUser(1000, 1000, (1000, 44, 55), "/home/web", "web")
    host_config = HostConfig(security_opt=["no-new-privileges"])
    status = fields(sandbox.sh(STATUS, user=user, host_config=host_config))
    assert status["CapEff"] == status["CapPrm"] == status["CapInh"] == "0" * 16
    assert status["Uid"].split() == ["1000"] * 4
    assert sorted(status["Groups"].split()) == ["1000", "44", "55"]
    assert status["NoNewPrivs"] == "1"


def test_no_descriptor_leaks(sandbox: Sandbox) -> None:
    inherited = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(3)]
    try:
        for fd in inherited:
            os.set_inheritable(fd, True)
        # `ls` itself holds descriptor 3: the directory that it reads.
        assert sandbox.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    finally:
        for fd in inherited:
            os.close(fd)


def test_limits_and_adjustments(sandbox: Sandbox) -> None:
    host_config = HostConfig(
        ulimits=[Ulimit(name="nofile", soft=100, hard=200)],
        oom_score_adj=100,
        sysctls={"net.ipv4.ip_forward": "1", "kernel/msgmax": "9000"},
        init=sandbox.host.init_path is not None,
    )
    output = sandbox.sh(
        "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward "
        "/proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start "
        "/proc/sys/kernel/domainname; cat /proc/1/cmdline | tr '\\0' ' '",
        host_config=host_config,
        domainname="example.org",
    ).split("\n")
    assert output[:7] == ["100", "200", "100", "1", "9000", "0", "example.org"]
    if host_config.init:
        assert output[7].startswith("/sbin/docker-init -- /bin/sh")


def test_what_the_host_cannot_give(sandbox: Sandbox) -> None:
    if sandbox.host.has_capability("CAP_SYS_RESOURCE"):
        pytest.skip("this host may raise every limit")
    hard = sandbox.host.hard_limits["nofile"]
    with pytest.raises(StartFailed, match="RLIMIT_NOFILE"):
        sandbox.spec(
            "true",
            host_config=HostConfig(ulimits=[Ulimit(name="nofile", soft=1, hard=hard + 1)]),
        )
    with pytest.raises(StartFailed, match="oom_score_adj"):
        sandbox.spec("true", host_config=HostConfig(oom_score_adj=-500))


def test_namespaces_of_the_host(sandbox: Sandbox) -> None:
    kinds = ("pid", "ipc", "uts", "net", "mnt")
    script = "for k in pid ipc uts net mnt; do readlink /proc/self/ns/$k; done"
    shared = HostConfig(pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host")
    inside = sandbox.sh(script, host_config=shared, network_path=None, shm_path="/dev/shm").split()
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert inside[:4] == ours[:4]
    assert inside[4] != ours[4]
    private = sandbox.sh(script).split()
    assert not set(private) & set(ours)


def test_namespace_of_another_container(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(sandbox.spec("/bin/sleep", "60"))
    sandbox.crun("create", "--bundle", str(bundle), bundle.name)
    try:
        sandbox.crun("start", bundle.name)
        pid = sandbox.pid(bundle.name)
        inside = sandbox.sh(
            "readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; ps",
            namespaces={kind: f"/proc/{pid}/ns/{kind}" for kind in ("pid", "ipc")},
            host_config=HostConfig(pid_mode="container:x", ipc_mode="container:x"),
        )
        expected = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "ipc")]
    finally:
        sandbox.crun("delete", "-f", bundle.name)
    assert inside.split()[:2] == expected
    assert "sleep 60" in inside


def test_limits_in_the_cgroup(sandbox: Sandbox) -> None:
    mib = 1 << 20
    host_config = HostConfig(
        memory=64 * mib,
        memory_reservation=16 * mib,
        nano_cpus=1_500_000_000,
        cpu_shares=512,
        pids_limit=100,
        cpuset_cpus="0",
        cgroupns_mode="private",
    )
    if sandbox.host.cgroup_version == 1:
        wanted = {
            "memory/memory.limit_in_bytes": 64 * mib,
            "memory/memory.soft_limit_in_bytes": 16 * mib,
            "cpu/cpu.cfs_quota_us": 150_000,
            "cpu/cpu.shares": 512,
            "pids/pids.max": 100,
            "cpuset/cpuset.cpus": 0,
        }
        if has_swap_limit(sandbox.host):
            wanted["memory/memory.memsw.limit_in_bytes"] = 128 * mib
    else:
        wanted = {
            "memory.max": 64 * mib,
            "memory.low": 16 * mib,
            "pids.max": 100,
            "cpuset.cpus": 0,
            "memory.swap.max": 64 * mib,
        }
    files = " ".join(f"/sys/fs/cgroup/{name}" for name in wanted)
    values = sandbox.sh(f"cat {files}", host_config=host_config).split()
    assert dict(zip(wanted, map(int, values), strict=True)) == wanted


def test_devices(sandbox: Sandbox) -> None:
    host_config = HostConfig(
        devices=[
            DeviceMapping(
                path_on_host="/dev/null", path_in_container="/dev/mine", cgroup_permissions="r"
            )
        ],
        cap_add=["SYS_RAWIO"],
    )
    output = sandbox.sh(
        "ls -l /dev/mine | cut -c1; mknod /tmp/k c 1 11 && cat /tmp/k && echo read; rm -f /tmp/k",
        host_config=host_config,
    )
    assert output == "c\n", "a node may be made, and not be opened"


def test_working_dir_of_a_process_is_refused(sandbox: Sandbox) -> None:
    config = ContainerConfig(working_dir="/proc/self/fd/7")
    result = sandbox.run(sandbox.spec("/bin/ls", config=config), check=False)
    assert result.returncode != 0 and result.stdout == ""


@pytest.mark.parametrize("precompiled", [False, True])
def test_exec_gets_the_filter_and_no_more(
    sandbox: Sandbox, tmp_path: Path, precompiled: bool
) -> None:
    more = {}
    if precompiled:
        cache = SeccompCache(str(tmp_path / "filters"), "test", sandbox.host.machine)
        more["seccomp_bpf"] = cache.get(cache.key(sandbox.spec("x")["linux"]["seccomp"]))
    host_config = HostConfig(security_opt=["no-new-privileges"])
    user = ResolvedUser(1000, 1000, (1000, 44), "/home/web", "web")
    spec = sandbox.spec("/bin/sleep", "60", host_config=host_config, user=user, **more)
    bundle = sandbox.bundle(spec)
    sandbox.crun("create", "--bundle", str(bundle), bundle.name)
    try:
        sandbox.crun("start", bundle.name)
        first = fields(Path(f"/proc/{sandbox.pid(bundle.name)}/status").read_text())
        process = {**spec["process"], "args": ["cat", "/proc/self/status"]}
        (bundle / "exec.json").write_bytes(json.encode(process))
        ran = sandbox.crun("exec", "--process", str(bundle / "exec.json"), bundle.name)
        second = fields(ran.stdout)
    finally:
        sandbox.crun("delete", "-f", bundle.name)
    for status in (first, second):
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert status["CapInh"] == status["CapEff"] == "0" * 16
        assert status["Uid"].split()[0] == "1000"
