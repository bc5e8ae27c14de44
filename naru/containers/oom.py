"""Out of memory, told when it happens: a container that loses a child to it may well go on."""

from msgspec.structs import replace

from naru.base.errors import Conflict
from naru.containers import labels
from naru.containers.deps import Deps


async def tell_ooms(deps: Deps, identifier: str) -> None:
    """Emit `oom`, and set `OOMKilled`, whenever the kernel kills in this container's group.

    Ends with the group; run as a task beside a running container.
    """
    try:
        group = deps.runtime.cgroup(identifier)
        watch = group.watch_oom()
    except (OSError, Conflict):  # it has just ended
        return
    try:
        while True:
            if await watch.wait():
                await _tell(deps, identifier)
            elif not group.exists():
                return
    finally:
        watch.close()


async def _tell(deps: Deps, identifier: str) -> None:
    async with deps.store.lock(identifier):
        container = deps.store.get(identifier)
        if container is None or container.state.status not in ("running", "paused"):
            return
        deps.emit("container", "oom", identifier, labels.of_event(container))
        if not container.state.oom_killed:
            marked = replace(container, state=replace(container.state, oom_killed=True))
            await deps.store.put(marked)
