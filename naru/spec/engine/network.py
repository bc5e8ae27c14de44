"""Networks, as the Engine API writes them.

Spec: Engine API 1.51, `Network`, `IPAM`, `NetworkContainer`.
"""

from msgspec import Struct, field


class IPAMConfig(Struct, kw_only=True, omit_defaults=True):
    subnet: str = field(name="Subnet", default="")
    ip_range: str = field(name="IPRange", default="")
    gateway: str = field(name="Gateway", default="")
    auxiliary_addresses: dict[str, str] | None = field(name="AuxiliaryAddresses", default=None)


class IPAM(Struct, kw_only=True, rename="pascal"):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMConfig] | None = None


class ConfigReference(Struct, kw_only=True, rename="pascal"):
    network: str = ""


class NetworkContainer(Struct, kw_only=True, rename="pascal"):
    """A container in `Containers` of a network's inspect. Addresses carry their prefix length."""

    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(name="IPv4Address", default="")
    ipv6_address: str = field(name="IPv6Address", default="")


class NetworkResource(Struct, kw_only=True, rename="pascal"):
    """Body of GET /networks/{id}; GET /networks gives a list of them without containers."""

    name: str
    id: str
    created: str
    scope: str = "local"
    driver: str = "bridge"
    enable_ipv4: bool = field(name="EnableIPv4", default=True)
    enable_ipv6: bool = field(name="EnableIPv6", default=False)
    ipam: IPAM = field(name="IPAM", default_factory=IPAM)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    config_only: bool = False
    containers: dict[str, NetworkContainer] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class NetworkCreate(Struct, kw_only=True, rename="pascal"):
    """Body of POST /networks/create. `check_duplicate` is of old clients and says nothing."""

    name: str = ""
    check_duplicate: bool | None = None
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = field(name="EnableIPv4", default=None)
    enable_ipv6: bool | None = field(name="EnableIPv6", default=None)
    ipam: IPAM | None = field(name="IPAM", default=None)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None
