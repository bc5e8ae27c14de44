"""A container's networks: what it asks of the network area, and changes while it runs.

The record's `networks` say on which networks it is; a running one's also what it got there.
"""

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.errors import Forbidden, InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.base.undo import Undo
from naru.containers import publish_sources
from naru.containers.deps import Deps
from naru.containers.etc import rewrite_files
from naru.containers.joined import PREFIX
from naru.containers.model import Container
from naru.network.model import Attachment, AttachRequest, Resolvers
from naru.runtime.etc_files import asks_ndots, resolvers
from naru.spec.engine.container_config import EndpointSettings

CONNECTED = declare("connect.connected")
DISCONNECTED = declare("disconnect.disconnected")

HEALTH_LABEL = "io.naru.dns.health"

_ALIVE = frozenset({"running", "paused"})


def request_of(deps: Deps, container: Container, host_resolv_conf: str) -> AttachRequest:
    """What a container wants of its networks. Raises: InvalidParameter for a bad label."""
    config, host = container.config, container.host_config
    disabled = config.network_disabled is True
    servers = host.dns or deps.settings.dns
    return AttachRequest(
        container_id=container.id,
        name=container.name,
        hostname=config.hostname,
        network_mode="none" if disabled else host.network_mode,
        endpoints={"none": EndpointSettings()} if disabled else container.networks,
        port_bindings=host.port_bindings or {},
        exposed_ports=() if config.exposed_ports is UNSET else tuple(config.exposed_ports or ()),
        publish_all=host.publish_all_ports,
        mac="" if config.mac_address is UNSET else config.mac_address,
        sources=publish_sources.parse(config.labels or {}),
        resolvers=Resolvers(
            tuple(servers) or resolvers(host_resolv_conf),
            of_host=not servers,
            single_labels=not asks_ndots(
                host.dns_options or deps.settings.dns_options, host_resolv_conf
            ),
        ),
        follow_health=follows_health(container),
    )


def follows_health(container: Container) -> bool:
    """Whether its shared names lead to it only while it is healthy: label `io.naru.dns.health`."""
    check = container.config.healthcheck
    if check is UNSET or check is None or (check.test or ["NONE"])[0] == "NONE":
        return False
    return (container.config.labels or {}).get(HEALTH_LABEL, "") in ("1", "true")


def attachment_of(deps: Deps, container: Container, host_resolv_conf: str) -> Attachment:
    """What the network area needs to know again of a container that runs."""
    return Attachment(
        request=request_of(deps, container, host_resolv_conf),
        sandbox_path=container.sandbox_path or None,
        endpoints=container.networks,
        ports=container.ports,
        interfaces=container.interfaces,
    )


def attached(container: Container, attachment: Attachment) -> Container:
    """The record with what the container got."""
    return replace(
        container,
        networks=dict(attachment.endpoints),
        ports=dict(attachment.ports),
        interfaces=dict(attachment.interfaces),
        sandbox_path=attachment.sandbox_path or "",
    )


async def connect(deps: Deps, ref: str, network: str, asked: EndpointSettings | None) -> None:
    """Put a container on one more network, at once when it runs.

    Raises: NotFound, Forbidden, Conflict, InvalidParameter, Internal.
    """
    settings = asked or EndpointSettings()
    async with deps.store.lock(deps.store.find(ref).id):
        container = deps.store.find(ref)
        membership = deps.network.membership
        name = membership.check_connect(network, settings)
        _check_connect(container, name)
        if container.state.status not in _ALIVE:
            changed = replace(container, networks={**container.networks, name: settings})
            await deps.store.put(changed, durable=True)
            return
        async with Undo(f"connect {container.name} to {name}") as undo:
            undo.push("connection", lambda: membership.disconnect(container.id, name))
            attachment = await membership.connect(container.id, name, settings)
            CONNECTED()
            changed = attached(container, attachment)
            await deps.store.put(changed, durable=True)
        await rewrite_files(deps, container, changed)


async def disconnect(deps: Deps, ref: str, network: str, *, force: bool = False) -> None:
    """Take a container off a network, at once when it runs.

    Raises: NotFound, Forbidden, Internal. `force` is for containers that the engine lost: here it
    only changes the text.
    """
    try:
        identifier = deps.store.find(ref).id
    except NotFound:
        deps.network.inspect(network)
        if force:
            raise NotFound(f"endpoint {ref} not found") from None
        raise
    async with deps.store.lock(identifier):
        container = deps.store.find(identifier)
        name = _connected_name(deps, container, network)
        if name == "host":
            raise Forbidden(
                "cannot disconnect container from host network - container was created in host "
                "network mode"
            )
        rest = {key: value for key, value in container.networks.items() if key != name}
        changed = replace(container, networks=rest)
        if container.state.status in _ALIVE:
            attachment = await deps.network.membership.disconnect(container.id, name)
            DISCONNECTED()
            changed = attached(container, attachment)
        await deps.store.put(changed, durable=True)
        if container.state.status in _ALIVE:
            await rewrite_files(deps, container, changed)


def _connected_name(deps: Deps, container: Container, network: str) -> str:
    name = deps.network.inspect(network).name
    if name not in container.networks:
        raise NotFound(f"container {container.id} is not connected to network {name}")
    return name


def _check_connect(container: Container, name: str) -> None:
    """Raises: Forbidden, InvalidParameter, with Docker's words."""
    mode = container.host_config.network_mode
    if container.state.status in ("removing", "dead"):
        raise Forbidden(
            f"container {container.id} is marked for removal and cannot be connected or "
            "disconnected to the network"
        )
    if mode.startswith(PREFIX) or mode == "host":
        raise Forbidden(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if name == "host":
        raise InvalidParameter(
            "cannot connect container to host network - container must be created in host "
            "network mode"
        )
    if name in container.networks:
        raise Forbidden(f"endpoint with name {container.name} already exists in network {name}")
    if container.networks and ("none" in container.networks or name == "none"):
        raise InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
