"""POST /containers/create: from a request to a durable record with a snapshot and volumes.

Nothing is visible before the record is committed; what was made before that is undone when a step
fails, and collected at the next start when narud was killed.
"""

import logging
import os
import random
from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import InvalidParameter, NotFound
from naru.base.failpoints import declare
from naru.base.ids import NAME_RULE, is_name, new_id, short
from naru.base.undo import Undo
from naru.containers import joined, labels
from naru.containers.deps import Deps
from naru.containers.links import resolve_links
from naru.containers.log_options import log_limits
from naru.containers.merge import command_of, default_host_config, merge_config
from naru.containers.model import Container, MountPoint
from naru.containers.mounts import resolve_mounts
from naru.containers.names import random_name
from naru.containers.networking import request_of
from naru.containers.preparation import runtime_name
from naru.images.model import Image
from naru.kernel.files import remove_tree
from naru.kernel.threads import offload, offload_bulk
from naru.runtime import validate
from naru.runtime.facts import HostFacts
from naru.runtime.mounts import READONLY_PATHS
from naru.runtime.ocispec import masked_paths
from naru.runtime.resources import kept
from naru.runtime.validate_userns import check_user_namespace
from naru.spec.engine.container_config import (
    ContainerConfig,
    CreateRequest,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
)
from naru.storage.volumes.upkeep import copy_up

log = logging.getLogger("naru.containers")

AFTER_VOLUMES = declare("create.after-volumes")
AFTER_SNAPSHOT = declare("create.after-snapshot")
AFTER_COPY_UP = declare("create.after-copy-up")
AFTER_RECORD = declare("create.after-record")


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: list[str]


class Creator:
    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._rng = random.SystemRandom()

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None = None
    ) -> Created:
        """Raises: InvalidParameter, Unsupported, NotFound (image), Conflict (name)."""
        if not request.image:
            raise InvalidParameter("no image was named: the request needs a field Image")
        host_config, warnings = self._checked(request)
        links = resolve_links(self._deps.store, host_config)
        image = self._deps.images.resolve(request.image)
        check_platform(image, platform, request.image)
        container = self._record(new_id(), image, request, host_config)
        store = self._deps.store
        if name:
            name = name.removeprefix("/")
            if not is_name(name):
                raise InvalidParameter(
                    f"Invalid container name ({name}), only {NAME_RULE} are allowed"
                )
        else:
            name = random_name(store.name_is_taken, self._rng)
        store.reserve_name(name, container.id)
        async with Undo(f"create {name}") as undo:
            undo.push("name", lambda: store.release_name(name, container.id))
            container = replace(container, name=name, links=links)
            with self._deps.images.hold(image):
                await self._make(container, image, undo)
        self._deps.emit("container", "create", container.id, labels.of_event(container))
        return Created(container.id, warnings)

    def _checked(self, request: CreateRequest) -> tuple[HostConfig, list[str]]:
        """The host's side with its defaults, and warnings: all that needs no image to be judged."""
        deps, settings = self._deps, self._deps.settings
        given = request.host_config or HostConfig()
        given = replace(given, runtime=given.runtime or request.runtime)
        networking = request.networking_config or NetworkingConfig()
        host_config = default_host_config(
            given,
            runtime=settings.default_runtime,
            cgroupns=self._cgroupns(given),
            log=settings.default_log,
            shm_bytes=settings.default_shm_bytes,
        )
        warnings = validate.validate(_config_of(request), host_config, networking, deps.facts)
        host_config = kept(host_config, deps.facts)
        if deps.users.map_of(host_config) is not None:
            check_user_namespace(host_config, runtime_name(host_config) or settings.default_runtime)
        log_limits(host_config.log_config)
        if host_config.oom_kill_disable is None and deps.facts.cgroup_version == 1:
            host_config = replace(host_config, oom_kill_disable=False)
        host_config = joined.with_ids(host_config, deps.store.find)
        return _with_paths(host_config, deps.facts), warnings

    def _cgroupns(self, given: HostConfig) -> str:
        """Version 1 of cgroups leaves a privileged container in the host's cgroup namespace."""
        if given.privileged and self._deps.facts.cgroup_version == 1:
            return "host"
        return self._deps.settings.default_cgroupns

    def _record(
        self, identifier: str, image: Image, request: CreateRequest, host_config: HostConfig
    ) -> Container:
        deps = self._deps
        networking = request.networking_config or NetworkingConfig()
        config = merge_config(_config_of(request), image.run_config)
        config = replace(config, hostname=self._hostname(identifier, config, host_config))
        endpoints = {
            network: settings_ or EndpointSettings()
            for network, settings_ in (networking.endpoints_config or {}).items()
        }
        path, args = command_of(config)
        shares = host_config.network_mode.startswith(joined.PREFIX)
        if not endpoints and not shares:
            endpoints = {host_config.network_mode: EndpointSettings()}
        container = Container(
            id=identifier,
            name="",
            created_ns=now_ns(),
            image_id=image.id,
            config=config,
            host_config=host_config,
            path=path,
            args=args,
            mounts=resolve_mounts(host_config, config.volumes, deps.store.find),
            networks=endpoints if shares else deps.network.by_name(endpoints),
        )
        deps.network.membership.validate(request_of(deps, container, ""))
        return container if not shares else replace(container, networks={})

    def _hostname(self, identifier: str, config: ContainerConfig, host: HostConfig) -> str:
        if config.hostname:
            return config.hostname
        mode = host.network_mode
        if mode == "host" or host.uts_mode == "host":
            return self._deps.facts.hostname
        return short(identifier)

    async def _make(self, container: Container, image: Image, undo: Undo) -> None:
        deps = self._deps
        directory = deps.settings.container_dir(container.id)
        undo.push("directory", lambda: offload_bulk(remove_tree, directory))
        await offload(os.makedirs, directory, 0o710)
        container = await self._with_volumes(container, undo)
        made = [mount for mount in container.mounts if mount.type == "volume"]
        AFTER_VOLUMES()
        undo.push("snapshot", lambda: deps.snapshots.remove(container.id))
        await deps.snapshots.create(container.id, image.top_chain)
        container = await deps.image_mounts.pin(container, deps.images, undo)
        AFTER_SNAPSHOT()
        if any(not mount.no_copy for mount in made):
            await self._copy_up(container, made)
        AFTER_COPY_UP()
        undo.push("record", lambda: deps.store.forget(container.id))
        await deps.store.put(container, durable=True)
        AFTER_RECORD()
        if made:
            await deps.volumes.confirm(container.id)

    async def _with_volumes(self, container: Container, undo: Undo) -> Container:
        """Claim its volumes, made when missing; check the sources that `--mount` names."""
        for mount in container.mounts:
            checked = mount.type == "bind" and "create" not in mount.options
            if checked and not os.path.lexists(mount.source):
                raise InvalidParameter(
                    'invalid mount config for type "bind": bind source path does not exist: '
                    f"{mount.source}"
                )
        if all(mount.type != "volume" for mount in container.mounts):
            return container
        undo.push("volumes", lambda: self._deps.volumes.withdraw(container.id))
        mounts = [await self._with_volume(container.id, mount) for mount in container.mounts]
        return replace(container, mounts=tuple(mounts))

    async def _with_volume(self, identifier: str, mount: MountPoint) -> MountPoint:
        if mount.type != "volume":
            return mount
        labelled = dict(mount.labels or {})
        if mount.anonymous:
            labelled["com.docker.volume.anonymous"] = ""
        volume = await self._deps.volumes.create(
            mount.name, mount.driver, mount.driver_opts, labelled or None, pending_for=identifier
        )
        return replace(mount, driver=volume.driver)

    async def _copy_up(self, container: Container, mounts: list[MountPoint]) -> None:
        """First use of an empty volume: it gets what the image holds at its destination."""
        deps = self._deps
        async with deps.roots.visit(container.id, None) as rootfs:  # volumes keep the files' ids
            for mount in mounts:
                if mount.type == "volume" and not mount.no_copy and not mount.subpath:
                    await copy_up(deps.volumes, mount.name, rootfs, mount.destination)


def _with_paths(host: HostConfig, facts: HostFacts) -> HostConfig:
    """The default masked and read-only paths written down, as `inspect` shows them."""
    if host.privileged:
        return host
    readonly = host.readonly_paths
    return replace(
        host,
        masked_paths=list(masked_paths(host, facts)),
        readonly_paths=list(READONLY_PATHS) if readonly is None else readonly,
    )


def _config_of(request: CreateRequest) -> ContainerConfig:
    names = ContainerConfig.__struct_fields__
    config = ContainerConfig(**{name: getattr(request, name) for name in names})
    if config.exposed_ports is not UNSET and config.exposed_ports:
        ports = {_with_protocol(port): value for port, value in config.exposed_ports.items()}
        config = replace(config, exposed_ports=ports)
    return config


def _with_protocol(port: str) -> str:
    return port if "/" in port else f"{port}/tcp"


def check_platform(image: Image, platform: str | None, shown: str) -> None:
    """Raises: NotFound when the image is not of the platform that was asked for."""
    if not platform:
        return
    wanted = platform.split("/")
    have = [image.config.os, image.config.architecture, image.config.variant]
    for index, part in enumerate(wanted):
        if part and index < len(have) and have[index] and part.lower() != have[index].lower():
            found = "/".join(filter(None, have))
            raise NotFound(
                f"image with reference {shown} was found but its platform ({found}) does not "
                f"match the specified platform ({platform})"
            )
