"""The doctor's checks on hosts of our own making."""

import pytest

from naru.cli import checks
from naru.cli.checks import GOOD, MISSING, NOTE, RISK, Finding


def states(findings: object) -> list[str]:
    return [item.state for item in findings if isinstance(item, Finding)]


@pytest.mark.parametrize(
    ("mounts", "state", "word"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", GOOD, "v2"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0", NOTE, "v1"),
        ("c /a cgroup rw 0 0\nc /b cgroup2 rw 0 0", NOTE, "hybrid"),
        ("proc /proc proc rw 0 0", MISSING, "no control group"),
    ],
)
def test_control_groups(mounts: str, state: str, word: str) -> None:
    (finding,) = checks.check_cgroup(mounts, "")
    assert finding.state == state
    assert word in finding.found


def test_overlay() -> None:
    assert states(checks.check_overlay("nodev\toverlay\n", False)) == [GOOD]
    assert states(checks.check_overlay("ext4\n", True)) == [NOTE]
    assert states(checks.check_overlay("ext4\n", False)) == [MISSING]


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("crun", "", [MISSING]),
        ("crun", "crun version 1.8.1\ncommit: x", [GOOD, NOTE]),
        ("crun", "crun version 1.20", [RISK]),
        ("crun", "crun version 1.27", [GOOD]),
        ("runc", "runc version 1.1.5+ds1", [RISK] * 5),
        ("runc", "runc version 1.2.8", [RISK]),
        ("runc", "runc version 1.3.0", [RISK] * 4),
        ("runc", "runc version 1.4.1", [GOOD]),
        ("conmon", "conmon version 2.1.6", [GOOD]),
    ],
)
def test_programs_and_their_holes(name: str, version: str, found: list[str]) -> None:
    findings = list(checks.check_program(name, version, needed=True))
    assert states(findings) == found
    assert all(item.advice for item in findings if item.state != GOOD)


def test_space() -> None:
    gib = 1 << 30
    assert states(checks.check_disk("/", 50 * gib, 100 * gib, 9)) == [GOOD]
    assert states(checks.check_disk("/", gib, 100 * gib, 9)) == [RISK]
    assert states(checks.check_disk("/", 4 * gib, 100 * gib, 0)) == [RISK, RISK]


def test_kernel_and_forwarding() -> None:
    assert states(checks.check_kernel("6.1.0-13-amd64")) == [GOOD]
    assert states(checks.check_kernel("4.19.0")) == [RISK]
    assert states(checks.check_forwarding("1\n", "0\n")) == [GOOD]
    assert states(checks.check_forwarding("0\n", "")) == [NOTE, NOTE]


@pytest.mark.parametrize(
    ("release", "most", "state", "word"),
    [
        ("6.1.0-13-amd64", "47000\n", GOOD, "47000"),
        ("6.1.0-13-amd64", "0\n", NOTE, "switched off"),
        ("6.1.0-13-amd64", "", NOTE, "switched off"),
        ("5.10.0", "47000\n", NOTE, "no overlays"),
    ],
)
def test_user_namespaces(release: str, most: str, state: str, word: str) -> None:
    (finding,) = checks.check_user_namespaces(release, most)
    assert finding.state == state
    assert word in finding.found


def test_seccomp_and_capabilities() -> None:
    assert states(checks.check_seccomp("Name: x\nSeccomp: 0\n")) == [GOOD]
    assert states(checks.check_seccomp("Name: x\n")) == [RISK]
    assert states(checks.check_capabilities("CapBnd: 000001ffffffffff\n")) == []
    assert states(checks.check_capabilities("CapBnd: 000001fffeffffff\n")) == [NOTE]


def test_the_whole_report_works_on_this_host() -> None:
    subjects = {finding.subject for finding in checks.all_findings("/nowhere/at/all")}
    assert {"kernel", "cgroup", "overlayfs", "crun", "conmon", "ip_forward", "disk"} <= subjects
    assert "user namespaces" in subjects
