"""What an engine's things are called, and what an endpoint is made of. Pure."""

import hashlib
from base64 import b32encode
from dataclasses import dataclass

from naru.network import bindings, validate
from naru.network.bindings import PortWish, Published
from naru.network.model import AttachRequest, Network
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


def network_bridge_name(key: str, network_id: str) -> str:
    """The bridge of a network of one's own: 15 characters, derived from its id."""
    return network_bridge_prefix(key) + network_id[:6]


def network_bridge_prefix(key: str) -> str:
    """How the derived names of this engine's bridges begin; no other link's does."""
    return "narub" + _tag("bridges " + key, 4)


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


def bridge_mac(key: str, network_id: str = "") -> str:
    """The bridge's own hardware address; without one it would change with the links on it."""
    seed = f"bridge {key}{network_id}"
    return "02:42:" + hashlib.sha256(seed.encode()).digest()[:4].hex(":")


def sandbox_folder(exec_root: str) -> str:
    return f"{exec_root}/netns"


def sandbox_path(exec_root: str, container_id: str) -> str:
    return f"{sandbox_folder(exec_root)}/{container_id}"


def owner_folder(exec_root: str) -> str:
    return f"{exec_root}/userns"


def owner_path(exec_root: str, container_id: str) -> str:
    """Where the user namespace of a mapped container is pinned."""
    return f"{owner_folder(exec_root)}/{container_id}"


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """A container's place on one network; `settings` is what `inspect` shows: asked and got.

    `interface`: its name inside, "" on host and none. `link`: the host's end of the veth pair,
    "" where there is none (macvlan and ipvlan live inside only).
    """

    network: Network
    settings: EndpointSettings
    interface: str = ""
    link: str = ""

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """(address, prefix length) of what the interface has, link-local ones included."""
        item = self.settings
        found = []
        if item.ip_address:
            found.append((item.ip_address, item.ip_prefix_len))
        if item.global_ipv6_address:
            found.append((item.global_ipv6_address, item.global_ipv6_prefix_len))
        asked = item.ipam_config.link_local_ips if item.ipam_config is not None else None
        found += [(address, 64 if ":" in address else 16) for address in asked or ()]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Attached:
    """What one container holds: enough to describe it, to repair it and to take it away.

    `pin` is "" on host, which has no sandbox; `owner_pin`: of the user namespace that a sandbox
    may belong to. `granted`: the ports of the host that it has.
    """

    request: AttachRequest
    pin: str
    owner_pin: str
    endpoints: tuple[EndpointPlan, ...] = ()
    granted: tuple[Published, ...] = ()

    @property
    def container_id(self) -> str:
        return self.request.container_id

    @property
    def name(self) -> str:
        return self.request.name

    def on(self, network_id: str) -> EndpointPlan | None:
        """The endpoint on a network, None when there is none."""
        return next((item for item in self.endpoints if item.network.id == network_id), None)

    @property
    def wishes(self) -> list[PortWish]:
        """The ports that are to be published wherever the gateway allows it."""
        request = self.request
        return bindings.wishes(request.port_bindings, self.exposed, publish_all=request.publish_all)

    @property
    def exposed(self) -> tuple[str, ...]:
        return (*self.request.exposed_ports, *self.request.port_bindings)


def interface_sysctls(endpoint: EndpointPlan) -> tuple[tuple[str, str], ...]:
    """What is set inside before the interface gets its addresses, the user's own wishes last."""
    found: list[tuple[str, str]] = []
    if any(":" in address for address, _ in endpoint.addresses):
        name = f"net/ipv6/conf/{endpoint.interface}"
        found += [(f"{name}/accept_ra", "0"), (f"{name}/disable_ipv6", "0")]
    wanted = (endpoint.settings.driver_opts or {}).get(validate.SYSCTLS_OPTION, "")
    return (*found, *validate.interface_sysctls(wanted, endpoint.interface))
