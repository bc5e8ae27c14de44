"""A container's record: what was asked for, and what is observed of it.

Records are values: a change makes a new one (`msgspec.structs.replace`) and stores it. The status
changes through `naru.containers.state` only; Docker's booleans are derived when encoding an answer.
"""

from typing import Literal

from msgspec import Struct, field

from naru.spec.engine.container_config import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    PortBinding,
)

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]

UNKNOWN_EXIT_CODE = 255


class State(Struct, kw_only=True, frozen=True):
    """Pids are 0 and times are 0 when there is none. `*_start`: clock ticks, /proc/PID/stat 22."""

    status: Status = "created"
    pid: int = 0
    pid_start: int = 0
    monitor_pid: int = 0
    monitor_start: int = 0
    exit_code: int = 0
    exit_known: bool = True
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0


class Intent(Struct, kw_only=True, frozen=True):
    """What a start decided; it travels with the launch until the record has it."""

    networks: dict[str, EndpointSettings]
    ports: dict[str, list[PortBinding] | None]
    interfaces: dict[str, str]
    sandbox_path: str
    restart_count: int
    stopped_by_user: bool


class Linked(Struct, kw_only=True, frozen=True):
    """Where a link leads. `name`: what it was called; `id` is "" in records of before."""

    id: str = ""
    name: str = ""


class MountPoint(Struct, kw_only=True, frozen=True):
    """One mount of a container, resolved. `source` is a host path; `name` a volume's name.

    `type`: bind, volume, tmpfs, image. `propagation`: rprivate, rslave, rshared, …
    """

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    options: tuple[str, ...] = ()
    subpath: str = ""
    no_copy: bool = False
    recursive: bool = True
    anonymous: bool = False
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    image_id: str = ""


class Container(Struct, kw_only=True, frozen=True):
    id: str
    name: str
    created_ns: int
    image_id: str
    config: ContainerConfig
    host_config: HostConfig
    path: str
    args: tuple[str, ...]
    state: State = field(default_factory=State)
    mounts: tuple[MountPoint, ...] = ()
    networks: dict[str, EndpointSettings] = field(default_factory=dict)
    ports: dict[str, list[PortBinding] | None] = field(default_factory=dict)
    sandbox_path: str = ""
    interfaces: dict[str, str] = field(default_factory=dict)
    parked_ports: dict[str, list[PortBinding] | None] = field(default_factory=dict)
    restart_count: int = 0
    stopped_by_user: bool = False
    started_once: bool = False
    log_path: str = ""
    remove_volumes: bool = False
    links: dict[str, Linked] = field(default_factory=dict)
