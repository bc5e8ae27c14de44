"""Whether a container's wishes for its network make sense, before anything is made. Pure."""

import re
from collections.abc import Iterable, Mapping

from naru.base.errors import InvalidParameter, Unsupported
from naru.network import bindings
from naru.spec.engine.container_config import EndpointSettings, PortBinding

PREDEFINED = ("bridge", "host", "none")

_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}\Z")
_JOINED_CONFLICT = "conflicting options: port publishing and the container type network mode"


def network_name(mode: str) -> str:
    """The network that `HostConfig.NetworkMode` means; empty and "default" are the bridge."""
    return "bridge" if mode in ("", "default") else mode


def check(
    mode: str,
    endpoints: Mapping[str, EndpointSettings | None],
    port_bindings: Mapping[str, list[PortBinding] | None],
    exposed: Iterable[str],
    *,
    publish_all: bool = False,
    mac: str = "",
) -> None:
    """Raises: InvalidParameter with Docker's text; Unsupported for what comes later."""
    if mode.startswith("container:"):
        _check_joined(mode, endpoints, port_bindings, publish_all)
        return
    bindings.wishes(port_bindings, exposed, publish_all=publish_all)
    bindings.expand(exposed)
    if mac:
        normal_mac(mac)
    for name, settings in endpoints.items():
        if mode in ("host", "none") and network_name(name) != mode:
            raise InvalidParameter(
                f"container cannot be connected to network {name} with network mode {mode}"
            )
        if settings is not None:
            _check_endpoint(network_name(name), settings)


def _check_joined(
    mode: str,
    endpoints: Mapping[str, EndpointSettings | None],
    port_bindings: Mapping[str, list[PortBinding] | None],
    publish_all: bool,
) -> None:
    if not mode.removeprefix("container:"):
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    if publish_all or any(port_bindings.values()):
        raise InvalidParameter(_JOINED_CONFLICT)
    if endpoints and set(endpoints) != {mode}:
        raise InvalidParameter(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )


def _check_endpoint(name: str, settings: EndpointSettings) -> None:
    if settings.mac_address:
        normal_mac(settings.mac_address)
    if name not in PREDEFINED:
        return
    if settings.aliases:
        raise InvalidParameter(
            f"invalid config for network {name}: invalid endpoint settings:\n"
            "network-scoped alias is supported only for containers in user defined networks"
        )
    ipam = settings.ipam_config
    if ipam is not None and (ipam.ipv4_address or ipam.ipv6_address):
        raise InvalidParameter(
            f"invalid config for network {name}: invalid endpoint settings:\n"
            "user specified IP address is supported on user defined networks only"
        )
    if settings.driver_opts:
        option = next(iter(sorted(settings.driver_opts)))
        raise Unsupported(f"driver option {option!r} of network {name} is not supported yet")


def normal_mac(text: str) -> str:
    """The hardware address in lower case with colons. Raises: InvalidParameter."""
    if not _MAC.match(text):
        raise InvalidParameter(f"invalid MAC address {text!r}: wanted six pairs of hex digits")
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InvalidParameter(f"invalid MAC address {text!r}: it names a group, not one interface")
    return mac
