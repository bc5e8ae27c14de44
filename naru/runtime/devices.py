"""Devices of a container: which nodes it gets, and which its cgroup lets it use.

Looks at the host's device nodes by the names that an API client gave; never at the container's.
"""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from naru.base.errors import InvalidParameter
from naru.spec.engine.container_config import DeviceMapping, HostConfig

# What belongs to the host's own /dev tree but never into a privileged container.
_SKIPPED = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"))
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})\Z")
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Device:
    """A device node to make in the container; `type` c or b, `access` out of r, w, m."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"

    def node(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "type": self.type,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
        }

    def rule(self) -> dict[str, Any]:
        return _allow(self.type, self.major, self.minor, self.access)


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


_DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}
ALLOW_ALL: tuple[dict[str, Any], ...] = ({"allow": True, "access": "rwm"},)

# null, zero, full, tty, urandom, random, console, tun, pseudo terminals; to make any node without
# opening it is harmless.
DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    _DENY_ALL,
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    _allow("c", 1, 3, "rwm"),
    _allow("c", 1, 5, "rwm"),
    _allow("c", 1, 7, "rwm"),
    _allow("c", 5, 0, "rwm"),
    _allow("c", 1, 9, "rwm"),
    _allow("c", 1, 8, "rwm"),
    _allow("c", 5, 1, "rwm"),
    _allow("c", 5, 2, "rwm"),
    _allow("c", 10, 200, "rwm"),
    _allow("c", 136, None, "rwm"),
)


def check_permissions(access: str) -> bool:
    return bool(access) and set(access) <= set("rwm") and len(set(access)) == len(access)


def parse_rule(text: str) -> dict[str, Any]:
    """The rule of `--device-cgroup-rule 'c 1:* rwm'`. Raises: InvalidParameter."""
    match = _RULE.match(text)
    if match is None:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    major, minor = (None if part == _ANY else int(part) for part in match.group(2, 3))
    return _allow(match[1], major, minor, match[4])


def cgroup_rules(
    devices: Iterable[Device], rules: Sequence[str] | None, *, privileged: bool
) -> list[dict[str, Any]]:
    """`linux.resources.devices`: the default list, the container's devices, the extra rules."""
    if privileged:
        return list(ALLOW_ALL)
    return [
        *DEFAULT_RULES,
        *(device.rule() for device in devices),
        *(parse_rule(text) for text in rules or ()),
    ]


def resolve_devices(mappings: Iterable[DeviceMapping]) -> tuple[Device, ...]:
    """Host devices that `--device` names; a directory stands for every device below it.

    Raises: InvalidParameter when there is no such device.
    """
    found: list[Device] = []
    for mapping in mappings:
        target = mapping.path_in_container or mapping.path_on_host
        access = mapping.cgroup_permissions or "rwm"
        try:
            found.extend(_devices_at(mapping.path_on_host, target, access))
        except OSError as error:
            raise InvalidParameter(
                f"error gathering device information while adding custom device "
                f'"{mapping.path_on_host}": {_reason(error)}'
            ) from error
    return tuple(found)


def container_devices(host_config: HostConfig) -> tuple[Device, ...]:
    """Every device node of a container besides the runtime's own few.

    A privileged one gets all of the host's, and those of `--device` under their new names.
    """
    wanted = resolve_devices(host_config.devices or ())
    if not host_config.privileged:
        return wanted
    present = host_devices()
    paths = {device.path for device in present}
    return (*present, *(device for device in wanted if device.path not in paths))


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be read").lower()


def _devices_at(source: str, target: str, access: str) -> list[Device]:
    resolved = os.path.realpath(source)
    status = os.stat(resolved)
    if stat.S_ISDIR(status.st_mode):
        below = [
            _device(path, target + path[len(resolved) :], access) for path in _walk(resolved, False)
        ]
        devices = [device for device in below if device is not None]
        if devices:
            return devices
        raise OSError(0, "not a device node")
    device = _device(resolved, target, access)
    if device is None:
        raise OSError(0, "not a device node")
    return [device]


def _device(source: str, target: str, access: str) -> Device | None:
    status = os.stat(source, follow_symlinks=False)
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return Device(
        path=target,
        type=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def block_numbers(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(major, minor) of each block device. Raises: InvalidParameter with Docker's text."""
    numbers: dict[str, tuple[int, int]] = {}
    for path in paths:
        try:
            device = os.stat(path).st_rdev
        except OSError as error:
            raise InvalidParameter(f"stat {path}: {_reason(error)}") from error
        numbers[path] = (os.major(device), os.minor(device))
    return numbers


def host_devices(root: str = "/dev") -> tuple[Device, ...]:
    """Every device node of the host, for `--privileged`. What vanishes meanwhile is left out."""
    found: list[Device] = []
    for path in _walk(root, True):
        try:
            device = _device(path, path, "rwm")
        except OSError:
            continue
        if device is not None:
            found.append(device)
    return tuple(found)


def _walk(folder: str, skip: bool) -> list[str]:
    paths: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if skip and entry.name in _SKIPPED:
            continue
        if entry.is_dir(follow_symlinks=False):
            paths.extend(_walk(entry.path, skip))
        elif not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
            paths.append(entry.path)
    return paths
