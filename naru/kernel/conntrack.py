"""Forgetting UDP flows that the kernel tracks: a flow keeps its translation for as long as it is
used, so a client that never stops sending would go on talking to a container that is gone.

Spec: linux/netfilter/nfnetlink_conntrack.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator

from naru.kernel.netlink import message as m

_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TUPLE_ORIG, _TUPLE_REPLY, _TUPLE_IP, _TUPLE_PROTO, _ZONE = 1, 2, 1, 2, 18
_IP_SOURCE, _PROTO_NUMBER, _PROTO_DESTINATION = 1, 1, 3
_BUFFER_BYTES = 1 << 20
_TIMEOUT_S = 5


def forget_udp(host_ports: Collection[int] = (), targets: Collection[str] = ()) -> int:
    """Forgets every IPv4 UDP flow that was sent to one of `host_ports`, or is answered by one of
    `targets`; returns how many. Blocks, for as long as it takes to list what is tracked.

    Raises: OSError, also when this kernel cannot list (no ctnetlink).
    """
    ports = {struct.pack(">H", port) for port in host_ports}
    hosts = {socket.inet_aton(target) for target in targets}
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETFILTER) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        connection.bind((0, 0))
        found = [flow for flow in _flows(connection) if _matches(flow, ports, hosts)]
        for sequence, flow in enumerate(found, 2):
            _delete(connection, sequence, flow)
    return len(found)


def _flows(connection: socket.socket) -> Iterator[dict[int, bytes]]:
    connection.send(m.request(_GET, m.NLM_F_DUMP, 1, _FAMILY))
    while True:
        for answer in m.messages(connection.recv(1 << 17)):
            if answer.kind == m.NLMSG_DONE:
                return
            if answer.kind == m.NLMSG_ERROR:
                code, words = m.error_of(answer)
                raise OSError(code, words or os.strerror(code), "conntrack")
            yield m.attributes(answer.body, len(_FAMILY))


def _matches(flow: dict[int, bytes], ports: set[bytes], hosts: set[bytes]) -> bool:
    asked = m.attributes(flow.get(_TUPLE_ORIG, b""))
    protocol = m.attributes(asked.get(_TUPLE_PROTO, b""))
    if protocol.get(_PROTO_NUMBER) != bytes((socket.IPPROTO_UDP,)):
        return False
    if protocol.get(_PROTO_DESTINATION) in ports:
        return True
    answer = m.attributes(flow.get(_TUPLE_REPLY, b""))
    return m.attributes(answer.get(_TUPLE_IP, b"")).get(_IP_SOURCE) in hosts


def _delete(connection: socket.socket, sequence: int, flow: dict[int, bytes]) -> None:
    body = _FAMILY + m.nested(_TUPLE_ORIG, flow[_TUPLE_ORIG])
    if _ZONE in flow:
        body += m.attribute(_ZONE, flow[_ZONE])
    connection.send(m.request(_DELETE, m.NLM_F_ACK, sequence, body))
    for answer in m.messages(connection.recv(1 << 17)):
        code, words = m.error_of(answer)
        if code not in (0, errno.ENOENT):
            raise OSError(code, words or os.strerror(code), "conntrack")
