"""What the containers' parts are built from: services below, constructed in `engine/wiring.py`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from naru.base.tasks import TaskRegistry
from naru.containers.image_mounts import ImageMounts
from naru.containers.rootfs import RootMounts
from naru.containers.store import ContainerStore
from naru.containers.userns import UserNamespaces
from naru.images.service import ImageService
from naru.kernel.spawn import Spawner
from naru.network.service import NetworkService
from naru.runtime.facts import HostFacts
from naru.runtime.logs.service import LogService
from naru.runtime.runtime import Runtime
from naru.runtime.seccomp.cache import SeccompCache
from naru.spec.engine.container_config import LogConfig
from naru.storage.metadata import Database
from naru.storage.snapshots import Snapshots
from naru.storage.volumes.service import Volumes

Emit = Callable[[str, str, str, dict[str, str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration decides for containers. Paths are absolute; times in seconds."""

    data_root: str
    exec_root: str
    cgroup_parent: str
    init_path: str | None = None
    default_log: LogConfig = field(default_factory=lambda: LogConfig(type="json-file", config={}))
    default_runtime: str = "crun"
    default_cgroupns: str = "private"
    default_shm_bytes: int = 64 << 20
    default_ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway: str | None = None
    init: bool = False
    no_new_privileges: bool = False
    stop_timeout_s: int = 10

    def container_dir(self, container_id: str) -> str:
        """Durable files of a container: its log, hosts, hostname, resolv.conf. 0710."""
        return os.path.join(self.data_root, "containers", container_id)

    def subpath_dir(self, container_id: str) -> str:
        """Where the parts of volumes that it mounts are bound, one each."""
        return os.path.join(self.exec_root, "subpaths", container_id)

    def shm_dir(self, container_id: str) -> str:
        """The tmpfs that `--ipc shareable` shares."""
        return os.path.join(self.exec_root, "shm", container_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    settings: Settings
    facts: HostFacts
    db: Database
    store: ContainerStore
    images: ImageService
    snapshots: Snapshots
    roots: RootMounts
    image_mounts: ImageMounts
    users: UserNamespaces
    volumes: Volumes
    network: NetworkService
    runtime: Runtime
    spawner: Spawner
    logs: LogService
    seccomp: SeccompCache
    tasks: TaskRegistry
    emit: Emit
