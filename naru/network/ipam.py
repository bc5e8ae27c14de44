"""Address management: which subnet a network takes, which address an endpoint takes. Pure."""

import hashlib
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from naru.base.errors import Conflict, InvalidParameter
from naru.network.model import Pool

Subnet = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

ULA_PREFIX_LENGTH = 64


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


def parse_pools(pools: Iterable[tuple[str, int]]) -> list[tuple[Subnet, int]]:
    """The pools as networks, of both families. Raises: InvalidParameter."""
    parsed: list[tuple[Subnet, int]] = []
    for base, size in pools:
        try:
            network = ip_network(base)
        except ValueError as error:
            raise InvalidParameter(f"invalid address pool {base!r}: {error}") from error
        if not network.prefixlen <= size <= network.max_prefixlen - 2:
            raise InvalidParameter(
                f"invalid address pool {base!r}: subnets of /{size} do not fit into it"
            )
        parsed.append((network, size))
    return parsed


def choose_subnet(
    pools: Iterable[tuple[str, int]], taken: Iterable[Subnet], *, ipv6: bool = False
) -> tuple[Subnet, Address]:
    """The first subnet of `pools` that overlaps nothing in `taken`, and its gateway.

    Raises: InvalidParameter when a pool is wrong, Conflict when all are in use.
    """
    version = 6 if ipv6 else 4
    used = sorted(
        (int(item[0]), int(item[-1]))
        for item in taken
        if item.version == version and item.prefixlen > 0
    )
    for base, size in parse_pools(pools):
        if base.version != version:
            continue
        found = _first_gap(base, size, used)
        if found is not None:
            return found, found[1]
    raise Conflict(
        "all predefined address pools have been fully subnetted: every one overlaps a route of "
        "this host or another network; name one with --subnet (--bip for the default bridge), or "
        "give the engine more pools with --default-address-pool"
    )


def _first_gap(base: Subnet, size: int, used: list[tuple[int, int]]) -> Subnet | None:
    """The first subnet of /`size` in `base` between the sorted ranges `used`."""
    step = 1 << (base.max_prefixlen - size)
    start, end = int(base[0]), int(base[-1])
    for first, last in used:
        if last < start:
            continue
        if first >= start + step:
            break
        start = -(-(last + 1) // step) * step
    if start + step - 1 > end:
        return None
    return type(base)((start, size))


def ula_pool(key: str) -> tuple[str, int]:
    """The engine's own IPv6 prefix (/48 of fd00::/8), for networks whose user named none."""
    digest = hashlib.sha256(f"ula {key}".encode()).digest()[:5]
    packed = b"\xfd" + digest + bytes(10)
    return f"{IPv6Address(packed)}/48", ULA_PREFIX_LENGTH


class AddressSpace:
    """The host addresses of one subnet, given out one after another.

    A freed address is taken again only when the end was reached, so that nobody's stale answer
    reaches a stranger soon. `ip_range` bounds what is given without being asked for.
    """

    def __init__(
        self,
        subnet: Subnet,
        gateway: Address | None = None,
        ip_range: Subnet | None = None,
        reserved: Iterable[Address] = (),
    ) -> None:
        self.subnet = subnet
        self._lowest = int(subnet[0]) + 1
        self._highest = int(subnet[-1]) - (1 if subnet.version == 4 else 0)
        self._kind: type[Address] = type(subnet[0])
        if subnet.num_addresses <= 2:  # /31, /32: no broadcast address
            self._lowest, self._highest = int(subnet[0]), int(subnet[-1])
        within = subnet if ip_range is None else ip_range
        self._first = max(self._lowest, int(within[0]))
        self._last = min(self._highest, int(within[-1]))
        self._kept = {int(address) for address in reserved}
        if gateway is not None:
            self._kept.add(int(gateway))
        self._used = set(self._kept)
        self._next = self._first

    def allocate(self) -> Address:
        """The next free address. Raises: Conflict when there is none."""
        size = self._last - self._first + 1
        candidate = self._next
        for _ in range(min(size, len(self._used) + 1)):
            if candidate not in self._used:
                self._take(candidate)
                return self._kind(candidate)
            candidate = candidate + 1 if candidate < self._last else self._first
        raise Conflict(
            f"no available IPv{self.subnet.version} addresses on this network's address pools: "
            f"{self.subnet}"
        )

    def reserve(self, address: Address, *, follow: bool = False) -> bool:
        """Take `address` itself; False when it is in use or not a host's in this subnet.

        `follow`: the next one is looked for behind it, as if it had been given in turn.
        """
        number = int(address)
        if address.version != self.subnet.version:
            return False
        if number in self._used or not self._lowest <= number <= self._highest:
            return False
        if follow:
            self._take(number)
        else:
            self._used.add(number)
        return True

    def release(self, address: Address) -> None:
        """Give back; unknown addresses and reserved ones are left as they are."""
        number = int(address)
        if number not in self._kept:
            self._used.discard(number)

    def __len__(self) -> int:
        """How many addresses endpoints hold."""
        return len(self._used) - len(self._kept)

    def _take(self, number: int) -> None:
        self._used.add(number)
        if self._first <= number <= self._last:
            self._next = number + 1 if number < self._last else self._first


def space_of(pool: Pool) -> AddressSpace:
    """A fresh space for a network's pool."""
    return AddressSpace(
        ip_network(pool.subnet),
        ip_address(pool.gateway) if pool.gateway else None,
        ip_network(pool.ip_range) if pool.ip_range else None,
        [ip_address(text) for text in pool.aux.values()],
    )


def mac_of(address: IPv4Address) -> str:
    """The hardware address of `address`: neighbours stay right when an address is reused."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)


def mac_of_v6(address: IPv6Address) -> str:
    """The same for an endpoint that has IPv6 only: out of the last four bytes."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed[-4:])
