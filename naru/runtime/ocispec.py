"""From a container's configuration to the runtime's `config.json`. Pure.

Everything that needs the host (users, devices, sockets, mount sources) was looked up before and
comes in as values; this module only decides and writes down, in well under a millisecond.
Spec: OCI runtime specification 1.0, config.md and config-linux.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from naru.base.errors import StartFailed
from naru.runtime import capabilities
from naru.runtime.devices import Device
from naru.runtime.facts import HostFacts
from naru.runtime.mounts import (
    MASKED_PATHS,
    READONLY_PATHS,
    OciMount,
    arrange,
    bind_mount,
    standard_mounts,
)
from naru.runtime.resources import linux_resources
from naru.runtime.security import SecurityOptions
from naru.runtime.sysctls import normalize
from naru.runtime.user import ResolvedUser
from naru.spec.engine.container_config import ContainerConfig, HostConfig

OCI_VERSION = "1.0.2"
SECCOMP_ANNOTATION = "run.oci.seccomp_bpf_data"
MIN_OPEN_FILES = 32
INIT_PATH = "/sbin/docker-init"
LAST_GID = 2147483647
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRequest:
    """All that a container's `config.json` depends on.

    `network_path` None: the host's network, "": a new empty one. `user_path`: the user namespace
    that the container's others belong to, "" for the host's; it has groups up to `last_gid`. The
    spec leaves its map out: crun would make the container's root the owner of its stdin, and that
    may be the host's own /dev/null. `namespaces`: kind (pid, ipc, uts, cgroup) → path of another
    container's namespace. `shm_path` "": an own tmpfs, else a directory that is shared (`--ipc
    shareable`, `container:X`). `mounts`: the user's, resolved. `seccomp`: the section, or
    `seccomp_bpf` (base64) instead; both None is unconfined.
    """

    id: str
    config: ContainerConfig
    host_config: HostConfig
    args: tuple[str, ...]
    env: tuple[str, ...]
    user: ResolvedUser
    rootfs: str
    host: HostFacts
    cgroups_path: str
    hostname: str = ""
    domainname: str = ""
    network_path: str | None = ""
    user_path: str = ""
    last_gid: int = LAST_GID
    namespaces: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[OciMount, ...] = ()
    hosts_path: str = ""
    hostname_path: str = ""
    resolv_conf_path: str = ""
    shm_path: str = ""
    devices: tuple[Device, ...] = ()
    block_numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    security: SecurityOptions = field(default_factory=SecurityOptions)
    seccomp: Mapping[str, Any] | None = None
    seccomp_bpf: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def build_spec(request: SpecRequest) -> dict[str, Any]:
    """The OCI configuration of a container. Raises: StartFailed for a limit the host refuses."""
    host_config = request.host_config
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(request),
        "root": {"path": request.rootfs, "readonly": host_config.readonly_rootfs},
        "mounts": [mount.as_dict() for mount in container_mounts(request)],
        "linux": _linux(request),
    }
    if request.hostname and host_config.uts_mode != "host" and "uts" not in request.namespaces:
        spec["hostname"] = request.hostname
        if request.user_path and request.domainname:  # its sysctl is the host's root's alone
            spec["domainname"] = request.domainname
    annotations = dict(request.annotations)
    if host_config.annotations is not UNSET:
        annotations.update(host_config.annotations or {})
    if request.seccomp_bpf is not None:
        annotations[SECCOMP_ANNOTATION] = request.seccomp_bpf
    if annotations:
        spec["annotations"] = annotations
    return spec


def environment(
    config: ContainerConfig, *, hostname: str, home: str, linked_env: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The variables of the first process: defaults, links', then the configuration's, then HOME.

    An entry without `=` removes the default of that name, as Docker does.
    """
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.tty:
        variables["TERM"] = "xterm"
    for entry in (*linked_env, *(config.env or ())):
        name, equals, value = entry.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    if not variables.get("HOME"):
        variables["HOME"] = home
    return tuple(f"{name}={value}" for name, value in variables.items())


def process_capabilities(host_config: HostConfig, host: HostFacts) -> tuple[str, ...]:
    """What `--cap-add`, `--cap-drop` and `--privileged` come to on this host."""
    return capabilities.effective(
        host_config.cap_add,
        host_config.cap_drop,
        privileged=host_config.privileged,
        bounding=host.bounding,
    )


def capability_sets(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The runtime's five sets: inheritable and ambient stay empty."""
    return {
        "bounding": names,
        "effective": names,
        "permitted": names,
        "inheritable": (),
        "ambient": (),
    }


def _process(request: SpecRequest) -> dict[str, Any]:
    host_config, user = request.host_config, request.user
    args = request.args
    if wants_init(request):
        args = (INIT_PATH, "--", *args)
    process: dict[str, Any] = {
        "terminal": request.config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": args,
        "env": request.env,
        "cwd": request.config.working_dir or "/",
        "capabilities": capability_sets(process_capabilities(host_config, request.host)),
        "noNewPrivileges": request.security.no_new_privileges,
        "oomScoreAdj": _oom_score_adj(request),
    }
    apparmor = request.security.apparmor
    if request.host.apparmor and apparmor not in ("", "unconfined"):
        process["apparmorProfile"] = apparmor
    rlimits = _rlimits(request)
    if rlimits:
        process["rlimits"] = rlimits
    height, width = (*host_config.console_size, 0, 0)[:2]
    if request.config.tty and height and width:
        process["consoleSize"] = {"height": height, "width": width}
    return process


def wants_init(request: SpecRequest) -> bool:
    """True if a small init is the container's first process; pointless in another pid namespace."""
    if request.host_config.init is not True:
        return False
    if request.host.init_path is None:
        raise StartFailed("--init: no tini or catatonit was found on this host; install one", 128)
    return True


def _is_unlimited(request: SpecRequest) -> bool:
    """Whether the runtime may go past this host's limits; in a user namespace it may not."""
    return request.host.has_capability("CAP_SYS_RESOURCE") and not request.user_path


def _oom_score_adj(request: SpecRequest) -> int:
    wanted, least = request.host_config.oom_score_adj, request.host.oom_score_adj
    if wanted < least and not _is_unlimited(request):
        if wanted:
            raise StartFailed(
                f"cannot set oom_score_adj to {wanted}: this host lets nobody go below "
                f"{least} (CAP_SYS_RESOURCE is missing)"
            )
        return least
    return wanted


def _rlimits(request: SpecRequest) -> list[dict[str, Any]]:
    host_config, host = request.host_config, request.host
    result: list[dict[str, Any]] = []
    for limit in sorted(host_config.ulimits or (), key=lambda limit: limit.name):
        allowed = host.hard_limits.get(limit.name.lower(), -1)
        too_high = allowed >= 0 and not 0 <= limit.hard <= allowed
        if too_high and not _is_unlimited(request):
            raise StartFailed(
                f"error setting rlimit RLIMIT_{limit.name.upper()}: operation not permitted: "
                f"{limit.hard} is above this host's hard limit {allowed}"
            )
        if limit.name.lower() == "nofile" and 0 <= limit.soft < MIN_OPEN_FILES:
            raise StartFailed(
                f"error setting rlimit RLIMIT_NOFILE: {limit.soft} is too low: the runtime itself "
                f"opens up to {MIN_OPEN_FILES} files before the container's process starts"
            )
        result.append(
            {
                "type": "RLIMIT_" + limit.name.upper(),
                "hard": limit.hard & 0xFFFFFFFFFFFFFFFF,
                "soft": limit.soft & 0xFFFFFFFFFFFFFFFF,
            }
        )
    return result


def container_mounts(request: SpecRequest) -> list[OciMount]:
    """Every mount of the container in the order in which the runtime makes them."""
    host_config = request.host_config
    own_shm = not request.shm_path and host_config.ipc_mode != "none"
    standard = standard_mounts(
        privileged=host_config.privileged,
        shm_bytes=host_config.shm_size if own_shm else None,
        writable_cgroups=request.security.writable_cgroups,
    )
    extra: list[OciMount] = []
    if request.shm_path:
        extra.append(bind_mount("/dev/shm", request.shm_path, propagation="rprivate"))
    if wants_init(request):
        extra.append(OciMount(INIT_PATH, "bind", request.host.init_path or "", ("bind", "ro")))
    files = [
        bind_mount(
            destination,
            source,
            read_only=host_config.readonly_rootfs,
            propagation="rprivate",
            read_only_recursive=False,  # on files crun refuses it
        )
        for destination, source in (
            ("/etc/resolv.conf", request.resolv_conf_path),
            ("/etc/hostname", request.hostname_path),
            ("/etc/hosts", request.hosts_path),
        )
        if source
    ]
    return arrange((*standard, *extra), request.mounts, files)


def _linux(request: SpecRequest) -> dict[str, Any]:
    host_config = request.host_config
    linux: dict[str, Any] = {
        "namespaces": _namespaces(request),
        "resources": linux_resources(
            host_config, request.devices, request.host, request.block_numbers
        ),
        "cgroupsPath": request.cgroups_path,
    }
    sysctls = _sysctls(request)
    if sysctls:
        linux["sysctl"] = sysctls
    if request.devices:
        linux["devices"] = [device.node() for device in request.devices]
    if not host_config.privileged:
        linux["maskedPaths"] = masked_paths(host_config, request.host)
        linux["readonlyPaths"] = (
            READONLY_PATHS if host_config.readonly_paths is None else host_config.readonly_paths
        )
    if request.seccomp is not None and request.seccomp_bpf is None:
        linux["seccomp"] = request.seccomp
    return linux


def masked_paths(host_config: HostConfig, host: HostFacts) -> tuple[str, ...]:
    """`MaskedPaths` as asked for, else the default list with this host's additions."""
    if host_config.masked_paths is None:
        return MASKED_PATHS + host.thermal_paths
    return tuple(host_config.masked_paths)


def _namespaces(request: SpecRequest) -> list[dict[str, str]]:
    host_config, shared = request.host_config, request.namespaces
    result = [{"type": "mount"}]
    if request.user_path:
        result.append({"type": "user", "path": request.user_path})
    if request.network_path is not None:
        network = {"type": "network"}
        if request.network_path:
            network["path"] = request.network_path
        result.append(network)
    default = "private" if request.host.cgroup_version == 2 else "host"
    private_cgroup = (host_config.cgroupns_mode or default) == "private"
    for kind, wanted in (
        ("uts", host_config.uts_mode != "host"),
        ("pid", host_config.pid_mode != "host"),
        ("ipc", host_config.ipc_mode != "host"),
        ("cgroup", private_cgroup),
    ):
        if kind in shared:
            result.append({"type": kind, "path": shared[kind]})
        elif wanted:
            result.append({"type": kind})
    return result


def _sysctls(request: SpecRequest) -> dict[str, str]:
    host_config = request.host_config
    result: dict[str, str] = {}
    if request.domainname and host_config.uts_mode != "host" and not request.user_path:
        result["kernel.domainname"] = request.domainname
    mode = host_config.network_mode
    if request.network_path is not None and mode != "host" and not mode.startswith("container:"):
        for name, value in (
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", f"0 {request.last_gid}"),
        ):
            if name in request.host.sysctls:
                result[name] = value
    if host_config.sysctls is not UNSET:
        result.update(normalize(host_config.sysctls or {}))
    return result
