"""What the API streams to and from a client: the common shape of attach and exec sessions."""

from collections.abc import AsyncIterator
from typing import Protocol

STDOUT, STDERR = 1, 2


class ClientStream(Protocol):
    """A session with one client. `tty`: its output is raw, not framed."""

    @property
    def tty(self) -> bool: ...

    def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1 stdout or 2 stderr, bytes) until the session is over."""
        ...

    async def write(self, data: bytes) -> None:
        """Input from the client; waits while the workload does not read."""
        ...

    async def close_stdin(self) -> None:
        """The client sends no more; output goes on."""
        ...

    async def close(self) -> None:
        """The client is gone. Idempotent."""
        ...
