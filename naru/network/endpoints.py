"""What containers hold on the networks: the declared state, and its only way to change.

A change decides addresses first, then one thread grants ports and makes links. A container is
declared *before* anything is made, so that a repair in the middle repairs what is coming too, and
is forgotten only after everything was taken away.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from naru.base.errors import Internal, InvalidParameter, NaruError
from naru.base.undo import run_to_end
from naru.kernel import netns
from naru.kernel.threads import offload
from naru.network import addressing, bindings, gateways, plan
from naru.network.attach import Sandboxes
from naru.network.bindings import Published
from naru.network.gate import Gate
from naru.network.leases import Leases
from naru.network.model import Attachment, AttachRequest, Network, NetworkOptions
from naru.network.plan import Attached, EndpointPlan
from naru.network.ports import Owner, PortTable
from naru.network.reaper import Reaper
from naru.spec.engine.container_config import EndpointSettings

T = TypeVar("T")

FAILED = "failed to set up container networking: "


class Endpoints:
    """One per engine, on its event loop; `attached` is what is declared."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        ports: PortTable,
        leases: Leases,
        reaper: Reaper,
        options: NetworkOptions,
    ) -> None:
        self._sandboxes = sandboxes
        self._reaper = reaper
        self._ports = ports
        self._leases = leases
        self._exec_root = options.exec_root
        self._key = options.key
        self._leaving: set[str] = set()
        self._busy: dict[str, asyncio.Lock] = {}
        self.attached: dict[str, Attached] = {}
        self.gate = Gate()

    async def attach(self, request: AttachRequest, networks: Mapping[str, Network]) -> Attached:
        """Make the sandbox with an endpoint on each of `networks`; all or nothing.

        `networks`: what the names in `request.endpoints` mean. Raises: Internal with Docker's text.
        """
        async with self.gate.shared(), self._alone(request.container_id):
            try:
                item = self._declare(request, networks)
            except NaruError as error:
                raise type(error)(f"{FAILED}{error}") from error
            self.attached[request.container_id] = item
            try:
                return await _finish(offload(self._make, item))
            except BaseException as error:
                await run_to_end(self._forget(item.container_id))
                if isinstance(error, OSError | NaruError):
                    raise Internal(f"{FAILED}{error}") from error
                raise

    async def detach(self, container_id: str) -> Attached | None:
        """Take everything away; None when there is nothing. Raises: OSError, Internal."""
        async with self.gate.shared(), self._alone(container_id):
            item = self.attached.get(container_id)
            if item is not None:
                await run_to_end(self._forget(container_id))
            else:  # of a container that could not be adopted
                pins = (
                    plan.sandbox_path(self._exec_root, container_id),
                    plan.owner_path(self._exec_root, container_id),
                )
                for pin in filter(os.path.lexists, pins):
                    await offload(netns.remove_netns, pin)
        self._busy.pop(container_id, None)
        return item

    async def connect(
        self, container_id: str, network: Network, asked: EndpointSettings
    ) -> Attached:
        """Add an endpoint to what a running container has; all or nothing.

        Raises: Forbidden, Conflict, InvalidParameter for addresses, Internal for all else.
        """
        async with self.gate.shared(), self._alone(container_id):
            before = self.attached[container_id]
            taken = [item.interface for item in before.endpoints]
            endpoint = addressing.endpoint_of(
                before.request, network, asked, taken, self._leases, self._key
            )
            after = replace(before, endpoints=(*before.endpoints, endpoint))
            self.attached[container_id] = after
            try:
                return await _finish(offload(self._extend, before, after, endpoint))
            except BaseException as error:
                await run_to_end(self._withdraw(container_id, endpoint))
                if isinstance(error, OSError | NaruError):
                    raise Internal(
                        f"failed to connect to network {network.name}: {error}"
                    ) from error
                raise

    async def disconnect(self, container_id: str, network: Network) -> Attached:
        """Take an endpoint away from a running container. Raises: OSError, Internal: try again."""
        async with self.gate.shared(), self._alone(container_id):
            endpoint = self.attached[container_id].on(network.id)
            if endpoint is not None:
                await run_to_end(self._withdraw(container_id, endpoint))
            return self.attached[container_id]

    def owns_link(self, name: str) -> bool:
        """Whether a container that stays has its link of this name."""
        return any(
            endpoint.link == name
            for item in self.attached.values()
            if item.container_id not in self._leaving
            for endpoint in item.endpoints
        )

    def members(self, network_id: str) -> Iterable[tuple[Attached, EndpointPlan]]:
        """The containers on a network, each with its place there."""
        for item in self.attached.values():
            endpoint = item.on(network_id)
            if endpoint is not None:
                yield item, endpoint

    def adopt(self, kept: Attachment, networks: Mapping[str, Network]) -> None:
        """Declare what a running container has; it is not touched. Raises: InvalidParameter."""
        endpoints: list[EndpointPlan] = []
        try:
            for number, (name, settings) in enumerate(kept.endpoints.items()):
                network = networks.get(name)
                if network is None or (settings.network_id not in ("", network.id)):
                    raise InvalidParameter(f"network {name} not found")
                interface = kept.interfaces.get(name, f"eth{number}")
                self._leases.reserve(network, settings)
                endpoints.append(addressing.adopted(network, settings, interface, self._key))
        except BaseException:
            for item in endpoints:
                self._leases.release(item.network, item.settings)
            raise
        adopted = Attached(
            kept.request,
            kept.sandbox_path or "",
            plan.owner_path(self._exec_root, kept.request.container_id),
            tuple(endpoints),
            bindings.published(kept.ports),
        )
        self._ports.adopt(_owner(adopted), adopted.granted)
        self.attached[adopted.container_id] = adopted

    def renew(self, request: AttachRequest) -> bool:
        """What the container wants at its next run in the same sandbox; False when the sandbox
        does not belong to the user namespace that it wants."""
        item = self.attached[request.container_id]
        owner = request.owner
        if owner is not None and not owner.path and not os.path.lexists(item.owner_pin):
            return False
        self.attached[request.container_id] = replace(item, request=request)
        return True

    def rename(self, container_id: str, name: str) -> None:
        """The container's new name, for texts and inspect; unknown ones are ignored."""
        item = self.attached.get(container_id)
        if item is not None:
            request = replace(item.request, name=name)
            self.attached[container_id] = replace(item, request=request)
            self._ports.rename(container_id, name)

    @contextlib.asynccontextmanager
    async def _alone(self, container_id: str) -> AsyncIterator[None]:
        """One change of a container at a time."""
        async with self._busy.setdefault(container_id, asyncio.Lock()):
            yield

    def _declare(self, request: AttachRequest, networks: Mapping[str, Network]) -> Attached:
        endpoints: list[EndpointPlan] = []
        pin = plan.sandbox_path(self._exec_root, request.container_id)
        try:
            for name in addressing.in_order(request.network_mode, request.endpoints):
                network, asked = networks[name], request.endpoints[name]
                if network.driver == "host":
                    pin = ""
                taken = [item.interface for item in endpoints]
                endpoints.append(
                    addressing.endpoint_of(request, network, asked, taken, self._leases, self._key)
                )
        except BaseException:
            for item in endpoints:
                self._leases.release(item.network, item.settings)
            raise
        owner_pin = plan.owner_path(self._exec_root, request.container_id)
        return Attached(request, pin, owner_pin, tuple(endpoints))

    def _make(self, item: Attached) -> Attached:
        """In a thread: grant ports, make the sandbox."""
        if not item.pin:
            return item
        item = replace(item, granted=self._granted(item))
        self.attached[item.container_id] = item
        self._sandboxes.build(item)
        return item

    def _extend(self, before: Attached, after: Attached, endpoint: EndpointPlan) -> Attached:
        """In a thread: make one more link, lead out and publish as the rules now say."""
        self._sandboxes.connect(after, endpoint)
        after = self._lead_out(before, after)
        self.attached[after.container_id] = after
        return after

    def _lead_out(self, before: Attached, after: Attached) -> Attached:
        """Default routes and ports of `after`, where they are not those of `before`."""
        self._sandboxes.reroute(before, after)
        if gateways.publishing(before) != gateways.publishing(after):
            self._ports.release(after.container_id)
            after = replace(after, granted=self._granted(after))
        if gateways.publications(before) != gateways.publications(after):
            self._sandboxes.republish(before, after)
        return after

    def _granted(self, item: Attached) -> tuple[Published, ...]:
        """Ports of the host for all that the container wants published, as its exits allow."""
        wishes = item.wishes
        mode4, mode6 = gateways.modes(item)
        try:
            granted = self._ports.allocate(
                _owner(item),
                gateways.families(wishes, mode4, mode6),
                gateways.host_binding(item),
            )
        except NaruError as error:
            endpoint = item.endpoints[0].settings.endpoint_id if item.endpoints else ""
            raise Internal(
                "driver failed programming external connectivity on endpoint "
                f"{item.name} ({endpoint}): {error}"
            ) from error
        return (*granted, *gateways.routed(wishes, mode4, mode6))

    async def _withdraw(self, container_id: str, endpoint: EndpointPlan) -> None:
        """Back to what a container has without an endpoint, however much of it was made."""
        before = self.attached[container_id]
        rest = tuple(item for item in before.endpoints if item is not endpoint)
        if rest == before.endpoints:
            return
        after = replace(before, endpoints=rest)

        self._leaving.add(container_id)
        try:
            # Routes and ports lead elsewhere first: nothing is asked of a link that is gone.
            led = await offload(self._lead_out, before, after)
            if endpoint.link:
                await self._reaper.remove(endpoint.link)
            await offload(self._sandboxes.disconnect, before, endpoint)
            self.attached[container_id] = led
        finally:
            self._leaving.discard(container_id)
        self._leases.release(endpoint.network, endpoint.settings)

    async def _forget(self, container_id: str) -> None:
        item = self.attached[container_id]
        self._leaving.add(container_id)
        try:
            if item.pin:
                await offload(self._sandboxes.tear_down, item)
        finally:
            self._leaving.discard(container_id)
        self._ports.release(container_id)
        for endpoint in item.endpoints:
            if endpoint.link:
                self._reaper.expect(endpoint.link)
            self._leases.release(endpoint.network, endpoint.settings)
        self.attached.pop(container_id, None)


def ports_of(item: Attached) -> bindings.Ports:
    """`NetworkSettings.Ports`: nothing where no network could publish."""
    if not any(gateways.modes(item)):
        return {}
    return bindings.ports_answer(item.granted, item.exposed)


def _owner(item: Attached) -> Owner:
    chosen = gateways.exits(item.endpoints).v4
    address = chosen.settings.ip_address if chosen is not None else ""
    return Owner(item.container_id, item.name, address)


async def _finish(work: Awaitable[T]) -> T:
    """The result of `work`, awaited to its end though the caller be cancelled."""
    results: list[T] = []

    async def keep() -> None:
        results.append(await work)

    await run_to_end(keep())
    return results[0]
