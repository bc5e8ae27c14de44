"""What a container with ids of its own on the host cannot have. Pure."""

import posixpath

from naru.base.errors import InvalidParameter
from naru.spec.engine.container_config import HostConfig

MODES = ("", "host", "private")


def check_user_namespace(host_config: HostConfig, runtime: str) -> None:
    """`runtime`: name or path of the one that will run it. Raises: InvalidParameter."""
    if host_config.privileged:
        raise InvalidParameter(
            "privileged mode is incompatible with user namespaces.  You must run the container in "
            "the host namespace when running privileged mode"
        )
    for mode, what in (
        (host_config.network_mode, "host's network namespace"),
        (host_config.pid_mode, "host PID namespace"),
        (host_config.ipc_mode, "host's IPC namespace"),
    ):
        if mode == "host":
            raise InvalidParameter(f"cannot share the {what} when user namespaces are enabled")
    if not posixpath.basename(runtime).startswith("crun"):
        raise InvalidParameter(
            f"user namespaces are not offered with the runtime {runtime}: crun can join them"
        )
