"""Keeps the host as declared: at start, and whenever somebody else changes it.

    event (table changed, bridge or link gone) → dirty → repair, alone → clean
                                                   ↑ failed: again after a pause ┘

No polling: the kernel tells. Our own transactions are known by the port of our nftables socket,
which is learnt from the first table that carries a nonce of ours.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence

from naru.base.errors import NaruError
from naru.base.tasks import TaskRegistry
from naru.kernel import netns
from naru.kernel.multicast import (
    NEW_GENERATION,
    NEW_TABLE,
    AddressEvent,
    LinkMonitor,
    Lost,
    TableMonitor,
)
from naru.kernel.netlink.client import Netlink
from naru.kernel.netlink.model import LinkInfo
from naru.kernel.threads import offload
from naru.network import gateways, plan
from naru.network.attach import Sandboxes
from naru.network.bridges import Bridges, rules_of
from naru.network.endpoints import Endpoints
from naru.network.firewall import RelayRules, Ruleset
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.model import Attachment, NetworkOptions
from naru.network.networks import Networks
from naru.network.plan import Attached, EndpointPlan
from naru.network.reaper import Reaper
from naru.network.relay_keeper import RelayKeeper

log = logging.getLogger("naru.network")

RETRY_S = 1.0
DRAIN_S = 5.0


class Repair:
    """One per engine; `start` once, `stop` at the end."""

    def __init__(
        self,
        netlink: Netlink,
        networks: Networks,
        bridges: Bridges,
        firewall: FirewallKeeper,
        sandboxes: Sandboxes,
        endpoints: Endpoints,
        reaper: Reaper,
        relay: RelayKeeper,
        options: NetworkOptions,
    ) -> None:
        self._netlink = netlink
        self._networks = networks
        self._bridges = bridges
        self._firewall = firewall
        self._sandboxes = sandboxes
        self._endpoints = endpoints
        self._reaper = reaper
        self._relay = relay
        self._options = options
        self._tasks = TaskRegistry()
        self._links: LinkMonitor | None = None
        self._tables: TableMonitor | None = None
        self._own_ports: set[int] = set()
        self._touched = False
        self._links_dirty = False
        self._table_dirty = False
        self._host_dirty = False
        self._relay_dirty = False
        self._unused = False  # whether nobody but `attached` uses the bridges
        self._adopted: RelayRules | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, keep: Mapping[str, Attachment]) -> list[str]:
        """Adopt `keep`, remove every other trace, watch. Answers what could not be kept."""
        networks = {network.name: network for network in self._networks.all()}
        problems = []
        for container_id, kept in keep.items():
            if kept.request.network_mode.startswith("container:"):
                continue  # it lives in another container's sandbox
            try:
                self._endpoints.adopt(kept, networks)
            except (NaruError, ValueError) as error:
                name = kept.request.name or container_id
                problems.append(f"network of container {name}: {error}")
        adoption_failed = bool(problems)
        self._watch()
        async with self._endpoints.gate.alone():
            attached = list(self._endpoints.attached.values())
            await offload(self._sweep, keep)
            problems += await offload(self._restore_links, attached)
            self._adopted = self._relay.open(self._on_relay_end)
            await offload(self._declare, attached)
        self._unused = not adoption_failed
        for problem in problems:
            log.error("%s", problem)
        for warning in await offload(self._firewall.obstacles):
            log.warning("%s", warning)
        return problems

    async def stop(self) -> None:
        """Stop watching; with no container attached, bridge, table and relay go too."""
        loop = asyncio.get_running_loop()
        for monitor in (self._links, self._tables):
            if monitor is not None:
                loop.remove_reader(monitor.fileno())
                monitor.close()
        self._links = self._tables = None
        await self._tasks.drain(DRAIN_S)
        await self._relay.close(needed=await offload(self._firewall.relays))
        if self._unused and not self._endpoints.attached:
            await offload(self._clear)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._links, self._tables = LinkMonitor(), TableMonitor()
        loop.add_reader(self._links.fileno(), self._on_links, self._links)
        loop.add_reader(self._tables.fileno(), self._on_tables, self._tables)

    def _on_links(self, monitor: LinkMonitor) -> None:
        lost = False
        for event in monitor.read():
            if isinstance(event, Lost):
                lost = True
            elif isinstance(event, AddressEvent):
                lost = lost or (event.deleted and bool(self._bridges.owner_of(event.index)))
            elif self._bridges.index(event.name):
                lost = lost or event.deleted or not (event.up or self._is_up(event.name))
            elif event.deleted:
                self._reaper.gone(event.name)
                lost = lost or self._endpoints.owns_link(event.name)
        if lost:
            self._links_dirty = True
            self._wake()

    def _is_up(self, name: str) -> bool:
        """Now: what an event tells may be how a bridge of ours was before it was finished."""
        link = self._netlink.link(name)
        return link is not None and link.up

    def _on_tables(self, monitor: TableMonitor) -> None:
        for event in monitor.read():
            if isinstance(event, Lost):
                self._table_dirty = True
            elif event.kind == NEW_GENERATION:
                if event.port not in self._own_ports:
                    self._table_dirty = self._table_dirty or self._touched
                    self._host_dirty = self._firewall.host.honour
                self._touched = False
            elif event.table == self._firewall.table:
                self._touched = True
                if event.kind == NEW_TABLE and self._firewall.claim(event.userdata):
                    self._own_ports.add(event.port)
        if self._table_dirty or self._host_dirty:
            self._wake()

    def _on_relay_end(self) -> None:
        self._relay_dirty = True
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn("network-repair", self._mend())

    async def _mend(self) -> None:
        while self._links_dirty or self._table_dirty or self._relay_dirty or self._host_dirty:
            try:
                async with self._endpoints.gate.alone():
                    await self._mend_once()
            except (OSError, NaruError):
                log.exception("repairing the network failed; again in %s s", RETRY_S)
                self._links_dirty = self._table_dirty = self._relay_dirty = True
                await asyncio.sleep(RETRY_S)

    async def _mend_once(self) -> None:
        links, table = self._links_dirty, self._table_dirty
        self._links_dirty = self._table_dirty = False
        if self._host_dirty:
            self._host_dirty = False
            await offload(self._firewall.host.refresh)
        if self._relay_dirty:
            await offload(self._firewall.replace_relay)
            self._relay_dirty = False
        if links:
            attached = list(self._endpoints.attached.values())
            for problem in await offload(self._restore_links, attached):
                log.error("%s", problem)
            log.warning("a bridge or a link on it was changed by others: put back")
        if table:
            await offload(self._firewall.rewrite)
            log.warning("table %s was changed by others: put back", self._firewall.table)

    def _sweep(self, keep: Mapping[str, Attachment]) -> None:
        """Remove sandboxes and links that nobody owns: what a crash left.

        What a running container has stays, also when it could not be adopted.
        """
        pins = {os.path.basename(item.sandbox_path) for item in keep.values() if item.sandbox_path}
        exec_root = self._options.exec_root
        for folder in (plan.sandbox_folder(exec_root), plan.owner_folder(exec_root)):
            for name in sorted(set(os.listdir(folder)) - pins):
                netns.remove_netns(os.path.join(folder, name))
        links = {
            plan.link_name(self._options.key, settings.endpoint_id)
            for item in keep.values()
            for settings in item.endpoints.values()
        }
        key = self._options.key
        bridges = {network.link for network in self._networks.all()}
        prefix, bridge_prefix = plan.link_prefix(key), plan.network_bridge_prefix(key)
        for link in self._netlink.links():
            if link.name.startswith(bridge_prefix) and link.name not in bridges:
                self._netlink.delete_link(link.name)
        present = [link.name for link in self._netlink.links() if link.name.startswith(prefix)]
        self._reaper.delete([name for name in present if name not in links])

    def _restore_links(self, attached: Sequence[Attached]) -> list[str]:
        """Bridges, and every endpoint's link on its one. Answers what could not be put back."""
        problems = []
        for network in self._networks.bridged():
            try:
                self._bridges.ensure(network)
            except (OSError, NaruError) as error:
                problems.append(f"the bridge of network {network.name}: {error}")
        present = {link.name: link for link in self._netlink.links()}
        for item in attached:
            for endpoint in item.endpoints:
                try:
                    self._restore(item, endpoint, present)
                except OSError as error:
                    problems.append(
                        f"the link of container {item.name} to network {endpoint.network.name} "
                        f"cannot be put back: {error}"
                    )
        return problems

    def _restore(
        self, item: Attached, endpoint: EndpointPlan, present: Mapping[str, LinkInfo]
    ) -> None:
        if not endpoint.link:
            return
        link = present.get(endpoint.link)
        bridge = self._bridges.index(endpoint.network.link)
        if link is None:
            self._sandboxes.connect(item, endpoint)
        elif link.master != bridge:
            self._netlink.set_master(endpoint.link, bridge)

    def _clear(self) -> None:
        """Nothing that would be of use to a container is left; addresses stay in the records."""
        for network in self._networks.bridged():
            try:
                self._netlink.delete_link(network.link)
            except OSError as error:
                log.warning("bridge %s could not be removed: %s", network.link, error)
        try:
            self._firewall.delete()
        except NaruError as error:
            log.warning("table %s could not be removed: %s", self._firewall.table, error)

    def _declare(self, attached: Sequence[Attached]) -> None:
        bridges = tuple(rules_of(network) for network in self._networks.bridged())
        rules = Ruleset(self._firewall.table, bridges, self._adopted)
        published = {item.container_id: gateways.publications(item) for item in attached}
        self._firewall.declare(rules, published)
