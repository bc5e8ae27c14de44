"""Networks as the rest of the engine sees them: attach, detach, list, inspect, reconcile.

What is attached is declared state: the containers' records give it back at start (`reconcile`),
and `Repair` puts it back whenever somebody else changed the host.

Lifecycle: `open` → `reconcile` once → attach, detach, … → `close` (which leaves everything up).
"""

import os
from collections.abc import Callable, Mapping

from naru.base.errors import Conflict, Forbidden, NotFound, Unsupported
from naru.kernel.netlink.client import Netlink
from naru.kernel.nft import Nft
from naru.kernel.spawn import Spawner
from naru.kernel.threads import offload
from naru.network import describe, plan, validate
from naru.network.attach import Sandboxes
from naru.network.bridges import Bridges
from naru.network.endpoints import FAILED, Endpoints
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.model import (
    Attachment,
    AttachRequest,
    InterfaceStats,
    Network,
    NetworkOptions,
)
from naru.network.ports import ANY_V4, PortTable
from naru.network.reaper import Reaper
from naru.network.relay_keeper import RelayKeeper
from naru.network.repair import Repair
from naru.spec.engine.container_config import EndpointSettings, PortBinding
from naru.spec.engine.network import NetworkResource
from naru.storage.metadata import Database

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
        self._netlink = netlink
        self._bridges = Bridges(db, netlink, options)
        relay = RelayKeeper(netlink, spawner, options)
        self._firewall = FirewallKeeper(nft, plan.table_name(options.key), relay.ensure)
        self._sandboxes = Sandboxes(netlink, self._firewall)
        self._ports = PortTable(
            options.publish_address,
            ipv6=relay.available(),
            offset=plan.port_offset(options.key),
        )
        self._reaper = Reaper(netlink, options.key)
        self._endpoints = Endpoints(self._sandboxes, self._ports, self._reaper, options)
        self._repair = Repair(
            netlink, self._bridges, self._firewall, self._sandboxes, self._endpoints, self._reaper,
            relay, options,
        )  # fmt: skip

    async def open(self) -> None:
        """Read the records and make the default bridge. Raises: Conflict, InvalidParameter."""
        os.makedirs(plan.sandbox_folder(self._options.exec_root), 0o700, exist_ok=True)
        await self._bridges.open()

    async def reconcile(self, keep: Mapping[str, Attachment]) -> list[str]:
        """Adopt what running containers have, remove every other trace, begin to watch.

        Answers a sentence for each thing that could not be kept as it was.
        """
        return await self._repair.start(keep)

    async def close(self) -> None:
        """Stop watching. All that containers use stays; what none uses is removed."""
        await self._reaper.close()
        await self._repair.stop()

    def networks(self) -> list[NetworkResource]:
        """GET /networks: without their containers."""
        return [describe.resource(network) for network in self._bridges.all()]

    def inspect(self, ref: str) -> NetworkResource:
        """One network by name, id or unique prefix of its id. Raises: NotFound, Conflict."""
        network = self._find(ref)
        members = {
            container_id: (item.name, item.settings)
            for container_id, item in self._endpoints.attached.items()
            if item.network.id == network.id
        }
        return describe.resource(network, members)

    def create(self, name: str) -> str:
        """Raises: Unsupported; user-defined networks are not there yet."""
        raise Unsupported(f"network {name} cannot be created: only bridge, host and none exist yet")

    def remove(self, ref: str) -> None:
        """Raises: Forbidden for predefined networks, NotFound for all others."""
        network = self._find(ref)
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")

    def validate(
        self,
        network_mode: str,
        endpoints: Mapping[str, EndpointSettings | None],
        port_bindings: Mapping[str, list[PortBinding] | None],
        exposed: tuple[str, ...] = (),
        *,
        publish_all: bool = False,
        mac: str = "",
    ) -> None:
        """What `create` of a container checks. Raises: InvalidParameter, Unsupported."""
        validate.check(
            network_mode, endpoints, port_bindings, exposed, publish_all=publish_all, mac=mac
        )

    async def attach(self, request: AttachRequest) -> Attachment:
        """Make the container's sandbox. All or nothing, also when the caller is cancelled.

        Raises: NotFound for an unknown network, Internal with Docker's text for ports in use.
        """
        await self.detach(request.container_id)
        network = self._wanted(request)
        attachment = await self._endpoints.attach(request, network)
        self._told("connect", request.container_id, network)
        return attachment

    async def detach(self, container_id: str) -> None:
        """Take the sandbox and everything in it away; harmless when there is none.

        Raises: OSError, Internal when a part could not be removed: call again.
        """
        item = await self._endpoints.detach(container_id)
        if item is not None:
            self._told("disconnect", container_id, item.network)

    def rename(self, container_id: str, name: str) -> None:
        """The container's new name, for error texts and inspect."""
        self._endpoints.rename(container_id, name)

    async def obstacles(self) -> list[str]:
        """For `doctor`: what of the host's own firewall stands in containers' way."""
        return await offload(self._firewall.obstacles)

    def holder_of(self, port: int, proto: str = "tcp", host_ip: str = ANY_V4) -> str | None:
        """Who has a port of the host: `container web`, `process nginx (pid 12)`, None."""
        return self._ports.holder_of(proto, port, host_ip)

    def gateway_address(self) -> str:
        """The default bridge's own address: what `host-gateway` means."""
        return self._bridges.default.gateway

    async def stats(self, container_id: str) -> dict[str, InterfaceStats]:
        """Counters per interface as the container sees them; {} without interfaces."""
        item = self._endpoints.attached.get(container_id)
        if item is None or item.endpoint is None:
            return {}
        link = await offload(self._netlink.link, item.endpoint.link)
        if link is None:
            return {}
        counters = link.stats
        # The host's end of the pair receives what the container sends.
        return {
            item.endpoint.interface: InterfaceStats(
                rx_bytes=counters.tx_bytes,
                rx_packets=counters.tx_packets,
                rx_errors=counters.tx_errors,
                rx_dropped=counters.tx_dropped,
                tx_bytes=counters.rx_bytes,
                tx_packets=counters.rx_packets,
                tx_errors=counters.rx_errors,
                tx_dropped=counters.rx_dropped,
            )
        }

    def _wanted(self, request: AttachRequest) -> Network:
        mode = validate.network_name(request.network_mode)
        if mode in ("host", "none"):
            return self._find(mode)
        names = {validate.network_name(name) for name in request.endpoints} | {mode}
        for name in sorted(names):
            if self._bridges.get(name) is None and not self._matches(name):
                raise NotFound(f"{FAILED}network {name} not found")
        if len(names) > 1:
            raise Unsupported(
                f"{FAILED}a container cannot be connected to several networks yet: "
                + ", ".join(sorted(names))
            )
        return self._find(mode)

    def _find(self, ref: str) -> Network:
        named = self._bridges.get(ref)
        if named is not None:
            return named
        found = self._matches(ref)
        if not found:
            raise NotFound(f"network {ref} not found")
        if len(found) > 1:
            raise Conflict(f"network {ref} is ambiguous ({len(found)} matches found on ID prefix)")
        return found[0]

    def _matches(self, ref: str) -> list[Network]:
        return [item for item in self._bridges.all() if ref and item.id.startswith(ref)]

    def _told(self, action: str, container_id: str, network: Network) -> None:
        attributes = {"container": container_id, "name": network.name, "type": network.driver}
        self._emit("network", action, network.id, attributes)
