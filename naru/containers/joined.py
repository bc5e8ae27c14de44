"""Modes that share another container's namespaces: `container:NAME`. Pure."""

import contextlib
from collections.abc import Callable

from msgspec.structs import replace

from naru.base.errors import InvalidParameter, NotFound
from naru.containers.model import Container
from naru.spec.engine.container_config import HostConfig

PREFIX = "container:"


def with_ids(host: HostConfig, find: Callable[[str], Container]) -> HostConfig:
    """Names replaced by ids, which no rename changes.

    A network's container may come into being later, up to the start. Raises: InvalidParameter when
    that of a PID or IPC mode does not exist.
    """
    network = host.network_mode
    with contextlib.suppress(NotFound):
        network = _with_id(network, find)
    try:
        pid, ipc = _with_id(host.pid_mode, find), _with_id(host.ipc_mode, find)
    except NotFound as error:
        raise InvalidParameter(error.message) from error
    return replace(host, network_mode=network, pid_mode=pid, ipc_mode=ipc)


def _with_id(mode: str, find: Callable[[str], Container]) -> str:
    name = mode.removeprefix(PREFIX)
    return PREFIX + find(name).id if name and mode.startswith(PREFIX) else mode
