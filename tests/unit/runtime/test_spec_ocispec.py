from dataclasses import replace
from typing import Any

import pytest
from msgspec import json

from naru.base.errors import InvalidParameter, StartFailed
from naru.runtime.devices import ALLOW_ALL, DEFAULT_RULES, Device, parse_rule
from naru.runtime.facts import HostFacts
from naru.runtime.mounts import bind_mount
from naru.runtime.ocispec import SpecRequest, build_spec, environment
from naru.runtime.resources import kept, linux_resources
from naru.runtime.security import parse
from naru.runtime.user import ResolvedUser
from naru.spec.engine.container_config import (
    ContainerConfig,
    HostConfig,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)

V1 = HostFacts(
    cgroup_version=1, cgroup_files=frozenset({"memory.memsw.limit_in_bytes", "blkio.weight"})
)
V2 = HostFacts()


def spec(host_config: HostConfig | None = None, host: HostFacts = V1, **fields: Any) -> Any:
    """The spec as the runtime reads it: through JSON."""
    given: dict[str, Any] = {
        "id": "c1",
        "config": ContainerConfig(),
        "args": ("sh",),
        "env": ("PATH=/bin",),
        "user": ResolvedUser(),
        "rootfs": "/merged",
        "cgroups_path": "/naru/c1",
        "hostname": "c1",
        **fields,
    }
    request = SpecRequest(host_config=host_config or HostConfig(), host=host, **given)
    return json.decode(json.encode(build_spec(request)))


def namespaces(built: Any) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in built["linux"]["namespaces"]}


def test_plain_container() -> None:
    built = spec()
    process = built["process"]
    assert process["args"] == ["sh"]
    assert process["cwd"] == "/"
    assert process["noNewPrivileges"] is False
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    assert len(process["capabilities"]["effective"]) == 14
    assert built["root"] == {"path": "/merged", "readonly": False}
    assert set(namespaces(built)) == {"mount", "network", "uts", "pid", "ipc"}
    assert "/proc/kcore" in built["linux"]["maskedPaths"]
    assert "/proc/sys" in built["linux"]["readonlyPaths"]
    assert "seccomp" not in built["linux"] and "annotations" not in built


def test_cgroup_namespace_follows_the_version() -> None:
    assert "cgroup" in namespaces(spec(host=V2))
    assert "cgroup" not in namespaces(spec(HostConfig(cgroupns_mode="host"), V2))
    assert "cgroup" in namespaces(spec(HostConfig(cgroupns_mode="private"), V1))


def test_shared_namespaces() -> None:
    host = HostConfig(pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host")
    built = spec(host, network_path=None, shm_path="/dev/shm")
    assert set(namespaces(built)) == {"mount"}
    assert "hostname" not in built and "sysctl" not in built["linux"]
    other = HostConfig(pid_mode="container:x", ipc_mode="container:x", network_mode="container:x")
    paths = {"pid": "/proc/7/ns/pid", "ipc": "/proc/7/ns/ipc"}
    built = spec(other, namespaces=paths, network_path="/netns/x")
    shared = {"mount": "", "network": "/netns/x", "uts": "", **paths}
    assert namespaces(built) == shared
    assert "sysctl" not in built["linux"]


def test_default_sysctls_of_an_own_network() -> None:
    built = spec(HostConfig(sysctls={"net/ipv4/ip_unprivileged_port_start": "1024"}))
    assert built["linux"]["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "1024",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    named = spec(domainname="example.org")
    assert named["linux"]["sysctl"]["kernel.domainname"] == "example.org"


def test_privileged() -> None:
    built = spec(HostConfig(privileged=True), replace(V1, bounding=frozenset({"CAP_CHOWN"})))
    assert built["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert built["linux"]["resources"]["devices"] == [dict(rule) for rule in ALLOW_ALL]
    assert "maskedPaths" not in built["linux"] and "readonlyPaths" not in built["linux"]


def test_paths_as_asked_for() -> None:
    built = spec(HostConfig(masked_paths=[], readonly_paths=["/x"]))
    assert built["linux"]["maskedPaths"] == [] and built["linux"]["readonlyPaths"] == ["/x"]
    thermal = replace(V1, thermal_paths=("/sys/devices/system/cpu/cpu0/thermal_throttle",))
    assert spec(host=thermal)["linux"]["maskedPaths"][-1].endswith("thermal_throttle")


def test_seccomp_section_or_filter() -> None:
    section = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert spec(seccomp=section)["linux"]["seccomp"] == section
    built = spec(seccomp=section, seccomp_bpf="AAAA")
    assert "seccomp" not in built["linux"]
    assert built["annotations"] == {"run.oci.seccomp_bpf_data": "AAAA"}


def test_init() -> None:
    with_init = replace(V1, init_path="/usr/bin/tini")
    built = spec(HostConfig(init=True), with_init)
    assert built["process"]["args"] == ["/sbin/docker-init", "--", "sh"]
    assert {
        "destination": "/sbin/docker-init",
        "type": "bind",
        "source": "/usr/bin/tini",
        "options": ["bind", "ro"],
    } in built["mounts"]
    with pytest.raises(StartFailed, match="tini"):
        spec(HostConfig(init=True), V1)


def test_shm_and_ipc() -> None:
    def shm(built: Any) -> list[str]:
        return [m["source"] for m in built["mounts"] if m["destination"] == "/dev/shm"]

    assert shm(spec()) == ["shm"]
    assert shm(spec(HostConfig(ipc_mode="none"))) == []
    assert shm(spec(HostConfig(ipc_mode="shareable"), shm_path="/run/shm")) == ["/run/shm"]


def test_files_follow_the_root() -> None:
    paths = {"hosts_path": "/h", "hostname_path": "/n", "resolv_conf_path": "/r"}
    built = spec(HostConfig(readonly_rootfs=True), **paths)
    options = {m["destination"]: m["options"] for m in built["mounts"]}
    assert options["/etc/hosts"] == options["/etc/resolv.conf"] == ["rbind", "ro", "rprivate"]
    own = spec(**paths, mounts=(bind_mount("/etc/hosts", "/mine"),))
    assert [m["source"] for m in own["mounts"] if m["destination"] == "/etc/hosts"] == ["/mine"]


def test_limits_of_the_host() -> None:
    poor = replace(
        V1,
        bounding=V1.bounding - {"CAP_SYS_RESOURCE"},
        hard_limits={"nofile": 100, "core": -1},
        oom_score_adj=-10,
    )
    fine = HostConfig(
        ulimits=[Ulimit(name="NOFILE", soft=32, hard=100), Ulimit(name="core", soft=-1, hard=-1)]
    )
    assert spec(fine, poor)["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 100, "soft": 32},
        {"type": "RLIMIT_CORE", "hard": (1 << 64) - 1, "soft": (1 << 64) - 1},
    ]
    for hard in (101, -1):
        with pytest.raises(StartFailed, match="RLIMIT_NOFILE"):
            spec(HostConfig(ulimits=[Ulimit(name="nofile", soft=1, hard=hard)]), poor)
    with pytest.raises(StartFailed, match="too low"):
        spec(HostConfig(ulimits=[Ulimit(name="nofile", soft=10, hard=100)]), poor)
    assert spec(host=poor)["process"]["oomScoreAdj"] == 0
    with pytest.raises(StartFailed, match="oom_score_adj"):
        spec(HostConfig(oom_score_adj=-11), poor)
    floor = replace(poor, oom_score_adj=5)
    assert spec(host=floor)["process"]["oomScoreAdj"] == 5
    assert spec(HostConfig(oom_score_adj=-11), V1)["process"]["oomScoreAdj"] == -11


def test_devices() -> None:
    device = Device("/dev/foo", "c", 10, 229, 0o660, 0, 44, "rw")
    built = spec(HostConfig(device_cgroup_rules=["b 8:* rm"]), devices=(device,))
    assert built["linux"]["devices"] == [
        {"path": "/dev/foo", "type": "c", "major": 10, "minor": 229}
        | {"fileMode": 0o660, "uid": 0, "gid": 44}
    ]
    rules = built["linux"]["resources"]["devices"]
    assert rules[: len(DEFAULT_RULES)] == [dict(rule) for rule in DEFAULT_RULES]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[-2:] == [
        {"allow": True, "type": "c", "access": "rw", "major": 10, "minor": 229},
        {"allow": True, "type": "b", "access": "rm", "major": 8},
    ]


@pytest.mark.parametrize(
    "text", ["", "foo", "c 1:3", "c 1:3 rwx", "d 1:3 r", "c 1:3 r\n", "c a:3 r"]
)
def test_device_rule_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid device cgroup rule format"):
        parse_rule(text)


def resources(limits: HostConfig, host: HostFacts = V1) -> Any:
    numbers = {"/dev/sda": (8, 0)}
    result = linux_resources(limits, (), host, numbers)
    result.pop("devices")
    return result


def test_memory() -> None:
    mib = 1 << 20
    assert resources(HostConfig()) == {}
    assert resources(HostConfig(memory=64 * mib)) == {
        "memory": {"limit": 64 * mib, "swap": 128 * mib}
    }
    unlimited = HostConfig(memory=64 * mib, memory_swap=-1)
    assert resources(unlimited)["memory"]["swap"] == -1
    no_swap = replace(V1, cgroup_files=frozenset())
    assert resources(HostConfig(memory=64 * mib), no_swap) == {"memory": {"limit": 64 * mib}}
    fine = HostConfig(memory_swappiness=10, oom_kill_disable=True, kernel_memory_tcp=mib)
    assert resources(fine) == {
        "memory": {"swappiness": 10, "disableOOMKiller": True, "kernelTCP": mib}
    }
    assert resources(fine, V2) == {}


def test_cpu_pids_and_block_io() -> None:
    assert resources(HostConfig(nano_cpus=1_500_000_000))["cpu"] == {
        "period": 100_000,
        "quota": 150_000,
    }
    assert resources(HostConfig(cpu_shares=512, cpuset_cpus="0", cpu_quota=-1))["cpu"] == {
        "shares": 512,
        "quota": -1,
        "cpus": "0",
    }
    assert resources(HostConfig(pids_limit=100)) == {"pids": {"limit": 100}}
    assert resources(HostConfig(pids_limit=-5)) == {"pids": {"limit": -1}}
    block = HostConfig(
        blkio_weight=300,
        blkio_weight_device=[WeightDevice(path="/dev/sda", weight=20)],
        blkio_device_write_iops=[ThrottleDevice(path="/dev/sda", rate=9)],
    )
    throttle = {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 9}]}
    assert resources(block)["blockIO"] == {
        "weight": 300,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 20}],
        **throttle,
    }
    assert resources(block, replace(V1, cgroup_files=frozenset()))["blockIO"] == throttle


def test_environment() -> None:
    plain = environment(ContainerConfig(), hostname="h", home="/root")
    assert plain == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=h",
        "HOME=/root",
    )
    config = ContainerConfig(tty=True, env=["A=b=c", "PATH", "HOSTNAME=x", "HOME=", "TERM=dumb"])
    assert environment(config, hostname="h", home="/web") == (
        "HOSTNAME=x",
        "TERM=dumb",
        "A=b=c",
        "HOME=/web",
    )


def test_security_options_reach_the_process() -> None:
    options = parse(["no-new-privileges=true", "apparmor=mine"])
    assert spec(security=options)["process"]["noNewPrivileges"] is True
    assert "apparmorProfile" not in spec(security=options)["process"]
    enforced = replace(V1, apparmor=True)
    assert spec(host=enforced, security=options)["process"]["apparmorProfile"] == "mine"


def test_terminal_size() -> None:
    config = ContainerConfig(tty=True)
    process = spec(HostConfig(console_size=[24, 80]), config=config)["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert "consoleSize" not in spec(HostConfig(console_size=[24, 80]))["process"]
    assert "consoleSize" not in spec(HostConfig(console_size=[]), config=config)["process"]


def test_what_a_host_cannot_do_is_not_kept() -> None:
    asked = HostConfig(
        memory=64 << 20,
        memory_swap=128 << 20,
        memory_swappiness=10,
        oom_kill_disable=True,
        kernel_memory_tcp=1,
        blkio_weight=300,
        blkio_weight_device=[WeightDevice(path="/dev/sda", weight=20)],
        cpu_percent=5,
    )
    second = kept(asked, V2)
    assert (second.memory_swappiness, second.oom_kill_disable) == (None, None)
    assert (second.kernel_memory_tcp, second.cpu_percent) == (0, 0)
    assert (second.memory_swap, second.blkio_weight) == (128 << 20, 300)
    first = kept(asked, V1)
    assert (first.memory_swappiness, first.oom_kill_disable, first.kernel_memory_tcp) == (
        10,
        True,
        1,
    )
    assert second.blkio_weight_device == []  # version 2 has these with bfq alone
    bfq = replace(V2, cgroup_files=V2.cgroup_files | {"io.bfq.weight"})
    assert kept(asked, bfq).blkio_weight_device == asked.blkio_weight_device
    for version in (V1, V2):
        bare = kept(asked, replace(version, cgroup_files=frozenset()))
        assert (bare.memory_swap, bare.blkio_weight, bare.blkio_weight_device) == (-1, 0, [])


def test_a_user_namespace_is_joined_and_not_described() -> None:
    host = replace(V1, sysctls=frozenset({"net.ipv4.ping_group_range"}))
    built = spec(host=host, user_path="/pins/user", last_gid=65535, domainname="inner.test")
    assert namespaces(built)["user"] == "/pins/user"
    assert "uidMappings" not in built["linux"]
    assert built["linux"]["sysctl"] == {"net.ipv4.ping_group_range": "0 65535"}
    assert (built["hostname"], built["domainname"]) == ("c1", "inner.test")
    plain = spec(host=host, domainname="inner.test")
    assert "user" not in namespaces(plain)
    assert plain["linux"]["sysctl"] == {
        "kernel.domainname": "inner.test",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    assert "domainname" not in plain


def test_limits_of_the_host_hold_in_a_user_namespace() -> None:
    host = replace(V1, hard_limits={"nofile": 100}, bounding=frozenset({"CAP_SYS_RESOURCE"}))
    above = HostConfig(ulimits=[Ulimit(name="nofile", soft=50, hard=200)])
    assert spec(above, host)["process"]["rlimits"][0]["hard"] == 200
    with pytest.raises(StartFailed, match="above this host's hard limit 100"):
        spec(above, host, user_path="/pins/user")
    spared = HostConfig(oom_score_adj=-100)
    assert spec(spared, host)["process"]["oomScoreAdj"] == -100
    with pytest.raises(StartFailed, match="cannot set oom_score_adj to -100"):
        spec(spared, host, user_path="/pins/user")
