"""Bridges as the kernel and the firewall have them: made, made sure of, removed. All blocking."""

import errno
import logging
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from naru.base.errors import Forbidden, InvalidParameter, Unsupported
from naru.kernel import host
from naru.kernel.netlink.client import Netlink
from naru.kernel.netlink.sublink import knows_sublink
from naru.network import drivers, plan
from naru.network.firewall import BridgeRules
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.ipam import Subnet
from naru.network.model import Network, NetworkOptions

log = logging.getLogger("naru.network")


class Bridges:
    """One per engine; holds the interface indexes of the bridges that it made sure of."""

    def __init__(self, netlink: Netlink, firewall: FirewallKeeper, options: NetworkOptions) -> None:
        self._netlink = netlink
        self._firewall = firewall
        self._options = options
        self._indexes: dict[str, int] = {}

    def index(self, name: str) -> int:
        """The interface index of a bridge; 0 for one that is not there."""
        return self._indexes.get(name, 0)

    def owner_of(self, index: int) -> str:
        """The bridge with this interface index, "" when it is none of ours."""
        return next((name for name, number in self._indexes.items() if number == index), "")

    def ensure(self, network: Network) -> None:
        """Make a network's bridge what it should be. Idempotent. Raises: OSError, Internal."""
        bridge, default = network.link, network.name == "bridge"
        mac = plan.bridge_mac(self._options.key, "" if default else network.id)
        self._indexes[bridge] = self._netlink.ensure_bridge(
            bridge, _own_addresses(network), mtu=network.mtu, mac=mac
        )
        # 127.0.0.1 of the host reaches published ports; the table keeps containers off it.
        host.set_sysctl(f"net/ipv4/conf/{bridge}/route_localnet", "1")
        self._settle_ipv6(network)
        if network.internal:
            return
        if network.ipv4 and not host.ip_forward():
            host.set_ip_forward(True)
            log.warning(
                "net.ipv4.ip_forward was off and is now on: containers could not reach other "
                "hosts without it. This host now also forwards between its other interfaces, "
                "unless its firewall says otherwise"
            )

    def make(self, network: Network) -> None:
        """Make a new network's bridge and let its packets through. Raises: OSError, Internal."""
        self.ensure(network)
        self._firewall.add_bridge(rules_of(network))

    def remove(self, network: Network) -> None:
        """Take a bridge and its rules away, missing or not. Raises: OSError, Internal."""
        index = self._indexes.pop(network.link, 0)  # first: its end is no news to anybody
        try:
            self._netlink.delete_link(network.link)
        except BaseException:
            self._indexes[network.link] = index
            raise
        self._firewall.remove_bridge(network.link)

    def check_name(self, network: Network, name: str, others: Iterable[Network]) -> None:
        """Raises: Forbidden when another network or interface has the name."""
        for other in others:
            if other.link == name and other.driver == "bridge":
                raise Forbidden(
                    f"cannot create network {network.id} ({name}): conflicts with network "
                    f"{other.id} ({name}): networks have same bridge name"
                )
        if self._netlink.link(name) is not None:
            raise Forbidden(
                f"cannot create network {network.name}: this host has an interface {name} already; "
                "Naru uses none that it did not make"
            )

    def check_parent(self, network: Network, parent: str) -> None:
        """Raises: InvalidParameter when a macvlan's or ipvlan's parent is not there, Unsupported
        when the kernel has no such links."""
        if not knows_sublink(network.driver):
            raise Unsupported(
                f"cannot create network {network.name}: the kernel of this host has no "
                f"{network.driver} links (module {network.driver}): operation not supported"
            )
        if self._netlink.link(parent) is None:
            raise InvalidParameter(
                f"cannot create network {network.name}: this host has no interface {parent} to be "
                f"the parent of {network.driver} links; make it first (VLAN interfaces too)"
            )

    def routed(self) -> list[Subnet]:
        """What addresses are in use on this host: its routes and its name servers."""
        taken = [route for route, _ in self.host_routes()]
        for line in _lines("/etc/resolv.conf"):
            word, _, address = line.partition(" ")
            if word == "nameserver":
                try:
                    taken.append(ip_network(ip_address(address.strip())))
                except ValueError:
                    continue
        return taken

    def host_routes(self, besides: str = "") -> Iterator[tuple[Subnet, bool]]:
        """(destination, whether it is directly connected), default routes and ours left out."""
        own = set(self._indexes.values())
        if besides:
            own.add(self._netlink.link_index(besides) or 0)
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                routes = self._netlink.routes(family)
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                    raise
                continue
            for route in routes:
                if route.interface in own or route.destination is None:
                    continue
                network = ip_network(route.destination, strict=False)
                if network.prefixlen and not network.is_link_local and not network.is_multicast:
                    yield network, route.via is None

    def _settle_ipv6(self, network: Network) -> None:
        """Off where the network has none, so that no router advertisement of a container counts."""
        name = f"net/ipv6/conf/{network.link}"
        if not host.has_sysctl(f"{name}/disable_ipv6"):
            if network.ipv6:
                raise OSError(errno.EAFNOSUPPORT, "this host has no IPv6", network.link)
            return
        if not network.ipv6:
            host.set_sysctl(f"{name}/disable_ipv6", "1")
            return
        # Nobody else has its addresses. While they are looked for, which is when the first
        # container comes, no neighbour is solicited for packets from other hosts.
        host.set_sysctl(f"{name}/accept_dad", "0")
        if host.get_sysctl(f"{name}/disable_ipv6") != "0":
            host.set_sysctl(f"{name}/disable_ipv6", "0")
            # Switching it off took the addresses: give them again.
            mac = plan.bridge_mac(self._options.key, network.id)
            self._netlink.ensure_bridge(
                network.link, _own_addresses(network), mtu=network.mtu, mac=mac
            )
        host.set_sysctl(f"{name}/accept_ra", "0")
        if not network.internal and host.get_sysctl("net/ipv6/conf/all/forwarding") != "1":
            host.set_sysctl("net/ipv6/conf/all/forwarding", "1")
            log.warning(
                "net.ipv6.conf.all.forwarding was off and is now on: containers of network %s "
                "could not reach other hosts without it. Interfaces of this host that take their "
                "own address from router advertisements need accept_ra=2 from now on",
                network.name,
            )


def rules_of(network: Network) -> BridgeRules:
    """What the firewall lets a network's bridge do. Pure."""
    settings = drivers.settings_of(network)
    return BridgeRules(
        network.link,
        masq4=settings.masquerade and settings.mode4 == "nat" and not network.internal,
        masq6=settings.masquerade and settings.mode6 == "nat" and not network.internal,
        snat4=settings.snat4,
        snat6=settings.snat6,
        icc=settings.icc,
        internal=network.internal,
        routed="routed" in (settings.mode4, settings.mode6),
    )


def _own_addresses(network: Network) -> list[tuple[str, int]]:
    return [
        (pool.gateway, ip_network(pool.subnet).prefixlen) for pool in network.pools if pool.gateway
    ]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
