"""What route netlink says and is told, as values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters of one interface, named as Docker's stats name them."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One network interface. `master` and `peer` are interface indexes, 0 when there is none."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    master: int
    peer: int
    stats: LinkStats


@dataclass(frozen=True, slots=True)
class AddressInfo:
    """`interface` is an interface's index."""

    interface: int
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """A route of the main table. `destination` (`10.0.0.0/8`) is None for the default route, `via`
    for a connected one; `interface` is an index, 0 for a route without one."""

    interface: int
    destination: str | None
    via: str | None


@dataclass(frozen=True, slots=True)
class ConfigureLink:
    """How an interface is to be. `addresses`: (address, prefix length); `routes`: (destination,
    None for the default | None, via | None for a connected one). `rename` is done first."""

    name: str
    mac: str | None = None
    addresses: tuple[tuple[str, int], ...] = ()
    routes: tuple[tuple[str | None, str | None], ...] = ()
    up: bool = True
    mtu: int | None = None
    rename: str | None = None
