"""Network namespaces without a fork: each is made and entered by a short-lived thread.

A namespace is kept by binding it on a file ("pinning"); nobody has to live in it. `unshare` and
`setns` move one thread, so a thread that moved ends with its work and never goes back to a pool.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from naru.kernel import mount, syscalls
from naru.kernel.threads import in_own_thread

T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"


def create_netns(pin_path: str, sysctls: Iterable[tuple[str, str]] = ()) -> None:
    """Makes a network namespace and pins it on `pin_path`, which must not exist. 0.7 ms.

    `sysctls` (`net/ipv4/ip_forward`) are set inside; one that this kernel lacks is skipped. A
    failure leaves nothing behind. Raises: OSError; FileExistsError.
    """
    os.close(os.open(pin_path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def make() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        write_sysctls(sysctls)
        syscalls.mount(_OWN, pin_path, None, syscalls.MS_BIND)

    try:
        in_own_thread(make)
    except BaseException:
        os.unlink(pin_path)
        raise


def write_sysctls(sysctls: Iterable[tuple[str, str]]) -> None:
    """Of the calling thread's namespace; one that this kernel lacks is skipped. Raises: OSError."""
    for name, value in sysctls:
        with contextlib.suppress(FileNotFoundError):
            _write(f"/proc/sys/{name}", value)


def set_sysctls(netns: str | int, sysctls: Iterable[tuple[str, str]]) -> None:
    """Sets `net/ipv6/conf/eth0/disable_ipv6` and the like inside. Raises: OSError."""

    def write() -> None:
        for name, value in sysctls:
            _write(f"/proc/sys/{name}", value)

    run_in_netns(netns, write)


def remove_netns(pin_path: str) -> None:
    """Lets go of the namespace: it ends when no process is left in it. Idempotent."""
    mount.unmount(pin_path)
    try:
        os.unlink(pin_path)
    except FileNotFoundError:
        return


def open_netns(path: str) -> int:
    """A descriptor of the namespace pinned on, or linked as, `path` (/proc/PID/ns/net too)."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def run_in_netns(pin: str | int, fn: Callable[..., T], /, *args: object) -> T:
    """`fn(*args)` in a thread that is inside the namespace; blocks until it is done.

    A socket that `fn` makes stays in the namespace and may be used by any thread.
    """
    fd = open_netns(pin) if isinstance(pin, str) else pin

    def enter() -> T:
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
        return fn(*args)

    try:
        return in_own_thread(enter)
    finally:
        if isinstance(pin, str):
            os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
