from dataclasses import replace
from typing import Any

import pytest

from naru.base.errors import InvalidParameter, NaruError, Unsupported
from naru.runtime import security, sysctls
from naru.runtime.capabilities import CAPABILITIES
from naru.runtime.facts import HostFacts
from naru.runtime.validate import check_signal, validate
from naru.runtime.validate_resources import parse_set
from naru.spec.engine.container_config import (
    ContainerConfig,
    DeviceMapping,
    DeviceRequest,
    HealthConfig,
    HostConfig,
    PortBinding,
    RestartPolicy,
    Ulimit,
    WeightDevice,
)

MIB = 1 << 20
V1 = HostFacts(
    cgroup_version=1,
    cgroup_files=frozenset({"memory.memsw.limit_in_bytes", "cpu.rt_runtime_us"}),
    bounding=frozenset(CAPABILITIES) - {"CAP_SYS_RESOURCE"},
    hostname="vm",
)
CONTAINER = "container:x"


def warnings(config: dict[str, Any], host: dict[str, Any], facts: HostFacts = V1) -> list[str]:
    return validate(ContainerConfig(**config), HostConfig(**host), None, facts)


def refusal(config: dict[str, Any], host: dict[str, Any], facts: HostFacts = V1) -> str:
    with pytest.raises(NaruError) as caught:
        warnings(config, host, facts)
    assert isinstance(caught.value, InvalidParameter | Unsupported)
    return caught.value.message


def test_nothing_to_say() -> None:
    assert warnings({}, {}) == []
    everything = {
        "memory": 64 * MIB,
        "memory_swap": -1,
        "nano_cpus": 1_500_000_000,
        "cpuset_cpus": "0,1",
        "pids_limit": -1,
        "ulimits": [Ulimit(name="core", soft=-1, hard=-1)],
        "cap_add": ["ALL"],
        "security_opt": ["no-new-privileges", "seccomp=unconfined", "label=disable"],
        "sysctls": {"net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "20"},
        "tmpfs": {"/run": "size=1m"},
        "extra_hosts": ["a:host-gateway"],
        "dns": ["::1"],
        "restart_policy": RestartPolicy(name="on-failure", maximum_retry_count=3),
        "runtime": "runc",
    }
    assert warnings({"stop_signal": "RTMIN+3", "working_dir": "/x"}, everything) == []


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"working_dir": "abc"},
            "the working directory 'abc' is invalid, it needs to be an absolute path",
        ),
        (
            {"working_dir": "/proc/../proc/self//fd/7"},
            "the working directory '/proc/../proc/self//fd/7' is invalid, it leads to a process's "
            "open files",
        ),
        ({"stop_signal": "SIGFOO"}, "invalid signal: SIGFOO"),
        ({"env": ["=a"]}, "invalid environment variable: =a"),
        ({"env": [""]}, "invalid environment variable: "),
        (
            {"healthcheck": HealthConfig(test=["CMD", "x"], interval=5)},
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            {"healthcheck": HealthConfig(start_interval=-1)},
            "StartInterval in Healthcheck cannot be less than 1ms",
        ),
        ({"healthcheck": HealthConfig(retries=-1)}, "Retries in Healthcheck cannot be negative"),
        ({"hostname": "a" * 65}, f"invalid hostname: {'a' * 65!r}"),
        ({"domainname": "a\nb"}, "invalid domainname: 'a\\nb'"),
    ],
)
def test_config(config: dict[str, Any], text: str) -> None:
    assert refusal(config, {}) == text


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"memory": 1000}, "Minimum memory limit allowed is 6MB"),
        ({"memory": -1}, "Minimum memory limit allowed is 6MB"),
        (
            {"memory": 100 * MIB, "memory_swap": 50 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            {"memory_swap": 50 * MIB},
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            {"memory_swappiness": 200},
            "Invalid value: 200, valid memory swappiness range is 0-100",
        ),
        ({"memory_reservation": 1000}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 10 * MIB, "memory_reservation": 20 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"nano_cpus": 1, "cpu_period": 1000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            {"nano_cpus": 1, "cpu_quota": 5000},
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            {"nano_cpus": 5_000_000_000},
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            {"cpu_period": 10},
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ({"cpu_shares": -1}, "invalid CPU shares (-1): value must be a positive integer"),
        ({"cpu_count": 1}, "invalid option: CPU count configuration is not supported on linux"),
        (
            {"cpu_realtime_runtime": 1000, "cpu_realtime_period": 100},
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
        ({"cpuset_cpus": "a"}, "Invalid value a for cpuset cpus: invalid format: a"),
        (
            {"cpuset_cpus": "0-9"},
            "Requested CPUs are not available - requested 0-9, available: 0-1",
        ),
        (
            {"cpuset_mems": "5"},
            "Requested memory nodes are not available - requested 5, available: 0",
        ),
        (
            {"io_maximum_iops": 5},
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ),
        (
            {"io_maximum_bandwidth": 5},
            "invalid option: QoS maximum bandwidth configuration is not supported on linux",
        ),
        ({"oom_score_adj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        ({"uts_mode": "foo"}, "invalid UTS mode: foo"),
        ({"pid_mode": "foo"}, "invalid PID mode: foo"),
        ({"pid_mode": "container:"}, "invalid PID mode: container:"),
        ({"ipc_mode": "foo"}, "invalid IPC mode: foo"),
        ({"cgroupns_mode": "foo"}, "invalid cgroup namespace mode: foo"),
        ({"userns_mode": "foo"}, "invalid USER mode: foo"),
        ({"isolation": "hyperv"}, "invalid isolation (hyperv): linux only supports 'default'"),
        ({"runtime": "nosuch"}, "unknown or invalid runtime name: nosuch"),
        (
            {"restart_policy": RestartPolicy(name="foo")},
            "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
        ),
        (
            {"restart_policy": RestartPolicy(name="always", maximum_retry_count=3)},
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"restart_policy": RestartPolicy(name="on-failure", maximum_retry_count=-3)},
            "invalid restart policy: maximum retry count cannot be negative",
        ),
        (
            {"auto_remove": True, "restart_policy": RestartPolicy(name="always")},
            "can't create 'AutoRemove' container with restart policy",
        ),
        ({"extra_hosts": ["a"]}, 'bad format for add-host: "a"'),
        ({"extra_hosts": ["a:b"]}, 'invalid IP address in add-host: "b"'),
        ({"tmpfs": {"a": ""}}, "invalid mount path: 'a' mount path must be absolute"),
        ({"tmpfs": {"/": ""}}, "invalid specification: destination can't be '/'"),
        ({"tmpfs": {"/a": "foo"}}, 'invalid tmpfs option "foo"'),
        ({"ulimits": [Ulimit(name="foo")]}, "wrong rlimit value: RLIMIT_FOO"),
        (
            {"ulimits": [Ulimit(name="nofile", soft=3, hard=1)]},
            "ulimit soft limit must be less than or equal to hard limit: 3 > 1",
        ),
        ({"device_cgroup_rules": ["foo"]}, "invalid device cgroup rule format: 'foo'"),
        (
            {"devices": [DeviceMapping(path_on_host="/dev/null", cgroup_permissions="z")]},
            'invalid device mode: "z" for device "/dev/null"',
        ),
        (
            {"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]},
            'could not select device driver "" with capabilities: [[gpu]]',
        ),
        ({"cap_add": ["foo"]}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"security_opt": ["foo=bar"]}, 'invalid --security-opt 2: "foo=bar"'),
        (
            {"annotations": {"": "x"}},
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        ({"storage_opt": {"foo": "1"}}, "Unknown option foo"),
        (
            {"network_mode": "host", "links": ["a:b"]},
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior",
        ),
    ],
)
def test_host_config_with_the_references_text(host: dict[str, Any], text: str) -> None:
    assert refusal({}, host) == text


@pytest.mark.parametrize(
    "host",
    [
        {"security_opt": ["seccomp=/no/such.json"]},
        {"annotations": {"run.oci.handler": "krun"}},
        {"cgroup": "foo"},
        {"cgroup_parent": "/a/../../b"},
        {"storage_opt": {"size": "1g"}},
        {"masked_paths": ["a"]},
        {"readonly_paths": ["/proc/../sys"]},
        {"group_add": [""]},
        {"dns": ["a"]},
        {"dns_search": ["a b"]},
        {"device_requests": [DeviceRequest(driver="cdi", device_ids=["a/b=c"])]},
    ],
)
def test_refused_where_the_reference_goes_on(host: dict[str, Any]) -> None:
    assert refusal({}, host)


@pytest.mark.parametrize(
    ("config", "host", "what"),
    [
        ({"hostname": "a"}, {}, "hostname and the network mode"),
        ({}, {"dns": ["1.1.1.1"]}, "dns and the network mode"),
        ({}, {"extra_hosts": ["a:1.1.1.1"]}, "custom host-to-IP mapping and the network mode"),
        ({"mac_address": "02:00:00:00:00:01"}, {}, "mac-address and the network mode"),
        (
            {},
            {"port_bindings": {"80/tcp": [PortBinding(host_port="1")]}},
            "port publishing and the container type network mode",
        ),
        (
            {"exposed_ports": {"80/tcp": {}}},
            {},
            "port exposing and the container type network mode",
        ),
    ],
)
def test_network_of_another_container(
    config: dict[str, Any], host: dict[str, Any], what: str
) -> None:
    host = {**host, "network_mode": CONTAINER}
    assert refusal(config, host) == f"conflicting options: {what}"


def test_hostname_of_the_host() -> None:
    assert refusal({"hostname": "a"}, {"uts_mode": "host"}) == (
        "conflicting options: hostname and the UTS mode"
    )
    assert warnings({"hostname": "vm"}, {"uts_mode": "host"}) == []


def test_warnings() -> None:
    assert warnings({}, {"cpu_percent": 10}) == [
        "linux does not support CPU percent. Percent discarded."
    ]
    assert warnings({}, {"blkio_weight": 300}) == [
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
        "Weight discarded."
    ]
    device = {"blkio_weight_device": [WeightDevice(path="/dev/x", weight=5)]}
    assert len(warnings({}, device)) == 1
    able = replace(V1, cgroup_files=V1.cgroup_files | {"blkio.weight"})
    assert "10 to 1000" in refusal({}, device, able)
    assert len(warnings({}, {"oom_kill_disable": True})) == 1
    assert warnings({}, {"oom_kill_disable": True, "memory": 64 * MIB}) == []
    published = {"network_mode": "host", "publish_all_ports": True}
    assert warnings({}, published) == ["Published ports are discarded when using host network mode"]
    without_swap = replace(V1, cgroup_files=frozenset())
    assert "Memory limited without swap." in warnings({}, {"memory": 64 * MIB}, without_swap)[0]


def test_what_cgroup_v2_does_not_have() -> None:
    limits = {"memory_swappiness": 10, "oom_kill_disable": True, "kernel_memory_tcp": MIB}
    assert len(warnings({}, limits, HostFacts())) == 3
    assert refusal({}, {"cpu_realtime_runtime": 1}, HostFacts()) == (
        "kernel does not support CPU real-time scheduler"
    )


@pytest.mark.parametrize("text", ["TERM", "sigterm", "9", "99", "SIGRTMAX-3", "CLD"])
def test_signals(text: str) -> None:
    check_signal(text)


@pytest.mark.parametrize("text", ["0", "-1", "SIG", "RTMIN+16", "9x", ""])
def test_unknown_signals(text: str) -> None:
    with pytest.raises(InvalidParameter):
        check_signal(text)


def test_parse_set() -> None:
    assert parse_set("0-2,5") == {0, 1, 2, 5}
    for text in ("", "a", "2-1", "1-", "-1", "0-99999999", "1,,2"):
        with pytest.raises(ValueError):
            parse_set(text)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), security.SecurityOptions()),
        (("no-new-privileges",), security.SecurityOptions(no_new_privileges=True)),
        (("no-new-privileges:false",), security.SecurityOptions()),
        (("seccomp:unconfined",), security.SecurityOptions(seccomp="unconfined")),
        (("seccomp={}",), security.SecurityOptions(seccomp="{}")),
        (("apparmor=x",), security.SecurityOptions(apparmor="x")),
        (("label=type:a", "disable"), security.SecurityOptions(labels=("type:a", "disable"))),
        (("writable-cgroups",), security.SecurityOptions(writable_cgroups=True)),
    ],
)
def test_security_options(options: tuple[str, ...], expected: security.SecurityOptions) -> None:
    assert security.parse(options) == expected


@pytest.mark.parametrize(
    "option",
    [
        "foo",
        "foo=bar",
        "systempaths=unconfined",
        "no-new-privileges=maybe",
        "writable-cgroups=2",
        "Seccomp=unconfined",
        "",
    ],
)
def test_unknown_security_options(option: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid --security-opt"):
        security.parse([option])


def test_sysctls_of_own_namespaces() -> None:
    fine = {"kernel.shmmax": "1", "net/ipv4/ip_forward": "1", "kernel.domainname": "x"}
    sysctls.check(fine, HostConfig())
    assert "net.ipv4.ip_forward" in sysctls.normalize(fine)


@pytest.mark.parametrize(
    ("name", "value", "host"),
    [
        ("kernel.core_pattern", "x", {}),
        ("kernel.hostname", "x", {}),
        ("kernel.shmmax.x", "1", {}),
        ("vm.swappiness", "1", {}),
        ("fs.mqueue.msg_max", "1", {"ipc_mode": "host"}),
        ("kernel.sem", "1", {"ipc_mode": "host"}),
        ("net.ipv4.ip_forward", "1", {"network_mode": "host"}),
        ("kernel.domainname", "x", {"uts_mode": "host"}),
        ("net.ipv4.ip_forward", "1+kernel.core_pattern=x", {}),
        ("net.ipv4.ip_forward", "1\nx", {}),
        ("net.ipv4.ip_forward=1", "1", {}),
        ("net/../kernel/core_pattern", "x", {}),
        ("net..ipv4", "1", {}),
        ("net", "1", {}),
        ("kernel.core_pattern", "x", {"privileged": True}),
    ],
)
def test_sysctls_refused(name: str, value: str, host: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        sysctls.check({name: value}, HostConfig(**host))
