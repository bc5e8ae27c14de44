"""One route netlink socket: several requests in one send, their answers in order."""

import errno
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from naru.kernel.netlink import message

_SOL_NETLINK = 270
_EXT_ACK = 11
_CAP_ACK = 10
_TIMEOUT_S = 10
_DUMP_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """`may_fail`: errnos that are no error (deleting what is gone). `what`: for the error text."""

    kind: int
    flags: int
    body: bytes
    what: str
    may_fail: tuple[int, ...] = ()


class Connection:
    """Thread safe: one exchange at a time. Belongs to the network namespace it was made in."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            self._socket.settimeout(_TIMEOUT_S)
            for option in (_EXT_ACK, _CAP_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self._lock = threading.Lock()
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def execute(self, requests: Sequence[Request]) -> None:
        """Sends all and waits for every acknowledgement. The kernel does them in order and goes on
        after one that failed.

        Raises: OSError of the first failure that its request does not allow.
        """
        with self._lock:
            first = self._sequence + 1
            self._sequence += len(requests)
            datagram = [
                message.request(
                    item.kind, item.flags | message.NLM_F_ACK, first + offset, item.body
                )
                for offset, item in enumerate(requests)
            ]
            self._socket.send(b"".join(datagram))
            answers = self._acknowledgements(first, len(requests))
        for item, (code, words) in zip(requests, answers, strict=True):
            if code and code not in item.may_fail:
                text = f"{os.strerror(code)} ({words})" if words else os.strerror(code)
                raise OSError(code, text, item.what)

    def _acknowledgements(self, first: int, count: int) -> list[tuple[int, str]]:
        found: dict[int, tuple[int, str]] = {}
        while len(found) < count:
            for answer in message.messages(self._socket.recv(1 << 17)):
                offset = answer.sequence - first
                if answer.kind == message.NLMSG_ERROR and 0 <= offset < count:
                    found[offset] = message.error_of(answer)
        return [found[offset] for offset in range(count)]

    def dump(self, kind: int, body: bytes) -> list[message.Message]:
        """Every object of a kind; asked again when the kernel says that it changed meanwhile."""
        for _ in range(_DUMP_ATTEMPTS):
            found, consistent = self._dump_once(kind, body)
            if consistent:
                break
        return found

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[message.Message], bool]:
        found: list[message.Message] = []
        consistent = True
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
            self._socket.send(message.request(kind, message.NLM_F_DUMP, sequence, body))
            while True:
                for answer in message.messages(self._socket.recv(1 << 17)):
                    if answer.sequence != sequence:
                        continue
                    consistent = consistent and not answer.flags & message.NLM_F_DUMP_INTR
                    if answer.kind == message.NLMSG_DONE:
                        return found, consistent
                    if answer.kind == message.NLMSG_ERROR:
                        code, words = message.error_of(answer)
                        raise OSError(code, words or os.strerror(code), "netlink dump")
                    found.append(answer)

    def get(self, kind: int, body: bytes, what: str) -> message.Message | None:
        """One object, None when there is no such thing. Raises: OSError."""
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
            self._socket.send(message.request(kind, 0, sequence, body))
            while True:
                for answer in message.messages(self._socket.recv(1 << 17)):
                    if answer.sequence != sequence:
                        continue
                    if answer.kind != message.NLMSG_ERROR:
                        return answer
                    code, words = message.error_of(answer)
                    if code in (errno.ENODEV, errno.ENXIO):
                        return None
                    raise OSError(code, words or os.strerror(code), what)
