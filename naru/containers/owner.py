"""The user namespace that a mapped container's run belongs to: its own, or another container's.

Whoever shares a network, PID or IPC namespace with another container shares the user namespace
that owns it: without, its root would be nobody there. As Docker does.
"""

import os

from naru.base.errors import Conflict
from naru.base.idmap import IdMap
from naru.containers.deps import Deps
from naru.containers.model import Container
from naru.containers.preparation import running_other
from naru.network.model import SandboxOwner


def owner_of(deps: Deps, container: Container, id_map: IdMap | None) -> SandboxOwner | None:
    """None when the container has the host's ids.

    Raises: Conflict when what it shares belongs to other ids, or to two user namespaces.
    """
    if id_map is None:
        return None
    host_config = container.host_config
    paths: dict[int, str] = {}
    for kind, mode in (
        ("network", host_config.network_mode),
        ("PID", host_config.pid_mode),
        ("IPC", host_config.ipc_mode),
    ):
        if not mode.startswith("container:"):
            continue
        other = running_other(deps, mode, f"join {kind} namespace of")
        theirs = deps.roots.mapped(other.id)
        if theirs is None or theirs.id_map != id_map:
            raise Conflict(
                f"cannot join the {kind} namespace of container {other.name}: it has other user "
                "ids; give both containers the same --userns"
            )
        path = f"/proc/{other.state.pid}/ns/user"
        paths[_inode(path, other)] = path
    if len(paths) > 1:
        raise Conflict(
            f"container {container.name} cannot join namespaces of containers that have user "
            "namespaces of their own: let one of them join the other"
        )
    return SandboxOwner(id_map, next(iter(paths.values()), ""))


def _inode(path: str, other: Container) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError as error:
        raise Conflict(f"container {other.name} has just ended") from error
