"""What `info` tells of limits: a host of each cgroup version, whole and with parts missing."""

from dataclasses import replace

from naru.engine.limits import support, warnings
from naru.runtime.facts import HostFacts

V1 = HostFacts(
    cgroup_version=1,
    controllers=frozenset({"cpu", "cpuset", "memory", "blkio", "pids"}),
    cgroup_files=frozenset(
        {
            "cpu.cfs_quota_us", "cpu.shares", "memory.memsw.limit_in_bytes", "memory.oom_control",
            "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device",
        }
    ),
)  # fmt: skip
V2 = HostFacts()


def test_a_whole_host_has_no_warnings() -> None:
    for host in (V1, V2):
        assert warnings(host) == []
        assert all(support(host).values())


def test_what_version_2_lacks_is_told() -> None:
    bare = replace(V2, controllers=frozenset({"cpu", "pids"}), cgroup_files=frozenset())
    assert warnings(bare) == [
        "No memory limit support",
        "No swap limit support",
        "No cpuset support",
        "No io.weight support",
        "No io.weight (per device) support",
        "No io.max (rbps) support",
        "No io.max (wbps) support",
        "No io.max (riops) support",
        "No io.max (wiops) support",
    ]
    assert support(bare)["PidsLimit"] and not support(bare)["CPUSet"]
    bfq = replace(V2, cgroup_files=frozenset({"io.bfq.weight", "io.max"}))
    assert warnings(bfq) == ["No swap limit support"]


def test_what_version_1_lacks_is_told() -> None:
    bare = replace(V1, cgroup_files=frozenset())
    told = warnings(bare)
    assert {"No swap limit support", "No cpu shares support", "No oom kill disable support"} <= {
        *told
    }
    assert told[-1] == "No blkio throttle.write_iops_device support"
    assert not any("io.weight" in text for text in told)
