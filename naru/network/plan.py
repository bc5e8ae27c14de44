"""What an engine's things are called, and what an endpoint is made of. Pure."""

import hashlib
from base64 import b32encode
from dataclasses import dataclass

from naru.network.model import Network, Publication
from naru.spec.engine.container_config import EndpointSettings

DEFAULT_DATA_ROOT = "/var/lib/naru"

# Interfaces made later have no IPv6, so nobody's router advertisement is heard; [::1] stays.
SANDBOX_SYSCTLS = (("net/ipv6/conf/default/disable_ipv6", "1"),)


def _tag(text: str, length: int) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def engine_key(data_root: str) -> str:
    """What tells this engine's bridge, table and links from another's: "" for the default one."""
    return "" if data_root == DEFAULT_DATA_ROOT else _tag("engine " + data_root, 6)


def bridge_name(key: str) -> str:
    return f"naru-{key}" if key else "naru0"


def table_name(key: str) -> str:
    return f"naru_{key}" if key else "naru"


def port_offset(key: str) -> int:
    """Where an engine begins to look for a free port: the default one at the first."""
    return int.from_bytes(hashlib.sha256(f"ports {key}".encode()).digest()[:4]) if key else 0


def link_prefix(key: str) -> str:
    """How the host's ends of this engine's veth pairs begin; no other link does."""
    return "naru" + _tag("links " + key, 3)


def link_name(key: str, endpoint_id: str) -> str:
    """The host's end of an endpoint's veth pair: 15 characters, derived, so it can be found.

    Not of the container: its next endpoint is made while the kernel still removes the last one.
    """
    return link_prefix(key) + _tag(endpoint_id, 8)


def relay_prefix(key: str) -> str:
    """The engine's own IPv6 prefix (/64 of fd00::/8), ending with a colon."""
    digest = hashlib.sha256(f"relay {key}".encode()).hexdigest()
    return f"fd6e:{digest[:4]}:{digest[4:8]}:{digest[8:12]}:"


def bridge_mac(key: str) -> str:
    """The bridge's own hardware address; without one it would change with the links on it."""
    return "02:42:" + hashlib.sha256(f"bridge {key}".encode()).digest()[:4].hex(":")


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
