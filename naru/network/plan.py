"""What an engine's things are called, and what an endpoint is made of. Pure."""

import hashlib
from base64 import b32encode
from dataclasses import dataclass

from naru.network.model import Network, Publication
from naru.spec.engine.container_config import EndpointSettings

DEFAULT_DATA_ROOT = "/var/lib/naru"

# What Docker sets in every sandbox of its own: ports below 1024 and ping need no capability.
SANDBOX_SYSCTLS = (
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
)


def _tag(text: str, length: int) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def engine_key(data_root: str) -> str:
    """What tells this engine's bridge, table and links from another's: "" for the default one."""
    return "" if data_root == DEFAULT_DATA_ROOT else _tag("engine " + data_root, 6)


def bridge_name(key: str) -> str:
    return f"naru-{key}" if key else "naru0"


def table_name(key: str) -> str:
    return f"naru_{key}" if key else "naru"


def link_prefix(key: str) -> str:
    """How the host's ends of this engine's veth pairs begin; no other link does."""
    return "naru" + _tag("links " + key, 3)


def link_name(key: str, container_id: str, network_id: str) -> str:
    """The host's end of an endpoint's veth pair: 15 characters, derived, so it can be found."""
    return link_prefix(key) + _tag(f"{container_id} {network_id}", 8)


def sandbox_folder(exec_root: str) -> str:
    return f"{exec_root}/netns"


def sandbox_path(exec_root: str, container_id: str) -> str:
    return f"{sandbox_folder(exec_root)}/{container_id}"


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """One veth pair: the host's end on a bridge, the container's in the sandbox."""

    network: Network
    link: str
    interface: str
    address: str
    prefix_length: int
    gateway: str
    mac: str


@dataclass(frozen=True, slots=True)
class Attached:
    """What one container holds: enough to describe it, to repair it and to take it away.

    `endpoint` is None on host and none. `pin` is "" on host, which has no sandbox.
    """

    container_id: str
    name: str
    network: Network
    settings: EndpointSettings
    pin: str
    endpoint: EndpointPlan | None = None
    publications: tuple[Publication, ...] = ()
