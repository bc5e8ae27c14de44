"""The nouns of the network area: values only, no I/O.

A *network* is a record (`bridge`, `host` and `none` always exist); an *endpoint* is a container's
place on one; a *sandbox* is the network namespace, pinned on a file, that the endpoints live in.
A *publication* is one port of the host that leads to one port of a container.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from msgspec import Struct, field

from naru.base.idmap import IdMap
from naru.spec.engine.container_config import EndpointSettings, PortBinding

# The default bridge is one network and may be large, as on Docker. Networks of one's own are many:
# /24 each, so that the pools hold 4,864 of them and not 31.
DEFAULT_BRIDGE_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)
DEFAULT_POOLS = (
    ("172.18.0.0/16", 24),
    ("172.19.0.0/16", 24),
    ("172.20.0.0/14", 24),
    ("172.24.0.0/14", 24),
    ("172.28.0.0/14", 24),
    ("192.168.0.0/16", 24),
    ("10.200.0.0/14", 24),
)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """The engine's settings for networks. `bip`: gateway with prefix length, "" to choose one.

    `key` tells engines on one host apart ("" for the default one, see `plan.engine_key`).
    `pools`: (base, prefix length of the subnets taken from it), in order of preference;
    `default_pools`: for the default bridge, when it has no `bip`.
    `publish_address`: where `-p 80:80` listens; "" is every address, IPv4 and IPv6.
    `honour_host_firewall`: published ports obey the host's input rules (see `host_firewall`).
    """

    exec_root: str
    key: str = ""
    bip: str = ""
    pools: tuple[tuple[str, int], ...] = DEFAULT_POOLS
    default_pools: tuple[tuple[str, int], ...] = DEFAULT_BRIDGE_POOLS
    mtu: int = 1500
    publish_address: str = ""
    honour_host_firewall: bool = False


class Pool(Struct, kw_only=True, frozen=True):
    """The addresses of one family. `gateway` is the host's own address in it, "" for none.

    `asked`: somebody chose the subnet; `gateway_shown`: whether `inspect` names the gateway.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    aux: dict[str, str] = field(default_factory=dict)
    asked: bool = False
    gateway_shown: bool = True

    @property
    def ipv6(self) -> bool:
        return ":" in self.subnet


class Network(Struct, kw_only=True, frozen=True):
    """A stored network. `link`: the bridge's interface, or the parent's of macvlan and ipvlan.

    `driver`: bridge, host, null, macvlan or ipvlan. `options` are the user's, checked by
    `drivers.settings_of`.
    """

    id: str
    name: str
    driver: str
    created_ns: int
    pools: tuple[Pool, ...] = ()
    link: str = ""
    mtu: int = 1500
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam_options: dict[str, str] | None = None
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def pool4(self) -> Pool | None:
        return next((pool for pool in self.pools if not pool.ipv6), None)

    @property
    def pool6(self) -> Pool | None:
        return next((pool for pool in self.pools if pool.ipv6), None)


@dataclass(frozen=True, slots=True)
class Publication:
    """One port of the host that leads to one of a container. `proto`: tcp, udp or sctp.

    `target_ip` has the family of `host_ip`, or is IPv4 behind the relay. `relay_ip`: the
    container's IPv4 address where [::1] must be carried to it though `target_ip` is IPv6.
    `sources`: networks that may connect, () for everyone. `host_port` 0: the container's own
    address and port are open to other hosts (a routed network), nothing is translated.
    """

    proto: str
    host_ip: str
    host_port: int
    target_ip: str
    target_port: int
    sources: tuple[str, ...] = ()
    relay_ip: str = ""


@dataclass(frozen=True, slots=True)
class Resolvers:
    """Where names go that are not ours. `of_host`: they are the host's own resolv.conf's.

    `single_labels`: whether names without a dot go there too (not when `ndots` was asked for).
    """

    servers: tuple[str, ...] = ()
    of_host: bool = False
    single_labels: bool = True


@dataclass(frozen=True, slots=True)
class SandboxOwner:
    """The user namespace that a sandbox belongs to: a new one with `id_map`, pinned beside the
    sandbox, or the one at `path`."""

    id_map: IdMap
    path: str = ""


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What a container wants of its networks. `network_mode` is HostConfig's, never container:X.

    `sources`: "8080/tcp" or "*" → the networks that may reach that published port of the host.
    `follow_health`: its shared aliases lead to it only while it is healthy. `owner` None: the
    sandbox belongs to the host.
    """

    container_id: str
    name: str
    hostname: str = ""
    network_mode: str = ""
    endpoints: Mapping[str, EndpointSettings] = dataclass_field(default_factory=dict)
    port_bindings: Mapping[str, list[PortBinding] | None] = dataclass_field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    publish_all: bool = False
    mac: str = ""
    sources: Mapping[str, tuple[str, ...]] = dataclass_field(default_factory=dict)
    resolvers: Resolvers = Resolvers()
    follow_health: bool = False
    owner: SandboxOwner | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container got. `sandbox_path`: the pinned namespace, None for the host's own.

    `owner_path`: the user namespace that the sandbox belongs to, "" for the host's.
    `ports` is `NetworkSettings.Ports`; `interfaces`: network → name inside. The containers'
    records keep it and hand it back to `NetworkService.reconcile` at start.
    """

    request: AttachRequest
    sandbox_path: str | None
    endpoints: Mapping[str, EndpointSettings] = dataclass_field(default_factory=dict)
    ports: Mapping[str, list[PortBinding] | None] = dataclass_field(default_factory=dict)
    interfaces: Mapping[str, str] = dataclass_field(default_factory=dict)
    owner_path: str = ""


@dataclass(frozen=True, slots=True)
class InterfaceStats:
    """Counters of one interface as the container sees it."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0
