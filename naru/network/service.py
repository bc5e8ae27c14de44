"""Networks as the rest of the engine sees them. What containers have on them: `membership`.

What is attached is declared state: the containers' records give it back at start (`reconcile`),
and `Repair` puts it back whenever somebody else changed the host.

Lifecycle: `open` → `reconcile` once → attach, detach, … → `close` (which leaves everything up).
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from naru.base.clock import now_ns, parse_timestamp
from naru.base.errors import Forbidden, NotFound
from naru.base.filters import Filters, matches_labels
from naru.base.ids import short
from naru.kernel.netlink.client import Netlink
from naru.kernel.nft import Nft
from naru.kernel.spawn import Spawner
from naru.kernel.threads import offload
from naru.network import definition, describe, plan, validate
from naru.network.attach import Sandboxes
from naru.network.audit import Audit
from naru.network.bridges import Bridges
from naru.network.counters import Counters
from naru.network.dns.keeper import DnsKeeper
from naru.network.endpoints import Endpoints
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.host_firewall_keeper import HostFirewallKeeper
from naru.network.leases import Leases
from naru.network.membership import Membership
from naru.network.model import Attachment, Network, NetworkOptions
from naru.network.name_service import NameService
from naru.network.networks import Networks
from naru.network.ports import PortTable
from naru.network.reaper import Reaper
from naru.network.relay_keeper import RelayKeeper
from naru.network.repair import Repair
from naru.spec.engine.network import NetworkCreate, NetworkResource
from naru.storage.metadata import Database

T = TypeVar("T")
Emit = Callable[[str, str, str, dict[str, str]], None]


class NetworkService:
    """One per engine. `emit(type, action, actor id, attributes)` is told of every change."""

    def __init__(
        self,
        db: Database,
        netlink: Netlink,
        nft: Nft,
        spawner: Spawner,
        options: NetworkOptions,
        emit: Emit,
    ) -> None:
        self._options = options
        self._emit = emit
        self._relay = RelayKeeper(netlink, spawner, options)
        table = plan.table_name(options.key)
        host = HostFirewallKeeper(nft, table, honour=options.honour_host_firewall)
        self._firewall = FirewallKeeper(nft, table, self._relay.ensure, host)
        bridges = Bridges(netlink, self._firewall, options)
        self._networks = Networks(db, netlink, bridges, options)
        sandboxes = Sandboxes(netlink, self._firewall, bridges, spawner)
        ports = PortTable(
            options.publish_address,
            ipv6=self._relay.available(),
            offset=plan.port_offset(options.key),
        )
        reaper = Reaper(netlink, options.key)
        self._leases = Leases()
        self._endpoints = Endpoints(sandboxes, ports, self._leases, reaper, options)
        self._reaper = reaper
        self._repair = Repair(
            netlink, self._networks, bridges, self._firewall, sandboxes, self._endpoints, reaper,
            self._relay, options,
        )  # fmt: skip
        self.counters = Counters(netlink, self._endpoints)
        self.audit = Audit(self._firewall, self._endpoints, ports)
        self._names = NameService(
            DnsKeeper(spawner, options.exec_root, options.key), self._endpoints
        )
        self.membership = Membership(self._networks, self._endpoints, self._names, self._told)

    async def open(self) -> None:
        """Read the records and make the default bridge. Raises: Conflict, InvalidParameter."""
        for folder in (plan.sandbox_folder, plan.owner_folder):
            os.makedirs(folder(self._options.exec_root), 0o700, exist_ok=True)
        await self._networks.open()

    async def reconcile(self, keep: Mapping[str, Attachment]) -> list[str]:
        """Adopt what running containers have, remove every other trace, begin to watch.

        Answers a sentence for each thing that could not be kept as it was.
        """
        await offload(self._relay.allow, self._subnets())
        problems = await self._repair.start(keep)
        await self._names.start()
        return problems

    async def close(self) -> None:
        """Stop watching. All that containers use stays; what none uses is removed."""
        await self._names.stop()
        await self._reaper.close()
        await self._repair.stop()

    def networks(self) -> list[NetworkResource]:
        """GET /networks: without their containers."""
        return [describe.resource(network) for network in self._networks.all()]

    def inspect(self, ref: str) -> NetworkResource:
        """One network by name, id or unique prefix of its id. Raises: NotFound, Conflict."""
        network = self._networks.find(ref)
        members = {
            item.container_id: (item.name, endpoint.settings)
            for item, endpoint in self._endpoints.members(network.id)
        }
        return describe.resource(network, members)

    def by_name(self, endpoints: Mapping[str, T]) -> dict[str, T]:
        """The same by the networks' names, where somebody named them by id or as `default`."""
        return {self._networks.name_of(name): value for name, value in endpoints.items()}

    def in_use(self) -> set[str]:
        """Ids of the networks that a running container is on."""
        attached = self._endpoints.attached.values()
        return {endpoint.network.id for item in attached for endpoint in item.endpoints}

    async def create(self, body: NetworkCreate) -> str:
        """The new network's id. Raises: InvalidParameter, Forbidden, Conflict, NotFound."""
        network = await self._networks.create(definition.draft(body, self._networks.find))
        await offload(self._relay.allow, self._subnets())
        self._told("create", network)
        return network.id

    async def remove(self, ref: str) -> None:
        """Raises: Forbidden for predefined networks and for those in use, NotFound."""
        network = self._networks.find(ref)
        if network.name in validate.PREDEFINED:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        users = [
            f'name:"{item.name}" id:"{short(endpoint.settings.endpoint_id)}"'
            for item, endpoint in self._endpoints.members(network.id)
        ]
        if users:
            raise Forbidden(
                f"error while removing network: network {network.name} has active endpoints "
                f"({', '.join(users)})"
            )
        if dependents := self._networks.configured_from(network):
            raise Forbidden(
                f'error while removing network: configuration network "{network.name}" is in use '
                f"(by {', '.join(dependents)})"
            )
        await self._networks.remove(network)
        self._leases.forget(network)
        await offload(self._relay.allow, self._subnets())
        self._told("destroy", network)

    async def prune(self, filters: Filters) -> list[str]:
        """Remove what no running container is on; the names. Filters: until, label, label!.

        Raises: InvalidParameter.
        """
        now = now_ns()
        before = [parse_timestamp(value, now) for value in filters.get("until", ())]
        unwanted, used = filters.get("label!", ()), self.in_use()
        removed = []
        for network in self._networks.all():
            if network.name in validate.PREDEFINED or network.id in used:
                continue
            if before and network.created_ns >= min(before):
                continue
            if not matches_labels(filters.get("label", ()), network.labels) or (
                unwanted and matches_labels(unwanted, network.labels)
            ):
                continue
            with contextlib.suppress(Forbidden, NotFound):  # in use since, or gone already
                await self.remove(network.id)
                removed.append(network.name)
        self._emit("network", "prune", "", {"reclaimed": "0"})
        return removed

    async def obstacles(self) -> list[str]:
        """For `doctor`: what of the host's own firewall stands in containers' way."""
        return await offload(self._firewall.obstacles)

    def gateway_address(self) -> str:
        """The default bridge's own address: what `host-gateway` means."""
        pool = self._networks.default.pool4
        return pool.gateway if pool is not None else ""

    def _subnets(self) -> list[str]:
        return [item.pool4.subnet for item in self._networks.bridged() if item.pool4 is not None]

    def _told(self, action: str, network: Network, container_id: str = "") -> None:
        attributes = {"container": container_id} if container_id else {}
        attributes |= {"name": network.name, "type": network.driver}
        self._emit("network", action, network.id, attributes)
