"""Where every service is constructed: plain calls, from the bottom of the house to its top.

kernel (spawner, cgroups, netlink, nft) → storage → runtime, network → images → containers → API
"""

import contextlib
import logging
import os
import secrets
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from naru.base.errors import Internal
from naru.base.tasks import TaskRegistry
from naru.containers import deps as container_deps
from naru.containers.freezing import Freezing
from naru.containers.image_mounts import ImageMounts
from naru.containers.rootfs import RootMounts
from naru.containers.service import Containers
from naru.containers.service import build as build_containers
from naru.containers.store import ContainerStore
from naru.containers.userns import UserNamespaces
from naru.engine.api.summary import Summaries
from naru.engine.config import Config
from naru.engine.events import EventBus
from naru.engine.host import read_host
from naru.engine.inventory import Inventory
from naru.engine.remap import remap_of
from naru.engine.services import Services, shown_image
from naru.images.service import ImageService
from naru.kernel import cgroup, own_mount
from naru.kernel.netlink.client import Netlink
from naru.kernel.nft import Nft
from naru.kernel.spawn import Spawner
from naru.network import plan
from naru.network.model import DEFAULT_BRIDGE_POOLS, DEFAULT_POOLS, NetworkOptions
from naru.network.service import NetworkService
from naru.runtime import facts as host_facts
from naru.runtime.control import RuntimeSettings
from naru.runtime.crun import ENVIRONMENT, RuntimeBinary, detect_binary
from naru.runtime.facts import HostFacts
from naru.runtime.logs.service import LogService
from naru.runtime.runtime import Runtime
from naru.runtime.seccomp.cache import SeccompCache
from naru.spec.engine.container_config import LogConfig
from naru.storage.archive.workers import ArchiveWorkers
from naru.storage.content import Content
from naru.storage.metadata import Database
from naru.storage.snapshots import Snapshots
from naru.storage.volumes.backups import Backups
from naru.storage.volumes.copies import Copies
from naru.storage.volumes.plugins import DEFAULT_DIRECTORIES, Plugins
from naru.storage.volumes.service import Volumes
from naru.storage.volumes.transfer import Transfers

log = logging.getLogger("naru.engine")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RUNTIMES = ("crun", "runc")
_INITS = ("tini-static", "docker-init", "catatonit", "tini")
_ENGINE = "engine"


@dataclass(slots=True)
class Engine:
    """`open` once before the first request; `close` ends what is ours, and no container."""

    services: Services
    closers: list[Callable[[], None]]
    containers: Containers
    network: NetworkService
    db: Database
    cgroups: cgroup.CgroupHost

    async def open(self) -> None:
        await self.network.open()
        await self.containers.open()
        await self.services.backups.open()

    async def close(self) -> None:
        self.containers.close()
        await self.network.close()
        await self.db.close()
        for close in self.closers:
            close()
        if not any(item.state.status in ("running", "paused") for item in self.containers.store):
            self._leave_the_host()

    def _leave_the_host(self) -> None:
        """Nothing runs: the cgroup of all containers goes, and the mount that was made of the exec
        root; the next start makes them again."""
        config = self.services.config
        key = plan.engine_key(config.data_root)
        with contextlib.suppress(OSError, Internal):  # a configured one is not ours to remove
            cgroup.Cgroup(self.cgroups, _own_cgroup(key)).remove()
        with contextlib.suppress(OSError):
            own_mount.take_away(config.exec_root, _mount_note(config))


@dataclass(frozen=True, slots=True)
class Programs:
    """What was found on this host. `versions`: for `version` and `info`."""

    conmon: str
    runtimes: dict[str, RuntimeBinary]
    default_runtime: str
    init: str | None
    versions: dict[str, str]


def _mount_note(config: Config) -> str:
    """The file that tells which mount on the exec root is ours."""
    return os.path.join(config.exec_root, "mount.note")


def _make_private(config: Config) -> None:
    """Directories that only root enters: a container's files may be set-user-ID or secret.

    The roots' own modes: what lies beside our directories in the exec root is the API's socket.
    """
    os.chmod(config.data_root, 0o700)
    os.chmod(config.exec_root, 0o711)
    folders = [
        os.path.join(config.exec_root, name) for name in ("rootfs", "images", "shm", "runtime")
    ]
    folders += [os.path.join(config.data_root, name) for name in ("containers", "spill")]
    for folder in folders:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)


async def wire(config: Config, tasks: TaskRegistry, nofile: tuple[int, int]) -> Engine:
    """Everything, constructed and not yet opened. `nofile`: the limit of descriptors, soft and
    hard, that containers get unless told otherwise. Raises: Internal naming what is missing.
    """
    key = plan.engine_key(config.data_root)
    cgroups = cgroup.detect()
    _make_private(config)
    own_mount.share(config.exec_root, _mount_note(config))
    spawner = Spawner(hybrid=cgroups.hybrid)
    programs = await find_programs(config, spawner)
    if cgroups.version == 2:  # the root has no limit files: here one sees which there are
        with contextlib.suppress(OSError):
            cgroup.Cgroup(cgroups, _own_cgroup(key)).create()
    facts = host_facts.gather(init_path=programs.init, default_runtime=programs.default_runtime)
    events = EventBus()
    workers = ArchiveWorkers(spawner)
    db = Database.open(os.path.join(config.data_root, "metadata.db"))
    content = Content(os.path.join(config.data_root, "content"))
    snapshots = Snapshots(os.path.join(config.data_root, "snapshots"), workers)
    volumes = _volumes(config, db, events)
    images = ImageService(db, content, snapshots, events.emit)
    netlink, nft = Netlink(), Nft()
    network = NetworkService(db, netlink, nft, spawner, _network_options(config, key), events.emit)
    runtime = Runtime(_runtime_settings(config, programs), spawner, cgroups)
    users = UserNamespaces(spawner, remap_of(config.userns_remap))
    logs = LogService()
    store = ContainerStore(db)
    store.load()
    containers = build_containers(
        container_deps.Deps(
            settings=_settings(config, key, programs, facts, nofile),
            facts=facts,
            db=db,
            store=store,
            images=images,
            snapshots=snapshots,
            roots=_root_mounts(config, snapshots),
            image_mounts=ImageMounts(snapshots, os.path.join(config.exec_root, "images"), ""),
            users=users,
            volumes=volumes,
            network=network,
            runtime=runtime,
            spawner=spawner,
            logs=logs,
            seccomp=_seccomp_cache(config, programs, facts),
            tasks=tasks,
            emit=events.emit,
        )
    )
    parts = _volume_parts(config, containers.deps, workers)
    services = await _services(config, events, containers, programs, parts)
    closers = [
        users.close,
        snapshots.trash.close,
        workers.close,
        logs.close,
        nft.close,
        netlink.close,
        spawner.close,
    ]
    return Engine(services, closers, containers, network, db, cgroups)


def _volumes(config: Config, db: Database, events: EventBus) -> Volumes:
    plugins = Plugins(
        config.plugin_dirs or DEFAULT_DIRECTORIES,
        timeout_s=float(config.plugin_timeout or 1),
        own=(config.data_root, config.exec_root),
    )
    return Volumes(
        os.path.join(config.data_root, "volumes"),
        db,
        events.emit,
        mount_root=os.path.join(config.exec_root, "volumes"),
        plugins=plugins,
    )


@dataclass(frozen=True, slots=True)
class VolumeParts:
    """What works on whole volumes."""

    transfers: Transfers
    copies: Copies
    backups: Backups


def _root_mounts(config: Config, snapshots: Snapshots) -> RootMounts:
    plain, mapped = (os.path.join(config.exec_root, name) for name in ("rootfs", "mapped"))
    return RootMounts(snapshots, plain, mapped)


def _volume_parts(
    config: Config, deps: container_deps.Deps, workers: ArchiveWorkers
) -> VolumeParts:
    transfers = Transfers(deps.volumes, workers, deps.spawner, deps.emit)
    copies = Copies(deps.volumes, deps.emit)
    transfers.freeze = copies.freeze = Freezing(deps).users_of_volume
    folder = os.path.join(config.data_root, "backups")
    backups = Backups(folder, deps.db, deps.volumes, transfers, deps.tasks, deps.emit)
    copies.is_scheduled = backups.has
    return VolumeParts(transfers, copies, backups)


async def _services(
    config: Config,
    events: EventBus,
    containers: Containers,
    programs: Programs,
    parts: VolumeParts,
) -> Services:
    deps = containers.deps
    host = read_host(config.data_root, programs.versions)
    engine_id = await _engine_id(deps.db)

    def health_of(container_id: str) -> str | None:
        health = containers.health.of(container_id)
        return None if health is None else health.status

    summaries = Summaries(
        deps.store,
        lambda container: shown_image(deps.images, container),
        health_of,
        deps.volumes.data_dir,
    )
    events.watch("image", summaries.images_changed)
    inventory = Inventory(config, host, deps.facts, engine_id, deps.store, deps.images)
    return Services(
        config=config,
        engine_id=engine_id,
        host=host,
        events=events,
        inventory=inventory,
        containers=containers,
        images=deps.images,
        volumes=deps.volumes,
        transfers=parts.transfers,
        copies=parts.copies,
        backups=parts.backups,
        network=deps.network,
        snapshots=deps.snapshots,
        summaries=summaries,
    )


async def _engine_id(db: Database) -> str:
    """The engine's own id, made at the first start."""
    known = db.get(_ENGINE, "id")
    if known is not None:
        return known.decode("ascii")
    fresh = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
    await db.put(_ENGINE, "id", fresh.encode("ascii"))
    return fresh


async def find_programs(config: Config, spawner: Spawner) -> Programs:
    """The programs beneath us. Raises: Internal saying what to install."""
    conmon = shutil.which("conmon", path=_PATH)
    if conmon is None:
        raise Internal("conmon was not found: install the package conmon")
    found = {name: shutil.which(name, path=_PATH) for name in _RUNTIMES}
    if config.default_runtime.startswith("/"):
        found[config.default_runtime] = config.default_runtime
    binaries = {
        name: await detect_binary(spawner, path) for name, path in found.items() if path is not None
    }
    if not binaries:
        raise Internal("no OCI runtime was found: install the package crun")
    default = config.default_runtime
    if default not in binaries:
        raise Internal(f"the default runtime {default} was not found: install it or choose another")
    versions = {
        "conmon": await _version_of(spawner, conmon),
        **{name: binary.version.partition(" ")[2] for name, binary in binaries.items()},
    }
    init = config.init_path or next(
        (path for name in _INITS if (path := shutil.which(name, path=_PATH))), None
    )
    return Programs(conmon, binaries, default, init, versions)


async def _version_of(spawner: Spawner, path: str) -> str:
    _, output = await spawner.run([path, "--version"], env=ENVIRONMENT)
    first = output.decode(errors="replace").partition("\n")[0]
    return first.rpartition(" ")[2]


def _network_options(config: Config, key: str) -> NetworkOptions:
    return NetworkOptions(
        exec_root=config.exec_root,
        key=key,
        bip=config.bip,
        pools=config.default_address_pools or DEFAULT_POOLS,
        default_pools=config.default_address_pools or DEFAULT_BRIDGE_POOLS,
        mtu=config.mtu or 1500,
        publish_address=config.ip,
        honour_host_firewall=config.honour_host_firewall,
    )


def _runtime_settings(config: Config, programs: Programs) -> RuntimeSettings:
    return RuntimeSettings(
        exec_root=config.exec_root,
        spill_dir=os.path.join(config.data_root, "spill"),
        conmon=programs.conmon,
        binaries=programs.runtimes,
        default_runtime=programs.default_runtime,
    )


def _own_cgroup(key: str) -> str:
    return f"/naru-{key}" if key else "/naru"


def _settings(
    config: Config, key: str, programs: Programs, facts: HostFacts, nofile: tuple[int, int]
) -> container_deps.Settings:
    cgroupns = config.default_cgroupns_mode
    inherited = {"nofile": nofile} if nofile[0] != nofile[1] else {}
    return container_deps.Settings(
        data_root=config.data_root,
        exec_root=config.exec_root,
        cgroup_parent=config.cgroup_parent or _own_cgroup(key),
        init_path=programs.init,
        default_log=LogConfig(type=config.log_driver, config=dict(config.log_opts)),
        default_runtime=programs.default_runtime,
        default_cgroupns=cgroupns or ("private" if facts.cgroup_version == 2 else "host"),
        default_shm_bytes=config.shm_bytes,
        default_ulimits={**inherited, **config.default_ulimits},
        dns=config.dns,
        dns_search=config.dns_search,
        dns_options=config.dns_opts,
        host_gateway=config.host_gateway_ip or None,
        init=config.init,
        no_new_privileges=config.no_new_privileges,
    )


def _seccomp_cache(config: Config, programs: Programs, facts: HostFacts) -> SeccompCache:
    version = programs.runtimes[programs.default_runtime].version
    folder = os.path.join(config.data_root, "seccomp")
    return SeccompCache(folder, version, facts.machine)
