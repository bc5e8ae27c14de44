"""Every field of a create request: honoured, or refused by name with Docker's text. Pure.

Networks, ports and log options are checked by those who serve them; what is no field of a running
container (labels, `Shell`, `OnBuild`) is only stored.
"""

import ipaddress
import re
import signal

from msgspec import UNSET

from naru.base.errors import InvalidParameter, Unsupported
from naru.base.units import is_number
from naru.runtime import (
    capabilities,
    etc_files,
    mountpoints,
    mounts,
    security,
    sysctls,
    validate_userns,
)
from naru.runtime.facts import HostFacts
from naru.runtime.links import parse_link
from naru.runtime.seccomp.profile import parse_profile
from naru.runtime.validate_resources import check_resources
from naru.spec.engine.container_config import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    NetworkingConfig,
    RestartPolicy,
)

_MILLISECOND_NS = 1_000_000
_HEALTH_KINDS = ("NONE", "CMD", "CMD-SHELL")
_MAX_HOSTNAME = 64
_RESTART_NAMES = ("", "no", "always", "on-failure", "unless-stopped")


def validate(
    config: ContainerConfig,
    host_config: HostConfig,
    networking: NetworkingConfig | None,
    host: HostFacts,
) -> list[str]:
    """Warnings for the client. Raises: InvalidParameter, Unsupported naming the field."""
    check_config(config)
    _check_modes(config, host_config, host)
    _check_container_network(config, host_config)
    _check_security(host_config, host)
    _check_files(host_config)
    _check_restart(host_config.restart_policy, host_config.auto_remove)
    _check_foreign(host_config, host)
    warnings = check_resources(host_config, host)
    if host_config.network_mode == "host" and (
        host_config.port_bindings or host_config.publish_all_ports
    ):
        warnings.append("Published ports are discarded when using host network mode")
    endpoints = networking.endpoints_config if networking is not None else None
    for name, endpoint in (endpoints or {}).items():
        if endpoint is not None and endpoint.links and name in ("default", "bridge"):
            raise Unsupported(
                "Links of an endpoint on the default bridge are not offered by this release of "
                "Naru: use HostConfig.Links there"
            )
    if config.mac_address is not UNSET and config.mac_address:
        warnings.append(
            "The container-wide MacAddress field is now deprecated. It should be specified in "
            "EndpointsConfig instead."
        )
    return warnings


def check_config(config: ContainerConfig) -> None:
    """The part that an image or a commit may set too. Raises: InvalidParameter."""
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidParameter(
                f"the working directory '{config.working_dir}' is invalid, "
                "it needs to be an absolute path"
            )
        mountpoints.check_working_dir(config.working_dir)
    for entry in config.env or ():
        if not entry or entry.startswith("=") or "\0" in entry:
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if config.stop_signal is not UNSET and config.stop_signal:
        check_signal(config.stop_signal)
    if config.healthcheck is not UNSET and config.healthcheck is not None:
        _check_health(config.healthcheck)
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if len(value) > _MAX_HOSTNAME or re.search(r"[\0/\n]", value):
            raise InvalidParameter(f"invalid {name}: {value!r}")


def check_signal(text: str) -> None:
    """A name with or without SIG, or a positive number. Raises: InvalidParameter."""
    name = text.upper()
    if is_number(name):
        known = int(name) > 0
    else:
        name = name.removeprefix("SIG")
        known = f"SIG{name}" in signal.Signals.__members__ or bool(
            re.fullmatch(r"RTM(IN(\+([1-9]|1[0-5]))?|AX(-([1-9]|1[0-4]))?)|CLD|IOT|POLL", name)
        )
    if not known:
        raise InvalidParameter(f"invalid signal: {text}")


def _check_health(health: HealthConfig) -> None:
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value != 0 and value < _MILLISECOND_NS:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if health.test and health.test[0] not in _HEALTH_KINDS:
        raise InvalidParameter(
            f"Unknown healthcheck type '{health.test[0]}' (expected one of "
            f"{', '.join(_HEALTH_KINDS)})"
        )


def _is_container(mode: str) -> bool:
    return mode.startswith("container:") and len(mode) > len("container:")


def _check_modes(config: ContainerConfig, host_config: HostConfig, host: HostFacts) -> None:
    pid, ipc = host_config.pid_mode, host_config.ipc_mode
    if host_config.uts_mode not in ("", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host_config.uts_mode}")
    if host_config.uts_mode == "host" and config.hostname not in ("", host.hostname):
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if pid not in ("", "host") and not _is_container(pid):
        raise InvalidParameter(f"invalid PID mode: {pid}")
    if ipc not in ("", "none", "private", "shareable", "host") and not _is_container(ipc):
        raise InvalidParameter(f"invalid IPC mode: {ipc}")
    if host_config.cgroupns_mode not in ("", "private", "host"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host_config.cgroupns_mode}")
    if host_config.userns_mode not in validate_userns.MODES:
        raise InvalidParameter(f"invalid USER mode: {host_config.userns_mode}")
    if host_config.network_mode.startswith("container:") and not _is_container(
        host_config.network_mode
    ):
        raise InvalidParameter("invalid container format container:<name|id>")


def _check_container_network(config: ContainerConfig, host_config: HostConfig) -> None:
    mode = host_config.network_mode
    if host_config.links and (mode == "host" or _is_container(mode)):
        kind = "host" if mode == "host" else "container"
        raise InvalidParameter(
            f"conflicting options: {kind} type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    for link in host_config.links or ():
        parse_link(link)
    if not _is_container(mode):
        return
    exposed = None if config.exposed_ports is UNSET else config.exposed_ports
    mac = None if config.mac_address is UNSET else config.mac_address
    for value, text in (
        (config.hostname, "hostname and the network mode"),
        (host_config.dns, "dns and the network mode"),
        (host_config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (mac, "mac-address and the network mode"),
        (
            host_config.port_bindings or host_config.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (exposed, "port exposing and the container type network mode"),
    ):
        if value:
            raise InvalidParameter(f"conflicting options: {text}")


def _check_security(host_config: HostConfig, host: HostFacts) -> None:
    capabilities.check(host_config.cap_add or (), "CapAdd", host.bounding)
    capabilities.check(host_config.cap_drop or (), "CapDrop", host.bounding)
    options = security.parse(host_config.security_opt)
    if options.custom_profile:
        parse_profile(options.custom_profile, (), host.machine, host.kernel)
    if host.selinux and any(label != "disable" for label in options.labels):
        raise Unsupported("--security-opt label is not offered by this release of Naru on SELinux")
    if options.writable_cgroups and host_config.cgroupns_mode == "host":
        raise InvalidParameter(
            "conflicting options: writable-cgroups needs a private cgroup namespace"
        )
    if host_config.sysctls is not UNSET:
        sysctls.check(host_config.sysctls or {}, host_config)
    adjustment = host_config.oom_score_adj
    if not -1000 <= adjustment <= 1000:
        raise InvalidParameter(
            f"Invalid value {adjustment}, range for oom score adj is [-1000, 1000]"
        )
    for group in host_config.group_add or ():
        if not group or ":" in group:
            raise InvalidParameter(
                f"unable to find group {group}: no matching entries in group file"
            )
    for name, paths in (
        ("MaskedPaths", host_config.masked_paths),
        ("ReadonlyPaths", host_config.readonly_paths),
    ):
        for path in paths or ():
            if not path.startswith("/") or ".." in path.split("/"):
                raise InvalidParameter(f"invalid {name}: {path!r} must be an absolute path")


def _check_files(host_config: HostConfig) -> None:
    if host_config.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    tmpfs = None if host_config.tmpfs is UNSET else host_config.tmpfs
    for path, options in (tmpfs or {}).items():
        if not path.startswith("/"):
            raise InvalidParameter(f"invalid mount path: '{path}' mount path must be absolute")
        if not path.strip("/."):
            raise InvalidParameter("invalid specification: destination can't be '/'")
        mounts.tmpfs_mount(path, options)
    etc_files.extra_hosts(host_config.extra_hosts, ("0.0.0.0",))
    for server in host_config.dns or ():
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise InvalidParameter(
                f'bad nameserver address {server}: ParseAddr("{server}"): unable to parse IP'
            ) from error
    for word in (*(host_config.dns_search or ()), *(host_config.dns_options or ())):
        if not word or re.search(r"[\s\0]", word):
            raise InvalidParameter(f"invalid domain or option of resolv.conf: {word!r}")


def _check_restart(policy: RestartPolicy, auto_remove: bool) -> None:
    if policy.name not in _RESTART_NAMES:
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        text = "maximum retry count can only be used with 'on-failure'"
        if policy.maximum_retry_count < 0:
            text += " and cannot be negative"
        raise InvalidParameter(f"invalid restart policy: {text}")
    if policy.maximum_retry_count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")


def _check_foreign(host_config: HostConfig, host: HostFacts) -> None:
    """What Docker has and Naru does not offer, or what is not Linux's."""
    if host_config.isolation not in ("", "default"):
        raise InvalidParameter(
            f"invalid isolation ({host_config.isolation}): linux only supports 'default'"
        )
    if host_config.runtime and host_config.runtime not in host.runtimes:
        raise InvalidParameter(f"unknown or invalid runtime name: {host_config.runtime}")
    if host_config.cgroup:
        raise Unsupported("HostConfig.Cgroup is not offered by Naru: use CgroupParent")
    if ".." in host_config.cgroup_parent.split("/"):
        raise InvalidParameter(f"invalid CgroupParent: {host_config.cgroup_parent!r}")
    if host_config.storage_opt is not UNSET:
        for name in host_config.storage_opt or {}:
            if name != "size":
                raise InvalidParameter(f"Unknown option {name}")
            raise Unsupported("--storage-opt size is not offered by this release of Naru")
    if host_config.annotations is not UNSET:
        for name in host_config.annotations or {}:
            if not name:
                raise InvalidParameter(
                    "invalid Annotations: the empty string is not permitted as an annotation key"
                )
            if name.startswith(("run.oci.", "org.systemd.property.", "io.naru.")):
                raise InvalidParameter(
                    f"invalid Annotations: {name!r} is reserved: it would steer the runtime itself"
                )
