"""Containers on networks: attach and detach with a run, connect and disconnect during it.

Nothing is kept here: `Endpoints` holds what is declared, the containers' records what was told.
"""

from collections.abc import Callable

from naru.base.errors import Conflict, Forbidden, InvalidParameter, NotFound
from naru.base.undo import Undo
from naru.network import validate
from naru.network.endpoints import FAILED, Endpoints, ports_of
from naru.network.model import Attachment, AttachRequest, Network
from naru.network.name_service import NameService
from naru.network.networks import Networks
from naru.network.plan import Attached
from naru.spec.engine.container_config import EndpointSettings

Told = Callable[[str, Network, str], None]


class Membership:
    """One per engine. `told(action, network, container id)` hears of every change."""

    def __init__(
        self, networks: Networks, endpoints: Endpoints, names: NameService, told: Told
    ) -> None:
        self._networks = networks
        self._endpoints = endpoints
        self._names = names
        self._told = told
        self._parked: set[str] = set()

    def validate(self, request: AttachRequest) -> None:
        """What `create` of a container checks. Raises: InvalidParameter, Unsupported."""
        validate.check(
            request.network_mode,
            request.endpoints,
            request.port_bindings,
            request.exposed_ports,
            publish_all=request.publish_all,
            mac=request.mac,
        )
        for name, asked in request.endpoints.items():
            network = self._networks.get(validate.network_name(name))
            problems = [] if network is None else validate.address_problems(network, asked)
            if problems:
                raise InvalidParameter(
                    f"invalid config for network {name}: invalid endpoint settings:\n"
                    + validate.joined(problems)
                )

    async def attach(self, request: AttachRequest) -> Attachment:
        """Make the container's sandbox, or take up a parked one. All or nothing, also when the
        caller is cancelled.

        Raises: NotFound for an unknown network, Internal with Docker's text for ports in use.
        """
        if request.container_id in self._parked and self._endpoints.renew(request):
            return await self._take_up(request)
        await self.detach(request.container_id)
        networks = {name: self._wanted(name) for name in request.endpoints}
        if request.follow_health:
            self._names.hide_at_first(request.container_id)
        async with Undo(f"attach {request.name}") as undo:
            undo.push("sandbox", lambda: self._drop(request.container_id))
            item = await self._endpoints.attach(request, networks)
            await self._names.joined(item)
        for endpoint in item.endpoints:
            self._told("connect", endpoint.network, item.container_id)
        return _attachment(item)

    async def _drop(self, container_id: str) -> Attached | None:
        await self._names.leaves(container_id)
        item = await self._endpoints.detach(container_id)
        if item is not None:
            await self._names.left(item)
        return item

    async def detach(self, container_id: str) -> None:
        """Take the sandbox and everything in it away; harmless when there is none.

        Raises: OSError, Internal when a part could not be removed: call again.
        """
        self._parked.discard(container_id)
        item = await self._drop(container_id)
        for endpoint in item.endpoints if item is not None else ():
            self._told("disconnect", endpoint.network, container_id)

    def park(self, container_id: str) -> None:
        """The container has ended and others live in its sandbox: everything of it stays, until
        it is attached again or detached."""
        if container_id in self._endpoints.attached:
            self._parked.add(container_id)

    async def _take_up(self, request: AttachRequest) -> Attachment:
        """A parked sandbox for its container's next run, with changed wishes for networks met."""
        self._parked.discard(request.container_id)
        item = self._endpoints.attached[request.container_id]
        wanted = {self._wanted(name).name: asked for name, asked in request.endpoints.items()}
        for endpoint in item.endpoints:
            if endpoint.network.name not in wanted:
                await self.disconnect(item.container_id, endpoint.network.name)
        there = {endpoint.network.name for endpoint in item.endpoints}
        for name, asked in wanted.items():
            if name not in there:
                await self.connect(item.container_id, name, asked)
        return _attachment(self._endpoints.attached[request.container_id])

    def check_connect(self, ref: str, asked: EndpointSettings) -> str:
        """The network's name, when a container may be put on it. Raises: NotFound,
        InvalidParameter with Docker's text."""
        network = self._networks.find(ref)
        if network.config_only:
            raise Forbidden("cannot create endpoint on configuration-only network")
        problems = validate.endpoint_problems(network.name, asked)
        problems += validate.address_problems(network, asked)
        if problems:
            raise InvalidParameter("invalid endpoint settings:\n" + validate.joined(problems))
        return network.name

    async def connect(self, container_id: str, name: str, asked: EndpointSettings) -> Attachment:
        """Put a running container on one more network; all or nothing.

        Raises: Forbidden, Conflict, Internal.
        """
        network = self._wanted(name)
        async with Undo(f"connect to {network.name}") as undo:
            undo.push("endpoint", lambda: self._endpoints.disconnect(container_id, network))
            item = await self._endpoints.connect(container_id, network, asked)
            await self._names.joined(item)
        self._told("connect", network, container_id)
        return _attachment(item)

    async def disconnect(self, container_id: str, name: str) -> Attachment:
        """Take a running container off a network. Raises: NotFound, OSError, Internal."""
        network = self._wanted(name)
        before = self._endpoints.attached[container_id]
        item = await self._endpoints.disconnect(container_id, network)
        await self._names.left(before)
        self._told("disconnect", network, container_id)
        return _attachment(item)

    async def rename(self, container_id: str, name: str) -> None:
        """The container's new name, for name resolution, error texts and inspect."""
        self._endpoints.rename(container_id, name)
        await self._names.renamed(container_id)

    async def health(self, container_id: str, *, healthy: bool) -> None:
        """Shared aliases lead to a container that follows its health, or do not."""
        item = self._endpoints.attached.get(container_id)
        if item is not None and item.request.follow_health:
            await self._names.list_or_hide(container_id, listed=healthy)

    def _wanted(self, name: str) -> Network:
        try:
            network = self._networks.find(validate.network_name(name))
        except (NotFound, Conflict) as error:
            raise type(error)(f"{FAILED}{error}") from error
        if network.config_only:
            raise Forbidden(f"{FAILED}network {name} is a configuration only")
        return network


def _attachment(item: Attached) -> Attachment:
    """What a container's record keeps."""
    owner = item.request.owner
    return Attachment(
        request=item.request,
        sandbox_path=item.pin or None,
        endpoints={one.network.name: one.settings for one in item.endpoints},
        ports=ports_of(item),
        owner_path=(owner.path or item.owner_pin) if owner is not None else "",
        interfaces={one.network.name: one.interface for one in item.endpoints if one.interface},
    )
