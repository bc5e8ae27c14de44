"""The nouns of the network area: values only, no I/O.

A *network* is a record (`bridge`, `host` and `none` always exist); an *endpoint* is a container's
place on one; a *sandbox* is the network namespace, pinned on a file, that the endpoints live in.
A *publication* is one port of the host that leads to one port of a container.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from naru.spec.engine.container_config import EndpointSettings, PortBinding

DEFAULT_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """The engine's settings for networks. `bip`: gateway with prefix length, "" to choose one.

    `key` tells engines on one host apart ("" for the default one, see `plan.engine_key`).
    `pools`: (base, prefix length of the subnets taken from it), in order of preference.
    `publish_address`: where `-p 80:80` listens; "" is every address, IPv4 and IPv6.
    """

    exec_root: str
    key: str = ""
    bip: str = ""
    pools: tuple[tuple[str, int], ...] = DEFAULT_POOLS
    mtu: int = 1500
    publish_address: str = ""


class Network(Struct, kw_only=True, frozen=True):
    """A stored network. `subnet` and `gateway` are empty for host and none."""

    id: str
    name: str
    driver: str
    created_ns: int
    subnet: str = ""
    gateway: str = ""
    bridge: str = ""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Publication:
    """One port of the host that leads to one of a container. `proto`: tcp, udp or sctp."""

    proto: str
    host_ip: str
    host_port: int
    target_ip: str
    target_port: int


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """What a container wants of its networks. `network_mode` is HostConfig's, never container:X."""

    container_id: str
    name: str
    hostname: str = ""
    network_mode: str = ""
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict)
    port_bindings: Mapping[str, list[PortBinding] | None] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    publish_all: bool = False
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container got. `sandbox_path`: the pinned namespace, None for the host's own.

    `ports` is `NetworkSettings.Ports`. The containers' records keep it and hand it back to
    `NetworkService.reconcile` at start.
    """

    name: str
    sandbox_path: str | None
    endpoints: Mapping[str, EndpointSettings]
    ports: Mapping[str, list[PortBinding] | None] = field(default_factory=dict)


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
