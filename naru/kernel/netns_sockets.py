"""Sockets made inside another network namespace, for a process that imports almost nothing.

As `netns.run_in_netns` (which see), without what that needs for making and pinning namespaces.
"""

import socket
import threading

from naru.kernel import syscalls


def sockets_in_netns(netns: int, family: int, kind: int, count: int) -> list[socket.socket]:
    """`count` sockets that do not block, inside the namespace `netns` (a descriptor). 0.1 ms.

    Any thread may use them. Raises: OSError.
    """
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        try:
            syscalls.setns(netns, syscalls.CLONE_NEWNET)
            for _ in range(count):
                made.append(socket.socket(family, kind | socket.SOCK_NONBLOCK))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make, name="naru-netns")
    thread.start()
    thread.join()
    if not made and errors:
        raise errors[0]
    return made
