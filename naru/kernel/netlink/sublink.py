"""macvlan and ipvlan: links that share a parent interface, made right inside a namespace.

Spec: linux/if_link.h, IFLA_MACVLAN_*, IFLA_IPVLAN_*.
"""

import errno

from naru.kernel.netlink import message as m
from naru.kernel.netlink.connection import Connection, Request

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_LINKINFO, _IFLA_NET_NS_FD = 18, 28
_INFO_KIND, _INFO_DATA, _MODE = 1, 2, 1
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}


def create_sublink(
    kind: str, mode: str, parent_index: int, netns_fd: int, name: str, *, mac: str, mtu: int
) -> None:
    """Makes `name`, down, in the namespace. ipvlan has its parent's hardware address.

    Raises: OSError; EOPNOTSUPP with a sentence when this kernel has no such links.
    """
    if kind == "macvlan":
        data = m.u32(_MODE, _MACVLAN_MODES[mode])
        address = m.attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    else:
        data = m.attribute(_MODE, _IPVLAN_MODES[mode].to_bytes(2, "little"))
        address = b""
    info = m.nested(_IFLA_LINKINFO, m.text(_INFO_KIND, kind), m.nested(_INFO_DATA, data))
    body = m.link_header() + m.text(_IFLA_IFNAME, name) + m.u32(_IFLA_LINK, parent_index)
    body += m.u32(_IFLA_NET_NS_FD, netns_fd) + m.u32(_IFLA_MTU, mtu) + address + info
    flags = m.NLM_F_CREATE | m.NLM_F_EXCL
    connection = Connection()
    try:
        connection.execute([Request(m.RTM_NEWLINK, flags, body, name)])
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise OSError(
                errno.EOPNOTSUPP, f"this host's kernel has no {kind} links", name
            ) from error
        raise
    finally:
        connection.close()


def knows_sublink(kind: str) -> bool:
    """Whether this kernel has links of the kind: asked for one without a parent it says which."""
    info = m.nested(_IFLA_LINKINFO, m.text(_INFO_KIND, kind))
    body = m.link_header() + m.text(_IFLA_IFNAME, "naru-probe") + info
    connection = Connection()
    try:
        connection.execute([Request(m.RTM_NEWLINK, m.NLM_F_CREATE | m.NLM_F_EXCL, body, kind)])
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    finally:
        connection.close()
    return True
