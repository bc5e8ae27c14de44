"""What the runtime is given: the container's files, its mounts resolved, and the OCI spec.

Everything that needs the host is looked up here, in a thread; `runtime/ocispec.py` then decides.
"""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.errors import Conflict, InvalidParameter, StartFailed
from naru.base.idmap import IdMap
from naru.containers.deps import Deps, Settings
from naru.containers.etc import write_files
from naru.containers.links import linked
from naru.containers.model import Container, MountPoint
from naru.containers.volume_binds import bind_volume
from naru.kernel.mount import mount_tmpfs
from naru.kernel.threads import offload
from naru.kernel.userns import Mapped, as_root_of
from naru.network.model import Attachment
from naru.runtime import mountpoints, security
from naru.runtime.devices import block_numbers, container_devices
from naru.runtime.links import Link, environment_of
from naru.runtime.mounts import OciMount, bind_mount, tmpfs_mount
from naru.runtime.ocispec import (
    LAST_GID,
    SpecRequest,
    build_spec,
    environment,
    process_capabilities,
)
from naru.runtime.resources import block_paths
from naru.runtime.seccomp.choice import choose
from naru.runtime.user import ResolvedUser, resolve_user
from naru.spec.engine.container_config import HostConfig, Ulimit


def running_other(deps: Deps, mode: str, what: str) -> Container:
    """The running container that `container:X` names. Raises: Conflict, NotFound."""
    other = deps.store.find(mode.removeprefix("container:"))
    if other.state.status not in ("running", "paused"):
        raise Conflict(
            f"cannot {what} a non running container: container {other.name} is {other.state.status}"
        )
    return other


@dataclass(frozen=True, slots=True)
class Preparation:
    """`seccomp_key`: under which to learn the filter, None when there is nothing to learn.

    `stdio_owner`: the host's ids of the workload, when it has ids of its own.
    """

    spec: Mapping[str, Any]
    cgroup: str
    seccomp_key: str | None
    stdio_owner: tuple[int, int] | None = None


async def prepare(
    deps: Deps, container: Container, attachment: Attachment, mapped: Mapped | None
) -> Preparation:
    """Raises: StartFailed, InvalidParameter, Conflict."""
    volumes: dict[str, str] = {}
    for number, mount in enumerate(container.mounts):
        if mount.type in ("volume", "image"):
            path = mount.source
            if mount.type == "volume":
                path = await deps.volumes.acquire(mount.name, container.id)
            if mount.subpath or (mapped is not None and mount.type == "volume"):
                target = os.path.join(deps.settings.subpath_dir(container.id), str(number))
                path = await offload(bind_volume, path, mount, target, mapped)
            volumes[mount.destination] = path
    others = _shared_namespaces(deps, container)
    id_map = None if mapped is None else mapped.id_map
    return await offload(_prepare, deps, container, attachment, volumes, others, id_map)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is taken from other containers: namespace paths, and the directory of /dev/shm."""

    namespaces: Mapping[str, str]
    shm_path: str
    files_of: str
    links: tuple[Link, ...] = ()


def _shared_namespaces(deps: Deps, container: Container) -> _Shared:
    host_config = container.host_config
    namespaces: dict[str, str] = {}
    shm_path, files_of = "", container.id
    for kind, mode, what in (
        ("pid", host_config.pid_mode, "join PID namespace of"),
        ("ipc", host_config.ipc_mode, "join IPC namespace of"),
        ("net", host_config.network_mode, "join network namespace of"),
    ):
        if not mode.startswith("container:"):
            continue
        other = running_other(deps, mode, what)
        if kind == "net":
            files_of = other.id
            continue
        namespaces[kind] = f"/proc/{other.state.pid}/ns/{kind}"
        if kind == "ipc":
            if other.host_config.ipc_mode not in ("shareable", "host"):
                raise InvalidParameter(
                    f"failed to join IPC namespace: container {other.id}: non-shareable IPC "
                    "(hint: use IpcMode:shareable for the donor container)"
                )
            shm_path = deps.settings.shm_dir(other.id)
    if host_config.ipc_mode == "shareable":
        shm_path = deps.settings.shm_dir(container.id)
    elif host_config.ipc_mode == "host":
        shm_path = "/dev/shm"
    return _Shared(namespaces, shm_path, files_of, linked(deps, container))


def _prepare(
    deps: Deps,
    container: Container,
    attachment: Attachment,
    volumes: Mapping[str, str],
    shared: _Shared,
    id_map: IdMap | None,
) -> Preparation:
    settings = deps.settings
    config, host_config = container.config, container.host_config
    rootfs = deps.roots.path(container.id)
    root_ids = (0, 0) if id_map is None else id_map.root
    mounts = tuple(_oci_mount(mount, volumes, root_ids) for mount in container.mounts)
    mounts += _tmpfs(container)
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        request = _request(deps, container, attachment, mounts, shared, root_fd, id_map)
        as_root_of(id_map, mountpoints.prepare, root_fd, mounts, config.working_dir)
    finally:
        os.close(root_fd)
    if shared.files_of == container.id:
        directory = settings.container_dir(container.id)
        write_files(deps, container, attachment.endpoints, directory, shared.links, root_ids)
    if host_config.ipc_mode == "shareable":
        os.makedirs(shared.shm_path, mode=0o700, exist_ok=True)
        whose = f"uid={root_ids[0]},gid={root_ids[1]}"
        mount_tmpfs(shared.shm_path, f"mode=1777,size={host_config.shm_size},{whose}")
    learn = None
    if request.seccomp is not None and shares_filters(container):
        learn = deps.seccomp.key(request.seccomp)
    owner = None if id_map is None else host_ids(id_map, request.user)
    return Preparation(build_spec(request), request.cgroups_path, learn, owner)


def host_ids(id_map: IdMap, user: ResolvedUser) -> tuple[int, int]:
    """The host's ids of a user of the container. Raises: StartFailed when he has none."""
    found = id_map.on_host(user.uid, user.gid)
    if found is None:
        raise StartFailed(
            f"user {user.uid}, group {user.gid}: the container's user namespace has no such ids",
            128,
        )
    return found


def _request(
    deps: Deps,
    container: Container,
    attachment: Attachment,
    mounts: tuple[OciMount, ...],
    shared: _Shared,
    root_fd: int,
    id_map: IdMap | None,
) -> SpecRequest:
    settings, facts = deps.settings, deps.facts
    config, host_config = container.config, _with_defaults(settings, container.host_config)
    user = _user(root_fd, container)
    options = security.parse(host_config.security_opt)
    if settings.no_new_privileges and not options.no_new_privileges:
        options = dataclasses.replace(options, no_new_privileges=True)
    section, bpf = _seccomp(deps, container, options)
    files = settings.container_dir(shared.files_of)
    return SpecRequest(
        id=container.id,
        config=config,
        host_config=host_config,
        args=(container.path, *container.args),
        env=environment(
            config,
            hostname=config.hostname,
            home=user.home,
            linked_env=environment_of(shared.links, container.name),
        ),
        user=user,
        rootfs=deps.roots.path(container.id),
        host=facts,
        cgroups_path=_cgroup_path(deps, container),
        hostname=config.hostname,
        domainname=config.domainname,
        network_path=attachment.sandbox_path,
        user_path=attachment.owner_path,
        last_gid=LAST_GID if id_map is None else id_map.last_gid,
        namespaces=shared.namespaces,
        mounts=mounts,
        hosts_path=os.path.join(files, "hosts"),
        hostname_path=os.path.join(files, "hostname"),
        resolv_conf_path=os.path.join(files, "resolv.conf"),
        shm_path=shared.shm_path,
        devices=container_devices(host_config),
        block_numbers=block_numbers(block_paths(host_config, facts)),
        security=options,
        seccomp=section,
        seccomp_bpf=bpf,
    )


def _with_defaults(settings: Settings, host: HostConfig) -> HostConfig:
    """What the engine's configuration adds to a container's: `--init`, default ulimits."""
    named = {limit.name for limit in host.ulimits or ()}
    added = [
        Ulimit(name=name, soft=soft, hard=hard)
        for name, (soft, hard) in settings.default_ulimits.items()
        if name not in named
    ]
    return replace(
        host,
        ulimits=[*(host.ulimits or ()), *added] or None,
        init=settings.init if host.init in (None, UNSET) else host.init,
    )


def _seccomp(
    deps: Deps, container: Container, options: security.SecurityOptions
) -> tuple[Mapping[str, Any] | None, str | None]:
    """The profile's section, or instead of it the compiled filter when that is known."""
    facts, host_config = deps.facts, container.host_config
    capabilities = process_capabilities(host_config, facts)
    section = choose(options, capabilities, facts, privileged=host_config.privileged)
    if section is None or not shares_filters(container):
        return section, None
    bpf = deps.seccomp.get(deps.seccomp.key(section))
    return (None, bpf) if bpf is not None else (section, None)


def shares_filters(container: Container) -> bool:
    """Whether its filter is the default profile, compiled by the default runtime."""
    options = security.parse(container.host_config.security_opt)
    return not options.custom_profile and runtime_name(container.host_config) is None


def runtime_name(host_config: HostConfig) -> str | None:
    """Which runtime runs it, None for the default one: Docker's usual names mean that."""
    name = host_config.runtime
    return None if name in ("", "runc", "crun", "io.containerd.runc.v2") else name


def _user(root_fd: int, container: Container) -> ResolvedUser:
    try:
        return resolve_user(root_fd, container.config.user, container.host_config.group_add or ())
    except InvalidParameter as error:
        raise StartFailed(error.message, 128) from error


def _cgroup_path(deps: Deps, container: Container) -> str:
    parent = container.host_config.cgroup_parent or deps.settings.cgroup_parent
    return f"{parent.rstrip('/')}/{container.id}"


def _oci_mount(
    mount: MountPoint, volumes: Mapping[str, str], root_ids: tuple[int, int]
) -> OciMount:
    if mount.type == "tmpfs":
        return tmpfs_mount(mount.destination, ",".join(mount.options), read_only=not mount.rw)
    source = mount.source
    if mount.type in ("volume", "image"):
        source = volumes[mount.destination]
    elif not os.path.exists(source):
        if "create" not in mount.options:
            raise StartFailed(
                'invalid mount config for type "bind": bind source path does not exist: ' + source
            )
        _make_source(source, root_ids)
    return bind_mount(
        mount.destination,
        source,
        read_only=not mount.rw,
        propagation=mount.propagation,
        recursive=mount.recursive,
        read_only_recursive="ro-non-recursive" not in mount.options and os.path.isdir(source),
    )


def _make_source(path: str, root_ids: tuple[int, int]) -> None:
    """A missing directory that `-v` names; what is made belongs to the container's root."""
    parent = os.path.dirname(path)
    if not os.path.lexists(parent):
        _make_source(parent, root_ids)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        os.chown(path, *root_ids)


def _tmpfs(container: Container) -> tuple[OciMount, ...]:
    wanted = container.host_config.tmpfs
    if wanted is UNSET or not wanted:
        return ()
    return tuple(tmpfs_mount(path, options) for path, options in wanted.items())
