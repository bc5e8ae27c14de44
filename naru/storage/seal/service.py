"""Sealing and opening streams in a process of their own, between two pipes.

The process carries the cryptography, its memory and its time: the engine imports none of it.
"""

import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from naru.base.errors import Internal, InvalidParameter
from naru.base.undo import run_to_end
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload

MAGIC = b"NARUSEAL"
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
_CONTROL_FD = 3
_LONGEST = 4096
_ANSWER_BYTES = 1 << 16


def check_passphrase(passphrase: bytes) -> None:
    """Raises: InvalidParameter."""
    if not 1 <= len(passphrase) <= _LONGEST:
        raise InvalidParameter(
            f"the passphrase has {len(passphrase)} bytes: wanted 1 to {_LONGEST}"
        )


class Sealing:
    """A process at work."""

    def __init__(self, child: Child, control: socket.socket) -> None:
        self._child, self._control = child, control

    async def result(self) -> None:
        """Wait for its end. Raises: InvalidParameter (wrong passphrase, damage), Internal."""
        status = await self._child.wait()
        if status == 0:
            return
        said = await offload(self._control.recv, _ANSWER_BYTES)
        if said:
            raise InvalidParameter(said.decode(errors="replace"))
        raise Internal(f"the process that encrypts ended with status {status}")

    async def end(self) -> None:
        self._child.kill()
        self._control.close()
        await run_to_end(self._child.wait())


@asynccontextmanager
async def sealing(
    spawner: Spawner, passphrase: bytes, source: int, target: int, *, opening: bool
) -> AsyncIterator[Sealing]:
    """Seal (or open) what `source` gives into `target`; both stay the caller's, who closes them
    inside the block. Leaving the block kills what still runs."""
    check_passphrase(passphrase)
    ours, theirs = socket.socketpair()
    try:
        argv = (sys.executable, "-s", "-P", "-B", "-m", "naru.storage.seal.worker")
        child = spawner.spawn(
            argv,
            env={"PYTHONPATH": _PACKAGE_ROOT, "LC_ALL": "C.UTF-8"},
            fds={0: source, 1: target, 2: 2, _CONTROL_FD: theirs.fileno()},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    work = Sealing(child, ours)
    try:
        with contextlib.suppress(BrokenPipeError):
            ours.sendall((b"open" if opening else b"seal") + b"\n" + passphrase)
            ours.shutdown(socket.SHUT_WR)
        yield work
    finally:
        await work.end()
