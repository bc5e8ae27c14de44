"""What containers hold on the networks: the declared state, and its only way to change.

`attach` decides the address, then one thread grants ports and makes the sandbox. A container is
declared *before* anything is made, so that a repair in the middle repairs what is coming too, and
is forgotten only after everything was taken away.
"""

import logging
import os
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from msgspec import structs

from naru.base.errors import Internal, InvalidParameter, NaruError
from naru.base.ids import new_id
from naru.base.undo import run_to_end
from naru.kernel import netns
from naru.kernel.threads import offload
from naru.network import bindings, plan
from naru.network.attach import Sandboxes
from naru.network.gate import Gate
from naru.network.ipam import AddressSpace, mac_of
from naru.network.model import (
    Attachment,
    AttachRequest,
    Network,
    NetworkOptions,
    Publication,
)
from naru.network.plan import Attached, EndpointPlan
from naru.network.ports import Owner, PortTable
from naru.network.reaper import Reaper
from naru.network.validate import normal_mac
from naru.spec.engine.container_config import EndpointSettings, PortBinding

log = logging.getLogger("naru.network")

T = TypeVar("T")
Ports = dict[str, list[PortBinding] | None]

FAILED = "failed to set up container networking: "
INTERFACE = "eth0"


class Endpoints:
    """One per engine, on its event loop; `attached` is what is declared."""

    def __init__(
        self, sandboxes: Sandboxes, ports: PortTable, reaper: Reaper, options: NetworkOptions
    ) -> None:
        self._sandboxes = sandboxes
        self._reaper = reaper
        self._ports = ports
        self._exec_root = options.exec_root
        self._key = options.key
        self._spaces: dict[str, AddressSpace] = {}
        self._leaving: set[str] = set()
        self.attached: dict[str, Attached] = {}
        self.gate = Gate()

    async def attach(self, request: AttachRequest, network: Network) -> Attachment:
        """Make what `request` wants on `network`; all or nothing, cancelled or not.

        Raises: Internal with Docker's text.
        """
        async with self.gate.shared():
            item = self._declare(request, network)
            self.attached[request.container_id] = item
            try:
                ports = await _finish(offload(self._make, request, item))
            except BaseException as error:
                await run_to_end(self._forget(item))
                if isinstance(error, OSError | NaruError):
                    raise Internal(f"{FAILED}{error}") from error
                raise
        return Attachment(request.name, item.pin or None, {network.name: item.settings}, ports)

    async def detach(self, container_id: str) -> Attached | None:
        """Take everything away; None when there is nothing. Raises: OSError, Internal."""
        async with self.gate.shared():
            item = self.attached.get(container_id)
            if item is not None:
                await run_to_end(self._forget(item))
            else:  # of a container that could not be adopted
                pin = plan.sandbox_path(self._exec_root, container_id)
                if os.path.lexists(pin):
                    await offload(netns.remove_netns, pin)
        return item

    def owns_link(self, name: str) -> bool:
        """Whether a container that stays has its link of this name."""
        return any(
            item.endpoint is not None and item.endpoint.link == name
            for item in self.attached.values()
            if item.container_id not in self._leaving
        )

    def adopt(self, container_id: str, kept: Attachment, networks: Mapping[str, Network]) -> None:
        """Declare what a running container has; it is not touched. Raises: InvalidParameter."""
        name, settings = next(iter(kept.endpoints.items()))
        network = networks.get(name)
        if network is None:
            raise InvalidParameter(f"network {name} not found")
        item = Attached(container_id, kept.name, network, settings, kept.sandbox_path or "")
        if network.driver == "bridge":
            address = IPv4Address(settings.ip_address)
            if not self._space(network).reserve(address):
                raise InvalidParameter(f"address {address} is not free in {network.subnet}")
            item = replace(
                item,
                endpoint=self._endpoint(network, settings),
                publications=_publications(kept.ports, settings.ip_address),
            )
            owner = Owner(container_id, kept.name, settings.ip_address)
            self._ports.adopt(owner, item.publications)
        self.attached[container_id] = item

    def rename(self, container_id: str, name: str) -> None:
        """The container's new name, for texts and inspect; unknown ones are ignored."""
        item = self.attached.get(container_id)
        if item is not None:
            self.attached[container_id] = replace(item, name=name)
            self._ports.rename(container_id, name)

    def _declare(self, request: AttachRequest, network: Network) -> Attached:
        asked = request.endpoints.get(network.name) or EndpointSettings()
        settings = structs.replace(asked, network_id=network.id, endpoint_id=new_id())
        pin = plan.sandbox_path(self._exec_root, request.container_id)
        item = Attached(request.container_id, request.name, network, settings, pin)
        if network.driver == "host":
            return replace(item, pin="")
        if network.driver != "bridge":
            return item
        space = self._space(network)
        address = space.allocate()
        mac = _asked_mac(asked) or request.mac
        settings = structs.replace(
            settings,
            gateway=network.gateway,
            ip_address=str(address),
            ip_prefix_len=space.subnet.prefixlen,
            mac_address=normal_mac(mac) if mac else mac_of(address),
        )
        endpoint = self._endpoint(network, settings)
        return replace(item, settings=settings, endpoint=endpoint)

    def _endpoint(self, network: Network, settings: EndpointSettings) -> EndpointPlan:
        return EndpointPlan(
            network=network,
            link=plan.link_name(self._key, settings.endpoint_id),
            interface=INTERFACE,
            address=settings.ip_address,
            prefix_length=settings.ip_prefix_len,
            gateway=settings.gateway,
            mac=settings.mac_address,
        )

    def _make(self, request: AttachRequest, item: Attached) -> Ports:
        """In a thread: grant ports, make the sandbox. Answers `NetworkSettings.Ports`."""
        if item.endpoint is None:
            if item.pin:
                self._sandboxes.build(item)
            return {}
        exposed = (*request.exposed_ports, *request.port_bindings)
        wanted = bindings.wishes(request.port_bindings, exposed, publish_all=request.publish_all)
        owner = Owner(item.container_id, item.name, item.endpoint.address)
        try:
            granted = self._ports.allocate(owner, wanted)
        except NaruError as error:
            raise Internal(
                "driver failed programming external connectivity on endpoint "
                f"{item.name} ({item.settings.endpoint_id}): {error}"
            ) from error
        publications = tuple(
            Publication(
                one.wish.proto, one.host_ip, one.host_port, item.endpoint.address, one.wish.port
            )
            for one in granted
        )
        item = replace(item, publications=publications)
        self.attached[item.container_id] = item
        self._sandboxes.build(item)
        listed = [(one.wish, one.host_ip, one.host_port) for one in granted]
        return bindings.ports_answer(listed, exposed)

    async def _forget(self, item: Attached) -> None:
        self._leaving.add(item.container_id)
        try:
            if item.pin:
                await offload(self._sandboxes.tear_down, item)
        finally:
            self._leaving.discard(item.container_id)
        if item.endpoint is not None:
            self._reaper.expect(item.endpoint.link)
        self._ports.release(item.container_id)
        if item.endpoint is not None:
            self._space(item.network).release(IPv4Address(item.endpoint.address))
        self.attached.pop(item.container_id, None)

    def _space(self, network: Network) -> AddressSpace:
        space = self._spaces.get(network.id)
        if space is None:
            space = AddressSpace(IPv4Network(network.subnet), IPv4Address(network.gateway))
            self._spaces[network.id] = space
        return space


def _asked_mac(asked: EndpointSettings) -> str:
    """The hardware address that a user chose: not the one that an earlier run got by itself."""
    if asked.ip_address and asked.mac_address == mac_of(IPv4Address(asked.ip_address)):
        return ""
    return asked.mac_address


def _publications(
    ports: Mapping[str, list[PortBinding] | None], ip: str
) -> tuple[Publication, ...]:
    """What `NetworkSettings.Ports` says is published. Raises: InvalidParameter."""
    found = []
    for name, listed in ports.items():
        port, _, proto = bindings.parse_port(name)
        found += [
            Publication(proto, item.host_ip, int(item.host_port), ip, port) for item in listed or []
        ]
    return tuple(found)


async def _finish(work: Awaitable[T]) -> T:
    """The result of `work`, awaited to its end though the caller be cancelled."""
    results: list[T] = []

    async def keep() -> None:
        results.append(await work)

    await run_to_end(keep())
    return results[0]
