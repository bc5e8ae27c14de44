"""Links, addresses and routes: what Naru asks of route netlink, each in as few sends as can be.

Spec: rtnetlink(7), linux/if_link.h, linux/veth.h.
"""

import errno
import socket
import struct
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_interface

from naru.kernel.netlink import message as m
from naru.kernel.netlink.connection import Connection, Request
from naru.kernel.netlink.model import (
    AddressInfo,
    ConfigureLink,
    LinkInfo,
    LinkStats,
    RouteInfo,
)
from naru.kernel.netns import run_in_netns

__all__ = ["AddressInfo", "ConfigureLink", "LinkInfo", "LinkStats", "Netlink", "RouteInfo"]

_IFF_UP, _IFF_RUNNING = 1, 0x40
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_STATS64, _IFLA_GROUP, _IFLA_NET_NS_FD = 18, 23, 27, 28
_IFLA_PROTINFO = 12
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BRPORT_HAIRPIN, _IFLA_BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_LINK, _UNICAST = 254, 3, 253, 1
_CREATE = m.NLM_F_CREATE | m.NLM_F_EXCL
_STATS = struct.Struct("=8Q")
_LOOPBACK_INDEX = 1
_TABLE_LOCAL, _LOCAL = 255, 2


class Netlink:
    """The network of one namespace: the one of the thread that makes it. Blocking, thread safe.

    Raises everywhere: OSError with the kernel's own words where it gives some.
    """

    def __init__(self) -> None:
        self._connection = Connection()

    def close(self) -> None:
        self._connection.close()

    def ensure_bridge(
        self,
        name: str,
        addresses: Sequence[tuple[str, int]],
        mtu: int = 1500,
        mac: str | None = None,
        up: bool = True,
    ) -> int:
        """Makes the bridge, or makes the one there is as wanted; returns its index. Idempotent."""
        kind = m.nested(_IFLA_LINKINFO, m.text(_INFO_KIND, "bridge"))
        body = m.link_header() + m.text(_IFLA_IFNAME, name) + m.u32(_IFLA_MTU, mtu) + kind
        body += _mac(mac)
        made = Request(m.RTM_NEWLINK, _CREATE, body, name, (errno.EEXIST,))
        self._connection.execute([made])
        link = self.link(name)
        if link is None or link.kind != "bridge":
            raise OSError(errno.EEXIST, "is there and is no bridge", name)
        settings = m.link_header(link.index, _IFF_UP if up else 0, _IFF_UP) + m.u32(_IFLA_MTU, mtu)
        settings += _mac(mac if mac != link.mac else None)
        requests = [Request(m.RTM_NEWLINK, 0, settings, name)]
        wanted = {(address, prefix) for address, prefix in addresses}
        for family in {_family(address) for address, _ in addresses}:
            for old in self.addresses(link.index, family):
                if (old.address, old.prefix) not in wanted and not old.address.startswith("fe80:"):
                    body = _address_body(link.index, old.address, old.prefix)
                    requests.append(Request(m.RTM_DELADDR, 0, body, name, (errno.EADDRNOTAVAIL,)))
        requests += [_add_address(link.index, name, *item) for item in addresses]
        self._connection.execute(requests)
        return link.index

    def create_veth(
        self,
        host_name: str,
        bridge_index: int | None,
        netns_fd: int,
        peer_name: str,
        mac: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """Makes a pair in one message: `host_name` here, up, on the bridge; `peer_name` with `mac`
        in the namespace, down."""
        size = b"" if mtu is None else m.u32(_IFLA_MTU, mtu)
        peer = m.nested(
            _VETH_INFO_PEER,
            m.link_header(),
            m.text(_IFLA_IFNAME, peer_name),
            m.u32(_IFLA_NET_NS_FD, netns_fd),
            _mac(mac),
            size,
        )
        info = m.nested(_IFLA_LINKINFO, m.text(_INFO_KIND, "veth"), m.nested(_INFO_DATA, peer))
        master = b"" if bridge_index is None else m.u32(_IFLA_MASTER, bridge_index)
        header = m.link_header(0, _IFF_UP, _IFF_UP)
        body = header + m.text(_IFLA_IFNAME, host_name) + master + size + info
        self._connection.execute([Request(m.RTM_NEWLINK, _CREATE, body, host_name)])

    def configure(
        self, netns: int | str | None, link: ConfigureLink | None, loopback: bool = False
    ) -> None:
        """Makes `link` of namespace `netns` (a descriptor, a path, None: this one) as wanted, in
        one send; `loopback` brings `lo` up too."""
        if netns is None:
            _configure(self._connection, link, loopback)
            return
        inside = run_in_netns(netns, Connection)
        try:
            _configure(inside, link, loopback)
        finally:
            inside.close()

    def delete_link(self, name: str) -> bool:
        """Removes a link (of a pair: both ends). False when there is none."""
        index = self.link_index(name)
        if index is None:
            return False
        gone = (errno.ENODEV, errno.ENXIO)
        request = Request(m.RTM_DELLINK, 0, m.link_header(index), name, gone)
        self._connection.execute([request])
        return True

    def delete_links(self, names: Sequence[str], group: int) -> None:
        """Removes many links for the price of one; missing ones are no error. `group`: a number
        that no other link of this host has as its group."""
        present = {link.name: link.index for link in self.links()} if names else {}
        indexes = [present[name] for name in names if name in present]
        if not indexes:
            return
        gone = (errno.ENODEV, errno.ENXIO)
        number = m.u32(_IFLA_GROUP, group)
        requests = [
            Request(m.RTM_NEWLINK, 0, m.link_header(index) + number, "link group", gone)
            for index in indexes
        ]
        header = m.link_header()
        requests.append(Request(m.RTM_DELLINK, 0, header + number, "link group", gone))
        self._connection.execute(requests)

    def link_index(self, name: str) -> int | None:
        link = self.link(name)
        return None if link is None else link.index

    def link(self, name: str) -> LinkInfo | None:
        """One interface with its counters, None when there is none."""
        body = m.link_header() + m.text(_IFLA_IFNAME, name)
        answer = self._connection.get(m.RTM_GETLINK, body, name)
        return None if answer is None else _link_info(answer.body)

    def settle(self, *names: str, timeout_s: float = 0.1) -> bool:
        """Waits until the links really send and receive; False when they do not in time.

        A link that just got its carrier drops packets until the kernel's link watch has run, which
        other work on links delays. Since Linux 6.8 asking for a link runs it; before, it is
        waited for.
        """
        deadline = time.monotonic() + timeout_s
        for name in names:
            body = m.link_header() + m.text(_IFLA_IFNAME, name)
            while True:
                answer = self._connection.get(m.RTM_GETLINK, body, name)
                if answer is None or m.parse_link(answer.body)[1] & _IFF_RUNNING:
                    break
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.001)
        return True

    def links(self) -> list[LinkInfo]:
        """Every interface, with its counters."""
        return [
            _link_info(answer.body)
            for answer in self._connection.dump(m.RTM_GETLINK, m.link_header())
            if answer.kind == m.RTM_NEWLINK
        ]

    def addresses(
        self, interface: int | None = None, family: int = socket.AF_UNSPEC
    ) -> list[AddressInfo]:
        """Addresses of one interface, or of all."""
        found = []
        body = m.address_header(family, 0, 0)
        for answer in self._connection.dump(m.RTM_GETADDR, body):
            kind, prefix, _, index, attributes = m.parse_address(answer.body)
            raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if raw is not None and interface in (None, index):
                found.append(AddressInfo(index, socket.inet_ntop(kind, raw), prefix))
        return found

    def routes(self, family: int = socket.AF_INET) -> list[RouteInfo]:
        """The main table's routes of a family."""
        found = []
        for answer in self._connection.dump(m.RTM_GETROUTE, m.route_header(family, 0)):
            kind, prefix, table, _, _, attributes = m.parse_route(answer.body)
            if table != _TABLE_MAIN:
                continue
            raw, via = attributes.get(_RTA_DST), attributes.get(_RTA_GATEWAY)
            found.append(
                RouteInfo(
                    interface=_number(attributes.get(_RTA_OIF)),
                    destination=None if raw is None else f"{socket.inet_ntop(kind, raw)}/{prefix}",
                    via=None if via is None else socket.inet_ntop(kind, via),
                )
            )
        return found

    def set_master(self, name: str, bridge_index: int) -> None:
        """Puts a link on a bridge."""
        body = m.link_header() + m.text(_IFLA_IFNAME, name) + m.u32(_IFLA_MASTER, bridge_index)
        self._connection.execute([Request(m.RTM_NEWLINK, 0, body, name)])

    def ensure_local_prefix(self, prefix: str) -> None:
        """Makes every address of an IPv6 prefix (`fd00::/64`) this host's own. Idempotent."""
        network = ip_interface(prefix).network
        body = m.route_header(
            socket.AF_INET6, network.prefixlen,
            table=_TABLE_LOCAL, protocol=_PROTOCOL_BOOT, kind=_LOCAL,
        )  # fmt: skip
        body += m.attribute(_RTA_DST, network.network_address.packed)
        body += m.u32(_RTA_OIF, _LOOPBACK_INDEX)
        flags = m.NLM_F_CREATE | m.NLM_F_REPLACE
        self._connection.execute([Request(m.RTM_NEWROUTE, flags, body, f"local {prefix}")])

    def set_bridge_port(
        self, name: str, *, hairpin: bool | None = None, isolated: bool | None = None
    ) -> None:
        """Flags of a link that is on a bridge; None leaves one as it is."""
        index = self.link_index(name)
        if index is None:
            raise OSError(errno.ENODEV, "no such link", name)
        wanted = ((_IFLA_BRPORT_HAIRPIN, hairpin), (_IFLA_BRPORT_ISOLATED, isolated))
        flags = [m.u8(number, int(on)) for number, on in wanted if on is not None]
        body = m.link_header(index, family=socket.AF_BRIDGE) + m.nested(_IFLA_PROTINFO, *flags)
        self._connection.execute([Request(m.RTM_SETLINK, 0, body, name)])


def _configure(connection: Connection, link: ConfigureLink | None, loopback: bool) -> None:
    requests = []
    if loopback:
        body = m.link_header(_LOOPBACK_INDEX, _IFF_UP, _IFF_UP)
        requests.append(Request(m.RTM_NEWLINK, 0, body, "lo"))
    if link is not None:
        requests += _link_requests(connection, link)
    connection.execute(requests)


def _link_requests(connection: Connection, link: ConfigureLink) -> list[Request]:
    name = m.link_header() + m.text(_IFLA_IFNAME, link.name)
    answer = connection.get(m.RTM_GETLINK, name, link.name)
    if answer is None:
        raise OSError(errno.ENODEV, "no such link", link.name)
    index, flags, attributes = m.parse_link(answer.body)
    settings = b""
    if link.mac is not None and attributes.get(_IFLA_ADDRESS) != _raw_mac(link.mac):
        settings += _mac(link.mac)
    if link.mtu is not None:
        settings += m.u32(_IFLA_MTU, link.mtu)
    if link.rename is not None:
        settings += m.text(_IFLA_IFNAME, link.rename)
    requests = []
    if settings:
        requests.append(Request(m.RTM_NEWLINK, 0, m.link_header(index) + settings, link.name))
    requests += [_add_address(index, link.name, *item) for item in link.addresses]
    if bool(flags & _IFF_UP) != link.up:
        body = m.link_header(index, _IFF_UP if link.up else 0, _IFF_UP)
        requests.append(Request(m.RTM_NEWLINK, 0, body, link.name))
    requests += [_add_route(index, link.name, *route) for route in link.routes]
    return requests


def _address_body(index: int, address: str, prefix: int) -> bytes:
    family = _family(address)
    raw = socket.inet_pton(family, address)
    body = m.address_header(family, prefix, index) + m.attribute(_IFA_LOCAL, raw)
    body += m.attribute(_IFA_ADDRESS, raw)
    if family == socket.AF_INET6:
        return body + m.u32(_IFA_FLAGS, _IFA_F_NODAD)
    if prefix < 31:
        last = ip_interface(f"{address}/{prefix}").network.broadcast_address
        body += m.attribute(_IFA_BROADCAST, last.packed)
    return body


def _add_address(index: int, name: str, address: str, prefix: int) -> Request:
    body = _address_body(index, address, prefix)
    return Request(m.RTM_NEWADDR, m.NLM_F_CREATE | m.NLM_F_REPLACE, body, f"{name} {address}")


def _add_route(index: int, name: str, destination: str | None, via: str | None) -> Request:
    network = None if destination is None else ip_interface(destination).network
    example = via if via is not None else str(network.network_address) if network else "0.0.0.0"
    family = _family(example)
    body = m.route_header(
        family,
        0 if network is None else network.prefixlen,
        table=_TABLE_MAIN,
        protocol=_PROTOCOL_BOOT,
        scope=_SCOPE_LINK if via is None and family == socket.AF_INET else 0,
        kind=_UNICAST,
    )
    if network is not None and network.prefixlen:
        body += m.attribute(_RTA_DST, network.network_address.packed)
    if via is not None:
        body += m.attribute(_RTA_GATEWAY, socket.inet_pton(family, via))
    body += m.u32(_RTA_OIF, index)
    what = f"{name} route {destination or 'default'}"
    return Request(m.RTM_NEWROUTE, m.NLM_F_CREATE | m.NLM_F_REPLACE, body, what)


def _link_info(body: bytes) -> LinkInfo:
    index, flags, attributes = m.parse_link(body)
    info = m.attributes(attributes.get(_IFLA_LINKINFO, b""))
    stats = attributes.get(_IFLA_STATS64)
    return LinkInfo(
        index=index,
        name=_text(attributes.get(_IFLA_IFNAME)),
        kind=_text(info.get(_INFO_KIND)),
        up=bool(flags & _IFF_UP),
        mtu=_number(attributes.get(_IFLA_MTU)),
        mac=attributes.get(_IFLA_ADDRESS, b"").hex(":"),
        master=_number(attributes.get(_IFLA_MASTER)),
        peer=_number(attributes.get(_IFLA_LINK)),
        stats=LinkStats() if stats is None else _link_stats(stats),
    )


def _link_stats(raw: bytes) -> LinkStats:
    rx, tx, rx_b, tx_b, rx_errors, tx_errors, rx_dropped, tx_dropped = _STATS.unpack_from(raw)
    return LinkStats(
        rx_bytes=rx_b,
        rx_packets=rx,
        rx_errors=rx_errors,
        rx_dropped=rx_dropped,
        tx_bytes=tx_b,
        tx_packets=tx,
        tx_errors=tx_errors,
        tx_dropped=tx_dropped,
    )


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _raw_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))


def _mac(mac: str | None) -> bytes:
    return b"" if mac is None else m.attribute(_IFLA_ADDRESS, _raw_mac(mac))


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.rstrip(b"\0").decode(errors="replace")


def _number(raw: bytes | None) -> int:
    return 0 if raw is None else int.from_bytes(raw, sys.byteorder)
