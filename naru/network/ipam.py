"""Address management: which subnet a network takes, which address an endpoint takes. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from naru.base.errors import Conflict, InvalidParameter


def parse_bip(text: str) -> tuple[IPv4Network, IPv4Address]:
    """Subnet and gateway out of `172.28.0.1/16`. Raises: InvalidParameter."""
    try:
        interface = IPv4Interface(text)
    except ValueError as error:
        raise InvalidParameter(
            f"invalid bridge address {text!r}: wanted an address with its prefix length, "
            f"as 172.28.0.1/16 ({error})"
        ) from error
    network = interface.network
    if network.prefixlen > 30 or interface.ip in (network[0], network[-1]):
        raise InvalidParameter(
            f"invalid bridge address {text!r}: it must be a host's address in a subnet of /30 "
            "or larger"
        )
    return network, interface.ip


def parse_pools(pools: Iterable[tuple[str, int]]) -> list[tuple[IPv4Network, int]]:
    """The pools as networks. Raises: InvalidParameter."""
    parsed = []
    for base, size in pools:
        try:
            network = IPv4Network(base)
        except ValueError as error:
            raise InvalidParameter(f"invalid address pool {base!r}: {error}") from error
        if not network.prefixlen <= size <= 30:
            raise InvalidParameter(
                f"invalid address pool {base!r}: subnets of /{size} do not fit into it"
            )
        parsed.append((network, size))
    return parsed


def choose_subnet(
    pools: Iterable[tuple[str, int]], taken: Iterable[IPv4Network]
) -> tuple[IPv4Network, IPv4Address]:
    """The first subnet of `pools` that overlaps nothing in `taken`, and its gateway.

    Raises: InvalidParameter when a pool is wrong, Conflict when all are in use.
    """
    used = [network for network in taken if network.prefixlen > 0]
    for base, size in parse_pools(pools):
        for subnet in base.subnets(new_prefix=size):
            if not any(subnet.overlaps(other) for other in used):
                return subnet, subnet[1]
    raise Conflict(
        "all predefined address pools have been fully subnetted: every one overlaps a route of "
        "this host; give the bridge an address with --bip, or pools with --default-address-pool"
    )


class AddressSpace:
    """The host addresses of one subnet, given out one after another.

    A freed address is taken again only when the end was reached, so that nobody's stale answer
    reaches a stranger soon.
    """

    def __init__(self, subnet: IPv4Network, gateway: IPv4Address) -> None:
        self.subnet = subnet
        self.gateway = gateway
        self._first = int(subnet[0]) + 1
        self._last = int(subnet[-1]) - 1
        self._used = {int(gateway)}
        self._next = self._first

    def allocate(self) -> IPv4Address:
        """The next free address. Raises: Conflict when there is none."""
        size = self._last - self._first + 1
        if len(self._used) >= size:
            raise Conflict(f"no available IPv4 addresses on this network's subnet {self.subnet}")
        candidate = self._next
        while candidate in self._used:
            candidate = candidate + 1 if candidate < self._last else self._first
        self._take(candidate)
        return IPv4Address(candidate)

    def reserve(self, address: IPv4Address) -> bool:
        """Take `address` itself; False when it is in use or not a host's in this subnet."""
        number = int(address)
        if number in self._used or not self._first <= number <= self._last:
            return False
        self._take(number)
        return True

    def release(self, address: IPv4Address) -> None:
        """Give back; unknown addresses and the gateway are left as they are."""
        if address != self.gateway:
            self._used.discard(int(address))

    def __len__(self) -> int:
        """How many addresses endpoints hold."""
        return len(self._used) - 1

    def _take(self, number: int) -> None:
        self._used.add(number)
        self._next = number + 1 if number < self._last else self._first


def mac_of(address: IPv4Address) -> str:
    """The hardware address of `address`: neighbours stay right when an address is reused."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)
