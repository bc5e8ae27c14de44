"""A network as the Engine API shows it. Pure."""

from collections.abc import Mapping

from naru.base.clock import rfc3339
from naru.network.model import Network
from naru.spec.engine.container_config import EndpointSettings
from naru.spec.engine.network import IPAM, IPAMConfig, NetworkContainer, NetworkResource

_BRIDGE = "com.docker.network.bridge."


def resource(
    network: Network, members: Mapping[str, tuple[str, EndpointSettings]] | None = None
) -> NetworkResource:
    """The answer; `members`: container id → (name, settings), left out in lists."""
    config = None
    if network.subnet:
        config = [IPAMConfig(subnet=network.subnet, gateway=network.gateway)]
    return NetworkResource(
        name=network.name,
        id=network.id,
        created=rfc3339(network.created_ns),
        driver=network.driver,
        ipam=IPAM(config=config),
        options=_options(network),
        containers={
            container_id: _container(name, settings)
            for container_id, (name, settings) in sorted((members or {}).items())
        },
    )


def _options(network: Network) -> dict[str, str]:
    if network.driver != "bridge":
        return {}
    return {
        _BRIDGE + "default_bridge": "true",
        _BRIDGE + "enable_icc": "true",
        _BRIDGE + "enable_ip_masquerade": "true",
        _BRIDGE + "host_binding_ipv4": "0.0.0.0",  # noqa: S104 - what Docker shows
        _BRIDGE + "name": network.bridge,
        "com.docker.network.driver.mtu": str(network.mtu),
    }


def _container(name: str, settings: EndpointSettings) -> NetworkContainer:
    address = settings.ip_address and f"{settings.ip_address}/{settings.ip_prefix_len}"
    return NetworkContainer(
        name=name,
        endpoint_id=settings.endpoint_id,
        mac_address=settings.mac_address,
        ipv4_address=address,
    )
