"""`--sysctl`: kernel settings of a container's own namespaces, and no others. Pure."""

import re
from collections.abc import Mapping

from naru.base.errors import InvalidParameter
from naru.spec.engine.container_config import HostConfig

_NAME = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)+\Z")
_VALUE = re.compile(r"[\x20-\x7e\t]*\Z")
_IPC = frozenset(
    "kernel." + name
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    )
)


def normalize(settings: Mapping[str, str]) -> dict[str, str]:
    """Names with dots, as runtimes know them: `net/ipv4/ip_forward` → `net.ipv4.ip_forward`."""
    return {name.replace("/", "."): value for name, value in settings.items()}


def check(settings: Mapping[str, str], host_config: HostConfig) -> None:
    """Raises: InvalidParameter for a setting that is not of a namespace of the container's own."""
    for name, value in settings.items():
        if not _NAME.match(name):
            raise InvalidParameter(f'invalid sysctl name: "{name}"')
        if not _VALUE.match(value) or "+" in value or "=" in value:
            raise InvalidParameter(f'invalid value for sysctl "{name}": "{value}"')
        _check_one(name.replace("/", "."), host_config)


def _check_one(name: str, host_config: HostConfig) -> None:
    if name.startswith("net."):
        if host_config.network_mode == "host":
            raise InvalidParameter(f'sysctl "{name}" not allowed in host network namespace')
    elif name in _IPC or name.startswith("fs.mqueue."):
        if host_config.ipc_mode == "host":
            raise InvalidParameter(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    elif name == "kernel.hostname":
        raise InvalidParameter(
            f'sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field'
        )
    elif name != "kernel.domainname" or host_config.uts_mode == "host":
        raise InvalidParameter(f'sysctl "{name}" is not in a separate kernel namespace')
