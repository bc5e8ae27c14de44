"""Containers that stand still while something is read that they write to.

A freeze is not a pause: records and events say nothing of it. What a killed narud left frozen goes
on when the next one adopts it (`reconcile`).
"""

import contextlib
from collections.abc import AsyncIterator

from naru.base.errors import Conflict, NaruError
from naru.base.undo import run_to_end
from naru.containers.deps import Deps


class Freezing:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._frozen: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def users_of_volume(self, name: str) -> AsyncIterator[None]:
        """Every running container that mounts the volume stands still while the block runs."""
        frozen: list[str] = []
        try:
            for container in list(self._deps.store):
                mounts = any(m.type == "volume" and m.name == name for m in container.mounts)
                if mounts and container.state.status == "running":
                    frozen.append(container.id)
                    await self._freeze(container.id)
            yield
        finally:
            for identifier in frozen:
                await run_to_end(self._thaw(identifier))

    async def _freeze(self, identifier: str) -> None:
        self._frozen[identifier] = self._frozen.get(identifier, 0) + 1
        with contextlib.suppress(Conflict):  # it has just ended
            await self._deps.runtime.pause(identifier)

    async def _thaw(self, identifier: str) -> None:
        """The last one who froze it lets it go on, unless somebody paused it meanwhile."""
        self._frozen[identifier] -= 1
        if self._frozen[identifier]:
            return
        del self._frozen[identifier]
        container = self._deps.store.get(identifier)
        if container is None or container.state.status != "running":
            return
        with contextlib.suppress(NaruError):  # it was killed meanwhile
            await self._deps.runtime.resume(identifier)
