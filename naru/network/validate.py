"""Whether a container's wishes for its network make sense, before anything is made. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network

from naru.base.errors import InvalidParameter
from naru.network import bindings
from naru.network.model import Network, Pool
from naru.spec.engine.container_config import (
    EndpointIPAMConfig,
    EndpointSettings,
    PortBinding,
)

PREDEFINED = ("bridge", "host", "none")
IFNAME_OPTION = "com.docker.network.endpoint.ifname"
SYSCTLS_OPTION = "com.docker.network.endpoint.sysctls"

_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.(\w+)=([\w -]+)\Z", re.ASCII)
_IFNAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}\Z")
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
    """Raises: InvalidParameter with Docker's text."""
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
    problems = endpoint_problems(name, settings)
    if problems:
        raise InvalidParameter(
            f"invalid config for network {name}: invalid endpoint settings:\n" + joined(problems)
        )


def joined(problems: Sequence[str]) -> str:
    """Several problems as Docker lists them."""
    return problems[0] if len(problems) == 1 else "\n".join(f"* {item}" for item in problems)


def endpoint_problems(name: str, settings: EndpointSettings) -> list[str]:
    """What can be said of an endpoint's wishes without knowing the network, in Docker's words."""
    problems: list[str] = []
    ipam = settings.ipam_config or EndpointIPAMConfig()
    if name in PREDEFINED and settings.aliases:
        problems.append(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    if name in PREDEFINED and (ipam.ipv4_address or ipam.ipv6_address):
        problems.append("user specified IP address is supported on user defined networks only")
    for what, text, version in (
        ("IPv4", ipam.ipv4_address, 4),
        ("IPv6", ipam.ipv6_address, 6),
        *(("link-local IP", item, 0) for item in ipam.link_local_ips or ()),
    ):
        if text and not _is_address(text, version):
            problems.append(f"invalid {what} address: {text}")
    problems += _option_problems(settings.driver_opts or {})
    for link in settings.links or ():
        target, colon, alias = link.partition(":")
        if not target or (colon and not alias):
            problems.append(f"invalid link {link!r}: wanted NAME or NAME:ALIAS")
    return problems


def address_problems(network: Network, settings: EndpointSettings) -> list[str]:
    """Whether the network can give the addresses that are asked for, in Docker's words."""
    ipam = settings.ipam_config
    problems = []
    for text, pool in (
        (ipam.ipv4_address if ipam is not None else "", network.pool4),
        (ipam.ipv6_address if ipam is not None else "", network.pool6),
    ):
        if not text:
            continue
        if network.name not in PREDEFINED and (pool is None or not pool.asked):
            problems.append(
                "user specified IP address is supported only when connecting to networks with "
                "user configured subnets"
            )
        elif pool is None or not _is_address(text, 0) or not _within(text, pool):
            problems.append(f"no configured subnet or ip-range contain the IP address {text}")
    return problems


def interface_sysctls(text: str, interface: str) -> tuple[tuple[str, str], ...]:
    """(path, value) of `net.ipv4.conf.IFNAME.log_martians=1,…`. Raises: InvalidParameter."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _SYSCTL.match(item)
        if match is None:
            raise InvalidParameter(
                f"invalid sysctl {item!r} of an endpoint: wanted "
                "net.{ipv4,ipv6,mpls}.{conf,neigh}.IFNAME.NAME=VALUE"
            )
        family, area, name, value = match.groups()
        found.append((f"net/{family}/{area}/{interface}/{name}", value))
    return tuple(found)


def _option_problems(options: Mapping[str, str]) -> list[str]:
    problems = []
    for name, value in options.items():
        if name == SYSCTLS_OPTION:
            try:
                interface_sysctls(value, "eth0")
            except InvalidParameter as error:
                problems.append(error.message)
        elif name == IFNAME_OPTION:
            if not _IFNAME.match(value):
                problems.append(f"invalid interface name {value!r}")
        else:
            problems.append(f"driver option {name!r} of an endpoint is not supported")
    return problems


def _within(text: str, pool: Pool) -> bool:
    return ip_address(text) in ip_network(pool.subnet)


def _is_address(text: str, version: int) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return version in (0, address.version)


def normal_mac(text: str) -> str:
    """The hardware address in lower case with colons. Raises: InvalidParameter."""
    if not _MAC.match(text):
        raise InvalidParameter(f"invalid MAC address {text!r}: wanted six pairs of hex digits")
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InvalidParameter(f"invalid MAC address {text!r}: it names a group, not one interface")
    return mac
