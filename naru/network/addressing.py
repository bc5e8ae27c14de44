"""What an endpoint gets on a network: addresses, hardware address, names. Pure but for new ids."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network

from msgspec import structs

from naru.base.ids import new_id, short
from naru.network import drivers, plan
from naru.network.ipam import mac_of, mac_of_v6
from naru.network.leases import Leases
from naru.network.model import AttachRequest, Network
from naru.network.plan import EndpointPlan
from naru.network.validate import IFNAME_OPTION, normal_mac
from naru.spec.engine.container_config import EndpointSettings


def endpoint_of(
    request: AttachRequest,
    network: Network,
    asked: EndpointSettings,
    taken: Iterable[str],
    leases: Leases,
    key: str,
) -> EndpointPlan:
    """A fresh endpoint; `taken` are the names of the container's other interfaces.

    Raises: Forbidden, Conflict, InvalidParameter for addresses that cannot be given.
    """
    settings = structs.replace(
        asked,
        network_id=network.id,
        endpoint_id=new_id(),
        dns_names=dns_names(request, network, asked),
    )
    if network.driver in ("host", "null"):
        return EndpointPlan(network, settings)
    v4, v6 = leases.take(network, asked)
    out = not network.internal and not drivers.settings_of(network).sublink_mode.startswith("l3")
    pool4, pool6 = network.pool4, network.pool6
    settings = structs.replace(
        settings,
        gateway=pool4.gateway if pool4 is not None and out else "",
        ip_address=v4,
        ip_prefix_len=ip_network(pool4.subnet).prefixlen if pool4 is not None else 0,
        ipv6_gateway=pool6.gateway if pool6 is not None and out else "",
        global_ipv6_address=v6,
        global_ipv6_prefix_len=ip_network(pool6.subnet).prefixlen if pool6 is not None else 0,
        mac_address=_mac(request, network, asked, v4, v6),
    )
    interface = interface_name(network, asked, taken)
    return EndpointPlan(network, settings, interface, host_link(network, settings, key))


def adopted(network: Network, settings: EndpointSettings, interface: str, key: str) -> EndpointPlan:
    """The endpoint that a running container has."""
    if network.driver in ("host", "null"):
        return EndpointPlan(network, settings)
    return EndpointPlan(network, settings, interface, host_link(network, settings, key))


def host_link(network: Network, settings: EndpointSettings, key: str) -> str:
    """The host's end of the pair; "" for drivers whose links live inside only."""
    return plan.link_name(key, settings.endpoint_id) if network.driver == "bridge" else ""


def interface_name(network: Network, asked: EndpointSettings, taken: Iterable[str]) -> str:
    """The name inside: the one asked for, else the first free `eth0`, `eth1`, …"""
    wanted = (asked.driver_opts or {}).get(IFNAME_OPTION)
    if wanted:
        return wanted
    prefix, used = drivers.settings_of(network).prefix, set(taken)
    number = 0
    while f"{prefix}{number}" in used:
        number += 1
    return f"{prefix}{number}"


def dns_names(
    request: AttachRequest, network: Network, asked: EndpointSettings
) -> list[str] | None:
    """What the container is called on a network of one's own; None on the predefined ones."""
    if network.name in ("bridge", "host", "none"):
        return None
    names = [request.name, *(asked.aliases or ()), short(request.container_id)]
    if request.hostname and request.hostname not in names:
        names.append(request.hostname)
    return list(dict.fromkeys(names))


def in_order(mode: str, endpoints: Mapping[str, EndpointSettings]) -> list[str]:
    """The order in which interfaces are made: the network of NetworkMode first, then by name."""
    return sorted(endpoints, key=lambda name: (name != mode, name))


def asked_mac(settings: EndpointSettings) -> str:
    """The hardware address that was asked for, "" when it came out of an earlier run's address."""
    own = _derived(settings.ip_address, settings.global_ipv6_address)
    return "" if settings.mac_address == own else settings.mac_address


def _mac(
    request: AttachRequest, network: Network, asked: EndpointSettings, v4: str, v6: str
) -> str:
    """As asked for, not what an earlier run got by itself; else out of the address."""
    mac = asked_mac(asked) or (request.mac if network.name == _main(request) else "")
    return normal_mac(mac) if mac else _derived(v4, v6)


def _main(request: AttachRequest) -> str:
    mode = request.network_mode
    return "bridge" if mode in ("", "default") else mode


def _derived(v4: str, v6: str) -> str:
    if v4:
        return mac_of(IPv4Address(v4))
    return mac_of_v6(IPv6Address(v6)) if v6 else ""
