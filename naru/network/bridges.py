"""The predefined networks' records, and the default bridge in the kernel.

The bridge's subnet is chosen once and kept in its record, so that addresses stay the same over
restarts of the engine; `--bip` says otherwise.
"""

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import msgspec

from naru.base.clock import now_ns
from naru.base.ids import new_id
from naru.kernel import host
from naru.kernel.netlink.client import Netlink
from naru.kernel.threads import offload
from naru.network import plan
from naru.network.ipam import choose_subnet, parse_bip
from naru.network.model import Network, NetworkOptions
from naru.storage.metadata import Database

log = logging.getLogger("naru.network")

KIND = "network"
_DRIVERS = (("bridge", "bridge"), ("host", "host"), ("none", "null"))


class Bridges:
    """Owns the network records and the bridge link of one engine."""

    def __init__(self, db: Database, netlink: Netlink, options: NetworkOptions) -> None:
        self._db = db
        self._netlink = netlink
        self._options = options
        self._networks: dict[str, Network] = {}
        self._index = 0

    async def open(self) -> None:
        """Read or make the records, and make the bridge. Raises: Conflict, InvalidParameter."""
        self._read()
        for name, driver in _DRIVERS:
            known = self._networks.get(name)
            network = known or Network(id=new_id(), name=name, driver=driver, created_ns=now_ns())
            if driver == "bridge":
                network = await offload(self._place, network)
            if network != known:
                await self._db.put(KIND, network.id, msgspec.json.encode(network))
            self._networks[name] = network
        await offload(self.ensure)

    def all(self) -> list[Network]:
        return [self._networks[name] for name, _ in _DRIVERS]

    def get(self, name: str) -> Network | None:
        return self._networks.get(name)

    @property
    def default(self) -> Network:
        """The network named bridge."""
        return self._networks["bridge"]

    @property
    def index(self) -> int:
        """The default bridge's interface index."""
        return self._index

    def ensure(self) -> None:
        """Make the default bridge what it should be. Blocks; idempotent. Raises: OSError."""
        network = self._networks["bridge"]
        length = IPv4Network(network.subnet).prefixlen
        self._index = self._netlink.ensure_bridge(
            network.bridge,
            [(network.gateway, length)],
            mtu=network.mtu,
            mac=plan.bridge_mac(self._options.key),
        )
        # 127.0.0.1 of the host reaches published ports; the table keeps containers off it.
        host.set_sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
        ipv6 = f"net/ipv6/conf/{network.bridge}/disable_ipv6"
        if host.has_sysctl(ipv6):  # no address, and no router advertisement of a container
            host.set_sysctl(ipv6, "1")
        if not host.ip_forward():
            host.set_ip_forward(True)
            log.warning(
                "net.ipv4.ip_forward was off and is now on: containers could not reach other "
                "hosts without it. This host now also forwards between its other interfaces, "
                "unless its firewall says otherwise"
            )

    def _read(self) -> None:
        for identifier, body in self._db.all(KIND):
            try:
                network = msgspec.json.decode(body, type=Network)
            except msgspec.MsgspecError as error:
                log.error("network record %s is set aside: %s", identifier, error)
                continue
            self._networks[network.name] = network

    def _place(self, network: Network) -> Network:
        """The bridge network with its name and subnet settled."""
        bridge = plan.bridge_name(self._options.key)
        if self._options.bip:
            subnet, gateway = parse_bip(self._options.bip)
        else:
            subnet, gateway = self._choose(network, bridge)
        return Network(
            id=network.id,
            name=network.name,
            driver=network.driver,
            created_ns=network.created_ns,
            subnet=str(subnet),
            gateway=str(gateway),
            bridge=bridge,
            mtu=self._options.mtu,
        )

    def _choose(self, network: Network, bridge: str) -> tuple[IPv4Network, IPv4Address]:
        taken = list(self._taken(bridge))
        if network.subnet:
            kept = IPv4Network(network.subnet)
            if not any(kept.overlaps(other) for other in taken):
                return kept, IPv4Address(network.gateway)
            log.warning("subnet %s of %s now overlaps a route of this host", kept, bridge)
        return choose_subnet(self._options.pools, taken)

    def _taken(self, bridge: str) -> Iterable[IPv4Network]:
        """What other interfaces of the host route, the default route left out."""
        own = self._netlink.link_index(bridge)
        for route in self._netlink.routes():
            if route.interface != own and route.destination is not None:
                network = IPv4Network(route.destination, strict=False)
                if network.prefixlen > 0:
                    yield network
