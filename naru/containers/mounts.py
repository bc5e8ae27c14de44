"""The mounts of a container, from the four places where a request can name them.

In the order of precedence that Docker has: `--volumes-from`, `-v` (Binds), `--mount` (Mounts), and
the image's and the request's `Volumes`, which only fill destinations that nobody else took.
"""

import os.path
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.errors import InvalidParameter, NotFound
from naru.base.ids import new_id
from naru.containers.model import Container, MountPoint
from naru.spec.engine.container_config import HostConfig, Mount
from naru.storage.volumes.model import check_name

PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated", "default"})
_LABELS = frozenset({"z", "Z"})
_TMPFS_OPTIONS = frozenset({"exec", "noexec"})


def clean_destination(path: str) -> str:
    """An absolute, normal form of a mount's destination. Raises: InvalidParameter."""
    if not path.startswith("/"):
        raise InvalidParameter(
            f"invalid mount config: invalid mount path: '{path}' mount path must be absolute"
        )
    clean = os.path.normpath(path)
    clean = "/" + clean.lstrip("/")
    if clean == "/":
        raise InvalidParameter("invalid volume specification: destination can't be '/'")
    return clean


def parse_bind(spec: str, volume_driver: str = "") -> MountPoint:
    """One `-v` in the form `[source:]destination[:modes]`. Raises: InvalidParameter."""
    parts = spec.split(":")
    if len(parts) > 3 or not all(parts[:2]):
        raise InvalidParameter(f"invalid volume specification: '{spec}'")
    if len(parts) == 1:
        return replace(anonymous_volume(clean_destination(parts[0]), volume_driver), mode="z")
    source, destination = parts[0], clean_destination(parts[1])
    modes = parts[2].split(",") if len(parts) == 3 else []
    is_bind = source.startswith("/")
    read_only, propagation, no_copy = _read_modes(spec, modes, is_bind)
    mode = parts[2] if len(parts) == 3 else ""
    if is_bind:
        source = os.path.normpath(source)
        return MountPoint(
            type="bind", source=source, destination=destination, mode=mode, rw=not read_only,
            propagation=propagation or "rprivate", options=("create",),
        )  # fmt: skip
    check_name(source)
    return MountPoint(
        type="volume", name=source, destination=destination, driver=volume_driver,
        mode=mode or "z", rw=not read_only, no_copy=no_copy,
    )  # fmt: skip


def _read_modes(spec: str, modes: Iterable[str], is_bind: bool) -> tuple[bool, str, bool]:
    read_only, propagation, no_copy, accesses = False, "", False, 0
    for mode in modes:
        accesses += mode in ("ro", "rw")
        if accesses > 1:
            raise InvalidParameter(f"invalid volume specification: '{spec}': both ro and rw")
        if mode in ("ro", "rw"):
            read_only = mode == "ro"
        elif mode in PROPAGATION and is_bind:
            propagation = mode
        elif mode == "nocopy" and not is_bind:
            no_copy = True
        elif mode not in _LABELS and mode not in _CONSISTENCY:
            raise InvalidParameter(f"invalid volume specification: '{spec}': invalid mode: {mode}")
    return read_only, propagation, no_copy


def anonymous_volume(destination: str, driver: str = "") -> MountPoint:
    return MountPoint(
        type="volume", name=new_id(), destination=destination, driver=driver, anonymous=True
    )


def parse_mount(mount: Mount) -> MountPoint:
    """One `--mount`. Raises: InvalidParameter in Docker's words."""
    if not mount.target:
        raise InvalidParameter(
            f'invalid mount config for type "{mount.type}": field Target must not be empty'
        )
    destination = clean_destination(mount.target)
    _check_options(mount)
    match mount.type:
        case "bind":
            return _bind_mount(mount, destination)
        case "volume":
            return _volume_mount(mount, destination)
        case "tmpfs":
            return _tmpfs_mount(mount, destination)
        case "image":
            return _image_mount(mount, destination)
        case _:
            raise InvalidParameter(
                f'invalid mount config for type "{mount.type}": mount type unknown'
            )


def _check_options(mount: Mount) -> None:
    """Raises: InvalidParameter for options of another type of mount."""
    for kind, options in (
        ("bind", mount.bind_options),
        ("volume", mount.volume_options),
        ("image", mount.image_options),
        ("tmpfs", mount.tmpfs_options),
    ):
        if options is not None and kind != mount.type:
            raise InvalidParameter(
                f'{kind.title()}Options must not be specified on mount type "{mount.type}"'
            )


def clean_subpath(mount: Mount, subpath: str) -> str:
    """A normal form of the part of a volume or image. Raises: InvalidParameter."""
    if not subpath:
        return ""
    clean = os.path.normpath(subpath)
    if clean.startswith("/") or clean.split("/")[0] == ".." or "\0" in clean:
        raise InvalidParameter(
            f'invalid mount config for type "{mount.type}": subpath must be a relative path '
            "within the volume"
        )
    return "" if clean == "." else clean


def _bind_mount(mount: Mount, destination: str) -> MountPoint:
    if not mount.source:
        raise InvalidParameter(
            'invalid mount config for type "bind": field Source must not be empty'
        )
    if not mount.source.startswith("/"):
        raise InvalidParameter(
            f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' "
            "mount path must be absolute"
        )
    options = mount.bind_options
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in PROPAGATION:
        raise InvalidParameter(
            f'invalid mount config for type "bind": invalid propagation mode: {propagation}'
        )
    return MountPoint(
        type="bind", source=os.path.normpath(mount.source), destination=destination,
        rw=not mount.read_only, propagation=propagation,
        recursive=not (options and options.non_recursive),
        options=_bind_flags(mount),
    )  # fmt: skip


def _bind_flags(mount: Mount) -> tuple[str, ...]:
    options = mount.bind_options
    if options is None:
        return ()
    named = (
        ("create", options.create_mountpoint),
        ("ro-non-recursive", options.read_only_non_recursive),
        ("ro-force-recursive", options.read_only_force_recursive),
    )
    return tuple(name for name, on in named if on)


def _volume_mount(mount: Mount, destination: str) -> MountPoint:
    options = mount.volume_options
    if mount.source:
        check_name(mount.source)
    elif options and options.subpath:
        raise InvalidParameter(
            'invalid mount config for type "volume": must not set Subpath when using anonymous '
            "volumes"
        )
    driver = options.driver_config if options else None
    return MountPoint(
        type="volume", name=mount.source or new_id(), destination=destination, mode="z",
        driver=driver.name if driver else "", rw=not mount.read_only,
        subpath=clean_subpath(mount, options.subpath if options else ""),
        no_copy=bool(options and options.no_copy),
        anonymous=not mount.source, driver_opts=driver.options if driver else None,
        labels=options.labels if options else None,
    )  # fmt: skip


def _image_mount(mount: Mount, destination: str) -> MountPoint:
    if not mount.source:
        raise InvalidParameter(
            'invalid mount config for type "image": field Source must not be empty'
        )
    subpath = clean_subpath(mount, mount.image_options.subpath if mount.image_options else "")
    return MountPoint(
        type="image", name=mount.source, destination=destination, rw=False, subpath=subpath,
        propagation="rprivate",
    )  # fmt: skip


def _tmpfs_mount(mount: Mount, destination: str) -> MountPoint:
    if mount.source:
        raise InvalidParameter(
            'invalid mount config for type "tmpfs": field Source must not be specified'
        )
    options = mount.tmpfs_options
    flags: list[str] = []
    if options is not None:
        if options.size_bytes:
            flags.append(f"size={options.size_bytes}")
        if options.mode:
            flags.append(f"mode={options.mode:o}")
        for option in options.options or ():
            if len(option) != 1 or option[0] not in _TMPFS_OPTIONS:
                raise InvalidParameter(
                    f'invalid mount config for type "tmpfs": invalid option: {"=".join(option)}'
                )
            flags.append(option[0])
    return MountPoint(
        type="tmpfs", destination=destination, rw=not mount.read_only, options=tuple(flags)
    )


def from_other(spec: str, find: Callable[[str], Container]) -> list[MountPoint]:
    """The mounts that `--volumes-from NAME[:ro|rw]` brings. Raises: InvalidParameter."""
    name, _, mode = spec.partition(":")
    if not name:
        raise InvalidParameter(f"invalid volumes-from spec: '{spec}'")
    if mode and not re.fullmatch(r"(ro|rw|z|Z)(,(ro|rw|z|Z))*", mode):
        raise InvalidParameter(f"invalid mode: {mode}")
    read_only = "ro" in mode.split(",")
    try:
        taken = [mount for mount in find(name).mounts if mount.type != "tmpfs"]
    except NotFound as error:  # clients take a 404 of create for a missing image, and pull it
        raise InvalidParameter(error.message) from error
    return [
        replace(mount, rw=mount.rw and not read_only, anonymous=False, no_copy=True)
        for mount in taken
    ]


def resolve_mounts(
    host_config: HostConfig,
    volumes: Mapping[str, Any] | None,
    find: Callable[[str], Container],
) -> tuple[MountPoint, ...]:
    """Every mount of a new container; `volumes` are the image's and the request's destinations.

    Raises: InvalidParameter (`Duplicate mount point: /x`).
    """
    chosen: dict[str, MountPoint] = {}
    for spec in host_config.volumes_from or ():
        for mount in from_other(spec, find):
            chosen[mount.destination] = mount
    named: set[str] = set()
    explicit = [parse_bind(spec, host_config.volume_driver) for spec in host_config.binds or ()]
    if host_config.mounts is not UNSET:
        explicit += [parse_mount(mount) for mount in host_config.mounts or ()]
    tmpfs = () if host_config.tmpfs is UNSET else tuple(host_config.tmpfs or ())
    for mount in explicit:
        if mount.destination in named:
            raise InvalidParameter(f"Duplicate mount point: {mount.destination}")
        named.add(mount.destination)
        chosen[mount.destination] = mount
    for destination in map(clean_destination, tmpfs):
        if destination in named:
            raise InvalidParameter(f"Duplicate mount point: {destination}")
        chosen.pop(destination, None)
        named.add(destination)
    for path in volumes or ():
        destination = clean_destination(path)
        if destination not in chosen and destination not in named:
            chosen[destination] = anonymous_volume(destination, host_config.volume_driver)
    return tuple(chosen.values())
