"""Links, addresses and routes in memory: the interfaces of `Netlink` and `naru.kernel.netns`."""

import errno
import itertools
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface

from naru.kernel.netlink.model import (
    AddressInfo,
    ConfigureLink,
    LinkInfo,
    LinkStats,
    RouteInfo,
)


@dataclass(slots=True)
class Namespace:
    """What one network namespace holds."""

    links: dict[str, LinkInfo] = field(default_factory=dict)
    addresses: list[AddressInfo] = field(default_factory=list)
    routes: list[RouteInfo] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    peers: dict[int, "Namespace"] = field(default_factory=dict)


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)


class FakeNetwork:
    """Every namespace of one host; descriptors are numbers that nothing else has."""

    def __init__(self) -> None:
        self.indexes = itertools.count(2)
        self.host = self.fresh()
        self.pins: dict[str, Namespace] = {}
        self._fds: dict[int, Namespace] = {}

    def fresh(self) -> Namespace:
        space = Namespace()
        space.links["lo"] = LinkInfo(
            1, "lo", "", False, 65536, "00:00:00:00:00:00", 0, 0, LinkStats()
        )
        return space

    def create_netns(self, pin_path: str, sysctls: Iterable[tuple[str, str]] = ()) -> None:
        if pin_path in self.pins:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), pin_path)
        self.pins[pin_path] = self.fresh()
        self.pins[pin_path].sysctls.update(sysctls)

    def remove_netns(self, pin_path: str) -> None:
        space = self.pins.pop(pin_path, None)
        for link in list(space.links.values()) if space is not None else []:
            if space is not None and link.peer:
                self.remove_link(space, link)

    def open_netns(self, path: str) -> int:
        if path not in self.pins:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        fd = 1_000_000 + len(self._fds)
        self._fds[fd] = self.pins[path]
        return fd

    def close_netns(self, fd: int) -> None:
        del self._fds[fd]

    def space(self, netns: int | str | None) -> Namespace:
        if netns is None:
            return self.host
        found = self.pins.get(netns) if isinstance(netns, str) else self._fds.get(netns)
        if found is None:
            raise _error(errno.EBADF, str(netns))
        return found

    def remove_link(self, space: Namespace, link: LinkInfo) -> None:
        space.links.pop(link.name, None)
        space.addresses = [item for item in space.addresses if item.interface != link.index]
        space.routes = [item for item in space.routes if item.interface != link.index]
        other = space.peers.pop(link.index, None)
        for peer in list(other.links.values()) if other is not None else []:
            if other is not None and peer.index == link.peer:
                other.peers.pop(peer.index, None)
                self.remove_link(other, peer)


class FakeNetlink:
    """`Netlink` of one namespace of a FakeNetwork."""

    def __init__(self, network: FakeNetwork, netns: int | str | None = None) -> None:
        self._network = network
        self._space = network.space(netns)

    def close(self) -> None:
        """Nothing is open."""

    def ensure_bridge(
        self,
        name: str,
        addresses: Sequence[tuple[str, int]],
        mtu: int = 1500,
        mac: str | None = None,
        up: bool = True,
    ) -> int:
        links = self._space.links
        if name not in links:
            fresh = next(self._network.indexes)
            links[name] = LinkInfo(fresh, name, "bridge", up, mtu, mac or "", 0, 0, LinkStats())
        if links[name].kind != "bridge":
            raise _error(errno.EEXIST, name)
        links[name] = replace(links[name], up=up, mtu=mtu, mac=mac or links[name].mac)
        index = links[name].index
        self._space.addresses = [
            item for item in self._space.addresses if item.interface != index
        ] + [AddressInfo(index, address, prefix) for address, prefix in addresses]
        return index

    def create_veth(
        self,
        host_name: str,
        bridge_index: int | None,
        netns_fd: int,
        peer_name: str,
        mac: str | None = None,
        mtu: int | None = None,
    ) -> None:
        inside = self._network.space(netns_fd)
        if host_name in self._space.links or peer_name in inside.links:
            raise _error(errno.EEXIST, host_name)
        if bridge_index is not None and bridge_index not in self._indexes():
            raise _error(errno.EINVAL, host_name)
        ours, theirs = next(self._network.indexes), next(self._network.indexes)
        size, master = mtu or 1500, bridge_index or 0
        self._space.links[host_name] = LinkInfo(
            ours, host_name, "veth", True, size, "", master, theirs, LinkStats()
        )
        inside.links[peer_name] = LinkInfo(
            theirs, peer_name, "veth", False, size, mac or "", 0, ours, LinkStats()
        )
        self._space.peers[ours] = inside
        inside.peers[theirs] = self._space

    def _indexes(self) -> set[int]:
        return {link.index for link in self._space.links.values()}

    def configure(
        self, netns: int | str | None, link: ConfigureLink | None, loopback: bool = False
    ) -> None:
        space = self._network.space(netns) if netns is not None else self._space
        if loopback:
            space.links["lo"] = replace(space.links["lo"], up=True)
        if link is None:
            return
        old = space.links.pop(link.name, None)
        if old is None:
            raise _error(errno.ENODEV, link.name)
        name = link.rename or link.name
        space.links[name] = replace(
            old, name=name, up=link.up, mac=link.mac or old.mac, mtu=link.mtu or old.mtu
        )
        for address, prefix in link.addresses:
            info = AddressInfo(old.index, address, prefix)
            if info not in space.addresses:
                space.addresses.append(info)
            network = str(ip_interface(f"{address}/{prefix}").network)
            space.routes.append(RouteInfo(old.index, network, None))
        for destination, via in link.routes:
            space.routes.append(RouteInfo(old.index, destination, via))

    def delete_link(self, name: str) -> bool:
        link = self._space.links.get(name)
        if link is None:
            return False
        self._network.remove_link(self._space, link)
        return True

    def delete_links(self, names: Sequence[str], group: int) -> None:
        for name in names:
            self.delete_link(name)

    def set_master(self, name: str, bridge_index: int) -> None:
        if name not in self._space.links:
            raise _error(errno.ENODEV, name)
        if bridge_index not in self._indexes():
            raise _error(errno.ENODEV, name)
        self._space.links[name] = replace(self._space.links[name], master=bridge_index)

    def settle(self, *names: str, timeout_s: float = 0.1) -> bool:
        return True

    def ensure_local_prefix(self, prefix: str) -> None:
        """Only the local table changes, which `routes` does not show."""
        if not self._space.links["lo"].up:
            raise _error(errno.ENETDOWN, f"local {prefix}")

    def link(self, name: str) -> LinkInfo | None:
        return self._space.links.get(name)

    def link_index(self, name: str) -> int | None:
        link = self.link(name)
        return None if link is None else link.index

    def links(self) -> list[LinkInfo]:
        return list(self._space.links.values())

    def addresses(
        self, interface: int | None = None, family: int = socket.AF_UNSPEC
    ) -> list[AddressInfo]:
        wanted = {socket.AF_INET: False, socket.AF_INET6: True}.get(socket.AddressFamily(family))
        return [
            item
            for item in self._space.addresses
            if interface in (None, item.interface) and wanted in (None, ":" in item.address)
        ]

    def routes(self, family: int = socket.AF_INET) -> list[RouteInfo]:
        six = family == socket.AF_INET6
        return [
            item
            for item in self._space.routes
            if six == (":" in (item.destination or item.via or ""))
        ]

    def set_bridge_port(
        self, name: str, *, hairpin: bool | None = None, isolated: bool | None = None
    ) -> None:
        link = self._space.links.get(name)
        if link is None:
            raise _error(errno.ENODEV, name)
        if not link.master:
            raise _error(errno.EOPNOTSUPP, name)
