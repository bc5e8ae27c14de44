"""`network create`'s --subnet, --gateway, --ip-range and --aux-address as the API's IPAM. Pure.

Each address belongs to the subnet that contains it; the errors are docker's words.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Any

    from naru.cli.flags import Values

_MAPPED_BITS = 96
_KINDS = (
    ("ip-range", "IPRange", "range",
     "cannot configure multiple ranges ({new}, {old}) on the same subnet ({subnet})"),
    ("gateway", "Gateway", "gateway",
     "cannot configure multiple gateways ({new}, {old}) for the same subnet ({subnet})"),
)  # fmt: skip


def _network(text: str) -> IPv4Network | IPv6Network:
    address, slash, length = text.partition("/")
    try:
        if not slash or not (length.isascii() and length.isdigit()) or "%" in address:
            raise ValueError
        found = ip_network((address, int(length)), strict=False)
    except ValueError:
        raise ValueError(f"invalid CIDR address: {text}") from None
    mapped = found.network_address.ipv4_mapped if found.version == 6 else None
    if mapped is None or found.prefixlen < _MAPPED_BITS:
        return found
    return ip_network((mapped, found.prefixlen - _MAPPED_BITS), strict=False)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, or begins with before a `/`; None when it is none.

    Raises: ValueError for a prefix length that is none.
    """
    if "/" in text:
        _network(text)
        text = text.partition("/")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    return (found.ipv4_mapped if found.version == 6 else None) or found


def contains(subnet: str, other: str) -> bool:
    """Whether the address (or the first of the range) `other` lies in `subnet`.

    Raises: ValueError.
    """
    try:
        network = _network(subnet)
    except ValueError as error:
        raise ValueError(f"invalid subnet: {error}") from None
    address = _address(other)
    return address is not None and address.version == network.version and address in network


def build_ipam(values: Values) -> dict[str, Any]:
    """The address plan that the flags describe. Raises: ValueError."""
    subnets: list[str] = values["subnet"]
    if len(subnets) < max(len(values["ip-range"]), len(values["gateway"])):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    for at, subnet in enumerate(subnets):
        for other in subnets[:at]:
            if contains(subnet, other) or contains(other, subnet):
                raise ValueError("multiple overlapping subnet configuration is not supported")
    plan: dict[str, dict[str, Any]] = {subnet: {"Subnet": subnet} for subnet in subnets}
    for flag, key, name, twice in _KINDS:
        for address in values[flag]:
            if "/" not in address and flag == "ip-range":
                raise ValueError(f"invalid CIDR address: {address}")
            for subnet in _homes(plan, address, name):
                if old := plan[subnet].get(key):
                    raise ValueError(twice.format(new=address, old=old, subnet=subnet))
                plan[subnet][key] = address
    for name, address in dict(values["aux-address"]).items():
        for subnet in _homes(plan, address, "aux-address"):
            plan[subnet].setdefault("AuxiliaryAddresses", {})[name] = address
    return {
        "Driver": values["ipam-driver"], "Options": dict(values["ipam-opt"]),
        "Config": list(plan.values()),
    }  # fmt: skip


def _homes(subnets: Iterable[str], address: str, name: str) -> list[str]:
    """The subnets that contain `address`. Raises: ValueError when there is none."""
    found = [subnet for subnet in subnets if contains(subnet, address)]
    if not found:
        raise ValueError(f"no matching subnet for {name} {address}")
    return found
