"""`container:NAME` modes: names become ids when the container is created."""

import pytest

from naru.base.errors import InvalidParameter, NotFound
from naru.containers import joined
from naru.containers.model import Container
from naru.spec.engine.container_config import ContainerConfig, HostConfig

ID = "5" * 64


def find(name: str) -> Container:
    if name not in ("web", ID):
        raise NotFound(f"No such container: {name}")
    return Container(
        id=ID, name="web", created_ns=0, image_id="", config=ContainerConfig(),
        host_config=HostConfig(), path="", args=(),
    )  # fmt: skip


def test_names_become_ids() -> None:
    host = HostConfig(
        network_mode="container:web", pid_mode="container:web", ipc_mode=f"container:{ID}"
    )
    shown = joined.with_ids(host, find)
    assert {shown.network_mode, shown.pid_mode, shown.ipc_mode} == {f"container:{ID}"}


def test_other_modes_stay() -> None:
    host = HostConfig(network_mode="bridge", pid_mode="host", ipc_mode="private")
    assert joined.with_ids(host, find) == host


def test_a_missing_container() -> None:
    host = HostConfig(network_mode="container:db")
    assert joined.with_ids(host, find) == host
    for mode in (HostConfig(pid_mode="container:db"), HostConfig(ipc_mode="container:db")):
        with pytest.raises(InvalidParameter, match="No such container: db"):
            joined.with_ids(mode, find)
