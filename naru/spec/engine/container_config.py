"""Config, HostConfig and NetworkingConfig of a container, as the Engine API writes them.

Spec: Engine API 1.51, `ContainerConfig`, `HostConfig`, `NetworkingConfig`. Unknown fields of a body
are ignored here; what Naru cannot honour is refused by name in `naru.containers.validate`.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class HealthConfig(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    """Times in nanoseconds, 0: default. `test`: [], ["NONE"], ["CMD", …], ["CMD-SHELL", s]."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class ContainerConfig(Struct, kw_only=True, rename="pascal"):
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | UnsetType | None = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | UnsetType | None = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType | None = UNSET
    shell: list[str] | UnsetType | None = UNSET


class LogConfig(Struct, kw_only=True, rename="pascal"):
    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(Struct, kw_only=True, rename="pascal"):
    host_ip: str = field(name="HostIp", default="")
    host_port: str = ""


class RestartPolicy(Struct, kw_only=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class WeightDevice(Struct, kw_only=True, rename="pascal"):
    path: str
    weight: int


class ThrottleDevice(Struct, kw_only=True, rename="pascal"):
    path: str
    rate: int


class DeviceMapping(Struct, kw_only=True, rename="pascal"):
    path_on_host: str
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Struct, kw_only=True, rename="pascal"):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(Struct, kw_only=True, rename="pascal"):
    name: str
    hard: int = 0
    soft: int = 0


class DriverConfig(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    name: str = ""
    options: dict[str, str] | None = None


class BindOptions(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeOptions(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    subpath: str = ""
    driver_config: DriverConfig | None = None


class ImageOptions(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    subpath: str = ""


class TmpfsOptions(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    """One `--mount`. `type`: bind, volume, tmpfs, npipe, cluster, image."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class Resources(Struct, kw_only=True, rename="pascal"):
    """Limits; 0, None and empty mean none. Sizes in bytes, quotas and periods in microseconds."""

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceReadIOps", default=None
    )
    blkio_device_write_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceWriteIOps", default=None
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(name="IOMaximumIOps", default=0)
    io_maximum_bandwidth: int = field(name="IOMaximumBandwidth", default=0)
    kernel_memory: int | UnsetType = UNSET
    kernel_memory_tcp: int | UnsetType = field(name="KernelMemoryTCP", default=UNSET)


class HostConfig(Resources, kw_only=True, rename="pascal"):
    binds: list[str] | None = None
    container_id_file: str = field(name="ContainerIDFile", default="")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[int] = field(default_factory=lambda: [0, 0])
    annotations: dict[str, str] | UnsetType | None = UNSET
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | UnsetType | None = UNSET
    tmpfs: dict[str, str] | UnsetType | None = UNSET
    uts_mode: str = field(name="UTSMode", default="")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | UnsetType | None = UNSET
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] | UnsetType | None = UNSET
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | UnsetType | None = UNSET


class EndpointIPAMConfig(Struct, kw_only=True, omit_defaults=True):
    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")
    link_local_ips: list[str] | None = field(name="LinkLocalIPs", default=None)


class EndpointSettings(Struct, kw_only=True, rename="pascal"):
    """A container's place on one network: what was asked (first block), what it got (second)."""

    ipam_config: EndpointIPAMConfig | None = field(name="IPAMConfig", default=None)
    links: list[str] | None = None
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = field(name="NetworkID", default="")
    endpoint_id: str = field(name="EndpointID", default="")
    gateway: str = ""
    ip_address: str = field(name="IPAddress", default="")
    mac_address: str = ""
    ip_prefix_len: int = field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = field(name="IPv6Gateway", default="")
    global_ipv6_address: str = field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = field(name="GlobalIPv6PrefixLen", default=0)
    dns_names: list[str] | None = field(name="DNSNames", default=None)


class NetworkingConfig(Struct, kw_only=True, rename="pascal"):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class CreateRequest(ContainerConfig, kw_only=True, rename="pascal"):
    """Body of POST /containers/create: Config with HostConfig and NetworkingConfig beside it.

    `runtime`: HostConfig's, where docker-py writes it.
    """

    runtime: str = ""
    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class UpdateRequest(Resources, kw_only=True, rename="pascal"):
    restart_policy: RestartPolicy | None = None
