import os
from pathlib import Path

import pytest

from naru.base.errors import InvalidParameter
from naru.runtime import facts
from naru.runtime.devices import (
    block_numbers,
    check_permissions,
    container_devices,
    host_devices,
    resolve_devices,
)
from naru.runtime.facts import gather
from naru.spec.engine.container_config import DeviceMapping, HostConfig


def mapping(source: str, target: str = "", access: str = "") -> DeviceMapping:
    return DeviceMapping(path_on_host=source, path_in_container=target, cgroup_permissions=access)


def test_a_device_under_another_name() -> None:
    (device,) = resolve_devices([mapping("/dev/null", "/dev/mine", "r")])
    assert (device.path, device.type, device.major, device.minor) == ("/dev/mine", "c", 1, 3)
    assert device.access == "r"
    (same,) = resolve_devices([mapping("/dev/null")])
    assert (same.path, same.access) == ("/dev/null", "rwm")


def test_a_link_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    (device,) = resolve_devices([mapping(str(tmp_path / "link"), "/dev/z")])
    assert (device.major, device.minor) == (1, 5)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/no-such-device", "no such file or directory"),
        ("/etc/passwd", "not a device node"),
        ("/etc", "not a device node"),
    ],
)
def test_no_device(path: str, reason: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        resolve_devices([mapping(path)])
    assert caught.value.message == (
        f'error gathering device information while adding custom device "{path}": {reason}'
    )


def test_devices_of_the_host() -> None:
    paths = [device.path for device in host_devices()]
    assert "/dev/null" in paths
    assert not [path for path in paths if path.startswith(("/dev/pts/", "/dev/shm/"))]
    assert "/dev/console" not in paths


def test_privileged_gets_all_and_the_named() -> None:
    host_config = HostConfig(privileged=True, devices=[mapping("/dev/null", "/dev/mine")])
    paths = [device.path for device in container_devices(host_config)]
    assert {"/dev/mine", "/dev/null"} <= set(paths)
    assert len(paths) == len(set(paths))


def test_block_numbers() -> None:
    device = os.stat("/dev/null").st_rdev
    assert block_numbers(["/dev/null"]) == {"/dev/null": (os.major(device), os.minor(device))}
    with pytest.raises(InvalidParameter, match="stat /dev/no-such"):
        block_numbers(["/dev/no-such"])


@pytest.mark.parametrize(
    ("access", "valid"), [("r", True), ("rwm", True), ("", False), ("rr", False), ("x", False)]
)
def test_permissions(access: str, valid: bool) -> None:
    assert check_permissions(access) is valid


def test_facts_of_this_host() -> None:
    found = gather(init_path="/x")
    assert found.cgroup_version in (1, 2)
    assert found.cpus >= 1 and found.memory_bytes > 1 << 20
    assert set(found.hard_limits) == set(facts.RLIMITS)
    assert found.init_path == "/x"
    assert "CAP_CHOWN" in found.bounding or os.geteuid() != 0


def test_the_limit_files_of_version_2_are_those_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("io memory\n")
    (tmp_path / "io.stat").write_text("")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/io.weight").write_text("")
    (tmp_path / "two/memory.swap.max").write_text("")
    version, controllers, files = facts.cgroup_facts(str(tmp_path))
    assert (version, controllers) == (2, {"io", "memory"})
    assert files == {"io.weight", "memory.swap.max"}
