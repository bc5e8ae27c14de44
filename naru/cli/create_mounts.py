"""`--mount`, `--volume`, `--tmpfs` as the Engine API's Mounts, Binds, Volumes, Tmpfs. Pure."""

from __future__ import annotations

import os

from naru.cli.create_values import read_size
from naru.cli.csv_line import split_fields
from naru.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = ("", "1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_READ_ONLY = ("readonly", "ro")
_SWITCHES = (*_READ_ONLY, "volume-nocopy", "bind-nonrecursive", "bind-create-src")


def _truth(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def read_mount(text: str) -> dict[str, Any]:
    """One `--mount`. Raises: ValueError with docker's words."""
    mount: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {}
    if not text:
        raise ValueError("value is empty")
    for item in split_fields(text):
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        if not equals and key not in _SWITCHES:
            raise ValueError(f"invalid field '{item}' must be a key=value pair")
        _apply(mount, options, key, value, item)
    _check(mount, options)
    for name, chosen in options.items():
        mount[name] = chosen
    return mount


def _apply(
    mount: dict[str, Any], options: dict[str, dict[str, Any]], key: str, value: str, item: str
) -> None:
    if key == "type":
        mount["Type"] = value.lower()
    elif key in ("source", "src"):
        relative = value == "." or value.startswith(("./", "../", "..")) and value[:1] == "."
        mount["Source"] = os.path.abspath(value) if relative else value
    elif key in ("target", "dst", "destination"):
        mount["Target"] = value
    elif key in _READ_ONLY:
        if _truth(key, value):
            mount["ReadOnly"] = True
    elif key == "consistency":
        mount["Consistency"] = value.lower()
    elif key.startswith("bind-"):
        _bind_option(options.setdefault("BindOptions", {}), key, value)
    elif key.startswith("volume-"):
        chosen = options.setdefault("VolumeOptions", {"DriverConfig": {}})
        _volume_option(chosen, key, value)
    elif key == "image-subpath":
        options.setdefault("ImageOptions", {})["Subpath"] = value
    elif key.startswith("tmpfs-"):
        _tmpfs_option(options.setdefault("TmpfsOptions", {}), key, value)
    else:
        raise ValueError(f"unexpected key '{key}' in '{item}'")


def _bind_option(chosen: dict[str, Any], key: str, value: str) -> None:
    if key == "bind-propagation":
        chosen["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        if _truth(key, value):
            chosen["NonRecursive"] = True
    elif key == "bind-create-src":
        if _truth(key, value):
            chosen["CreateMountpoint"] = True
    elif key == "bind-recursive":
        fields = {
            "enabled": {}, "disabled": {"NonRecursive": True},
            "writable": {"ReadOnlyNonRecursive": True},
            "readonly": {"ReadOnlyForceRecursive": True},
        }  # fmt: skip
        if value not in fields:
            raise ValueError(
                f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", '
                '"writable", or "readonly")'
            )
        chosen.update(fields[value])
    else:
        raise ValueError(f"unexpected key '{key}' in '{key}={value}'")


def _volume_option(chosen: dict[str, Any], key: str, value: str) -> None:
    if key == "volume-subpath":
        chosen["Subpath"] = value
    elif key == "volume-nocopy":
        if _truth(key, value):
            chosen["NoCopy"] = True
    elif key == "volume-label":
        name, _, text = value.partition("=")
        chosen.setdefault("Labels", {})[name] = text
    elif key == "volume-driver":
        chosen["DriverConfig"]["Name"] = value
    elif key == "volume-opt":
        name, _, text = value.partition("=")
        chosen["DriverConfig"].setdefault("Options", {})[name] = text
    else:
        raise ValueError(f"unexpected key '{key}' in '{key}={value}'")


def _tmpfs_option(chosen: dict[str, Any], key: str, value: str) -> None:
    if key == "tmpfs-size":
        try:
            chosen["SizeBytes"] = read_size(value)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    elif key == "tmpfs-mode":
        try:
            chosen["Mode"] = int(value, 8)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    else:
        raise ValueError(f"unexpected key '{key}' in '{key}={value}'")


_OWNERS = {
    "VolumeOptions": ("volume", "volume-*"), "BindOptions": ("bind", "bind-*"),
    "TmpfsOptions": ("tmpfs", "tmpfs-*"), "ImageOptions": ("image", "image-*"),
}  # fmt: skip


def _check(mount: dict[str, Any], options: dict[str, dict[str, Any]]) -> None:
    if not mount["Type"]:
        raise ValueError("type is required")
    if not mount.get("Target"):
        raise ValueError("target is required")
    for name in options:
        kind, shown = _OWNERS[name]
        if mount["Type"] != kind:
            raise ValueError(f"cannot mix '{shown}' options with mount type '{mount['Type']}'")
    bind = options.get("BindOptions", {})
    if bind.get("ReadOnlyForceRecursive"):
        if not mount.get("ReadOnly"):
            raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified "
                             "in conjunction")  # fmt: skip
        if bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be "
                "specified in conjunction"
            )


def split_volumes(specs: list[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """`-v` values as Binds (with a source) and Volumes (a path alone).

    Raises: ValueError for a spec with an empty part.
    """
    binds: list[str] = []
    volumes: dict[str, dict[str, Any]] = {}
    for spec in dict.fromkeys(specs):
        if not spec:
            raise ValueError("invalid empty volume spec")
        source, colon, rest = spec.partition(":")
        if not colon:
            volumes[spec] = {}
            continue
        if not source or not rest or "" in rest.split(":")[:-1]:
            raise ValueError(f"invalid spec: {spec}: empty section between colons")
        if source.startswith("."):
            source = os.path.abspath(source)
        binds.append(f"{source}:{rest}")
    return binds, volumes


def split_tmpfs(specs: list[str]) -> dict[str, str]:
    return {path: options for path, _, options in (spec.partition(":") for spec in specs)}


MOUNT = Kind("mount", read_mount, repeats=True)
