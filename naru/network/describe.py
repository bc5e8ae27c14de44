"""A network as the Engine API shows it. Pure."""

from collections.abc import Mapping

from naru.base.clock import rfc3339
from naru.network.drivers import BRIDGE, MTU
from naru.network.model import Network
from naru.spec.engine.container_config import EndpointSettings
from naru.spec.engine.network import (
    IPAM,
    ConfigReference,
    IPAMConfig,
    NetworkContainer,
    NetworkResource,
)


def resource(
    network: Network, members: Mapping[str, tuple[str, EndpointSettings]] | None = None
) -> NetworkResource:
    """The answer; `members`: container id → (name, settings), left out in lists."""
    return NetworkResource(
        name=network.name,
        id=network.id,
        created=rfc3339(network.created_ns),
        driver=network.driver,
        enable_ipv4=network.ipv4,
        enable_ipv6=network.ipv6,
        ipam=_ipam(network),
        internal=network.internal,
        attachable=network.attachable,
        config_from=ConfigReference(network=network.config_from),
        config_only=network.config_only,
        options=_options(network),
        labels=network.labels,
        containers={
            container_id: _container(name, settings)
            for container_id, (name, settings) in sorted((members or {}).items())
        },
    )


def _ipam(network: Network) -> IPAM:
    config = [
        IPAMConfig(
            subnet=pool.subnet,
            ip_range=pool.ip_range,
            gateway=pool.gateway if pool.gateway_shown else "",
            auxiliary_addresses=pool.aux or None,
        )
        for pool in network.pools
    ]
    return IPAM(options=network.ipam_options, config=config or None)


def _options(network: Network) -> dict[str, str]:
    if network.name != "bridge":
        return network.options
    return {
        BRIDGE + "default_bridge": "true",
        BRIDGE + "enable_icc": "true",
        BRIDGE + "enable_ip_masquerade": "true",
        BRIDGE + "host_binding_ipv4": "0.0.0.0",  # noqa: S104 - what Docker shows
        BRIDGE + "name": network.link,
        MTU: str(network.mtu),
    }


def _container(name: str, settings: EndpointSettings) -> NetworkContainer:
    v4, v6 = settings.ip_address, settings.global_ipv6_address
    return NetworkContainer(
        name=name,
        endpoint_id=settings.endpoint_id,
        mac_address=settings.mac_address,
        ipv4_address=v4 and f"{v4}/{settings.ip_prefix_len}",
        ipv6_address=v6 and f"{v6}/{settings.global_ipv6_prefix_len}",
    )
