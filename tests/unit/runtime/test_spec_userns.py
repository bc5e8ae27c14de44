"""What a container with ids of its own on the host cannot have."""

from typing import Any

import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.validate_userns import check_user_namespace
from naru.spec.engine.container_config import HostConfig


@pytest.mark.parametrize(
    ("fields", "runtime", "text"),
    [
        (
            {"privileged": True},
            "crun",
            "privileged mode is incompatible with user namespaces.  You",
        ),
        ({"network_mode": "host"}, "crun", "cannot share the host's network namespace when user"),
        ({"pid_mode": "host"}, "crun", "cannot share the host PID namespace when user namespaces"),
        ({"ipc_mode": "host"}, "crun", "cannot share the host's IPC namespace when user namespac"),
        ({}, "runc", "user namespaces are not offered with the runtime runc"),
        ({}, "/usr/bin/runc", "not offered with the runtime /usr/bin/runc"),
    ],
)
def test_refused(fields: dict[str, Any], runtime: str, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        check_user_namespace(HostConfig(**fields), runtime)


@pytest.mark.parametrize("runtime", ["crun", "/usr/local/bin/crun"])
def test_taken(runtime: str) -> None:
    host_config = HostConfig(network_mode="container:x", uts_mode="host", cgroupns_mode="host")
    check_user_namespace(host_config, runtime)
