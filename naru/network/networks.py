"""The networks' records, and their bridges in the kernel.

A network is recorded before its bridge is made and forgotten after its bridge is gone: what a crash
leaves in between is finished at the next start, since every record's bridge is made sure of there.
The default bridge's subnet is chosen once and kept in its record, so that addresses stay the same
over restarts of the engine; `--bip` says otherwise.
"""

import asyncio
import logging
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import msgspec
from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import Conflict, Forbidden, NotFound
from naru.base.failpoints import declare
from naru.base.ids import new_id
from naru.base.undo import Undo
from naru.kernel.netlink.client import Netlink
from naru.kernel.threads import offload
from naru.network import drivers, plan, validate
from naru.network.bridges import Bridges
from naru.network.ipam import Address, Subnet, choose_subnet, parse_bip, space_of, ula_pool
from naru.network.model import Network, NetworkOptions, Pool
from naru.storage.metadata import Database

log = logging.getLogger("naru.network")

KIND = "network"
_PREDEFINED = (("bridge", "bridge"), ("host", "host"), ("none", "null"))

CREATE_RECORDED = declare("network.create.recorded")
CREATE_LINKED = declare("network.create.linked")
REMOVE_UNLINKED = declare("network.remove.unlinked")


class Networks:
    """Owns the network records of one engine; asks `Bridges` for what the kernel must have."""

    def __init__(
        self, db: Database, netlink: Netlink, bridges: Bridges, options: NetworkOptions
    ) -> None:
        self._db = db
        self._netlink = netlink
        self._bridges = bridges
        self._options = options
        self._networks: dict[str, Network] = {}
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Read or make the records, and make the default bridge; `Repair.start` makes the others.

        Raises: Conflict, InvalidParameter.
        """
        for name, driver in _PREDEFINED:
            self._networks[name] = Network(id="", name=name, driver=driver, created_ns=0)
        self._read()
        for name, driver in _PREDEFINED:
            known = self._networks[name]
            network = known if known.id else replace(known, id=new_id(), created_ns=now_ns())
            if driver == "bridge":
                network = await offload(self._place, network)
            if network != known:
                await self._db.put(KIND, network.id, msgspec.json.encode(network))
            self._networks[name] = network
        await offload(self._bridges.ensure, self.default)

    def all(self) -> list[Network]:
        return list(self._networks.values())

    def bridged(self) -> list[Network]:
        """Those that have a bridge on this host."""
        return [item for item in self.all() if item.driver == "bridge" and item.link]

    def get(self, name: str) -> Network | None:
        """By name only."""
        return self._networks.get(name)

    def find(self, ref: str) -> Network:
        """By name, id or unique prefix of an id. Raises: NotFound, Conflict."""
        named = self._networks.get(ref)
        if named is not None:
            return named
        found = [item for item in self._networks.values() if ref and item.id.startswith(ref)]
        exact = [item for item in found if item.id == ref]
        found = exact or found
        if not found:
            raise NotFound(f"network {ref} not found")
        if len(found) > 1:
            raise Conflict(f"network {ref} is ambiguous ({len(found)} matches found on ID prefix)")
        return found[0]

    def name_of(self, ref: str) -> str:
        """The name of the network that `ref` means; `ref` itself when there is none (yet)."""
        ref = validate.network_name(ref)
        try:
            return self.find(ref).name
        except (NotFound, Conflict):
            return ref

    @property
    def default(self) -> Network:
        """The network named bridge."""
        return self._networks["bridge"]

    async def create(self, draft: Network) -> Network:
        """Give a draft what it still lacks, record it and make its bridge; all or nothing.

        Raises: Conflict for a name that is taken, Forbidden for subnets and bridges that are.
        """
        async with Undo(f"create network {draft.name}") as undo:
            async with self._lock:
                if draft.name in self._networks:
                    raise Conflict(f"network with name {draft.name} already exists")
                network = await offload(self._complete, draft)
                undo.push("name", lambda: self._networks.pop(network.name, None))
                self._networks[network.name] = network
            undo.push("record", lambda: self._db.delete(KIND, network.id))
            await self._db.put(KIND, network.id, msgspec.json.encode(network))
            CREATE_RECORDED()
            if network.driver == "bridge":
                undo.push("bridge", lambda: offload(self._bridges.remove, network))
                await offload(self._bridges.make, network)
            CREATE_LINKED()
        return network

    async def remove(self, network: Network) -> None:
        """Take the bridge and then the record away. Raises: OSError, Internal: call again."""
        if network.link and network.driver == "bridge":
            await offload(self._bridges.remove, network)
        REMOVE_UNLINKED()
        await self._db.delete(KIND, network.id)
        self._networks.pop(network.name, None)

    def configured_from(self, network: Network) -> list[str]:
        """Names of the networks that took their configuration from this one."""
        return [item.name for item in self.all() if item.config_from == network.name]

    def _read(self) -> None:
        for identifier, body in self._db.all(KIND):
            try:
                network = msgspec.json.decode(body, type=Network)
            except msgspec.MsgspecError as error:
                log.error("network record %s is set aside: %s", identifier, error)
                continue
            self._networks[network.name] = network

    def _complete(self, draft: Network) -> Network:
        """Id, bridge and pools. Reads the host's routes: blocks."""
        network = replace(draft, id=new_id(), created_ns=now_ns())
        if network.config_only:
            return network
        settings = drivers.settings_of(network)
        mtu = settings.mtu or self._options.mtu
        if network.driver in drivers.SUBLINKS:
            self._bridges.check_parent(network, settings.link)
            network = replace(network, link=settings.link, mtu=mtu)
        else:
            name = settings.link or plan.network_bridge_name(self._options.key, network.id)
            while not settings.link and any(name == other.link for other in self.all()):
                network = replace(network, id=new_id())  # the name holds only a part of the id
                name = plan.network_bridge_name(self._options.key, network.id)
            self._bridges.check_name(network, name, self.all())
            network = replace(network, link=name, mtu=mtu)
        return replace(network, pools=self._pools(network, settings))

    def _pools(self, network: Network, settings: drivers.Settings) -> tuple[Pool, ...]:
        pools = []
        for wanted, known, ipv6, mode in (
            (network.ipv4, network.pool4, False, settings.mode4),
            (network.ipv6, network.pool6, True, settings.mode6),
        ):
            if not wanted:
                continue
            taken = [*self._of_networks(), *self._bridges.routed()]
            if known is None:
                more = [ula_pool(self._options.key)] if ipv6 else []
                subnet, gateway = choose_subnet([*self._options.pools, *more], taken, ipv6=ipv6)
                known = Pool(subnet=str(subnet), gateway=str(gateway))
            else:
                self._check_free(known)
                gateway = _gateway(known)
                known = replace(known, gateway=str(gateway))
            if mode == "isolated":
                known = replace(known, gateway="", gateway_shown=False)
            pools.append(known)
        return tuple(pools)

    def _check_free(self, pool: Pool) -> None:
        """Raises: Forbidden when somebody's subnet or the host's own route is in the way."""
        subnet = ip_network(pool.subnet)
        for other in self.all():
            for known in other.pools if not other.config_only else ():
                if _overlap(subnet, ip_network(known.subnet)):
                    raise Forbidden(
                        "invalid pool request: Pool overlaps with other one on this address "
                        f"space: {known.subnet} is network {other.name}'s"
                    )
        for route, direct in self._bridges.host_routes():
            if _overlap(subnet, route) and (direct or route.prefixlen >= subnet.prefixlen):
                raise Forbidden(
                    "invalid pool request: Pool overlaps with other one on this address space: "
                    f"this host has a route to {route}"
                )

    def _of_networks(self) -> Iterable[Subnet]:
        for network in self.all():
            if not network.config_only:
                for pool in network.pools:
                    yield ip_network(pool.subnet)

    def _place(self, network: Network) -> Network:
        """The default bridge network with its name and subnet settled."""
        bridge = plan.bridge_name(self._options.key)
        if self._options.bip:
            subnet, gateway = parse_bip(self._options.bip)
            pool = Pool(subnet=str(subnet), gateway=str(gateway), asked=True)
        else:
            pool = self._choose(network, bridge)
        return replace(network, pools=(pool,), link=bridge, mtu=self._options.mtu)

    def _choose(self, network: Network, bridge: str) -> Pool:
        own = {pool.subnet for other in self.all() if other != network for pool in other.pools}
        taken = [ip_network(text) for text in own]
        taken += [route for route, _ in self._bridges.host_routes(besides=bridge)]
        if network.pool4 is not None:
            kept = ip_network(network.pool4.subnet)
            if not any(_overlap(kept, other) for other in taken):
                return network.pool4
            log.warning("subnet %s of %s now overlaps a route of this host", kept, bridge)
        subnet, gateway = choose_subnet(self._options.default_pools, taken)
        return Pool(subnet=str(subnet), gateway=str(gateway))


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)


def _gateway(pool: Pool) -> Address:
    """The gateway asked for, else the first address of the range that is not kept for somebody."""
    if pool.gateway:
        return ip_address(pool.gateway)
    return space_of(pool).allocate()
