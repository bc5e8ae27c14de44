"""The start of a container: one linear recipe, each step with its undo. And its reverse, `clear`.

    mount the root file system → attach the network → prepare files, mounts and the OCI spec →
    create (conmon and the runtime; the workload waits) → record the intent → let it go

What a killed narud leaves of a start is found by `reconcile` and cleared with the same `clear`.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Awaitable

import msgspec
from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import NaruError
from naru.base.failpoints import declare
from naru.base.undo import Undo
from naru.containers import state
from naru.containers.deps import Deps
from naru.containers.etc import read_host_resolv_conf
from naru.containers.joined import PREFIX
from naru.containers.links import first_address, tell_linking
from naru.containers.log_options import LOG_FILE, log_limits
from naru.containers.model import Container, Intent, State
from naru.containers.networking import request_of
from naru.containers.owner import owner_of
from naru.containers.preparation import (
    Preparation,
    prepare,
    running_other,
    runtime_name,
)
from naru.kernel.files import remove_tree
from naru.kernel.mount import mounts_below, unmount
from naru.kernel.threads import offload
from naru.kernel.userns import Mapped, map_of_process
from naru.network.model import Attachment, AttachRequest
from naru.runtime.runtime import Launch, Launched
from naru.runtime.validate_userns import check_user_namespace

log = logging.getLogger("naru.containers")

START_MOUNTED = declare("start.mounted")
START_ATTACHED = declare("start.attached")
START_PREPARED = declare("start.prepared")
START_CREATED = declare("start.created")
START_INTENT = declare("start.intent-recorded")
START_RUNNING = declare("start.running")


class Recipe:
    """Until `settled` nothing is known of earlier runs, and `clear` looks everywhere; from then on
    only at containers of which something was made."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._runs: set[str] = set()
        self._guests: dict[str, set[str]] = {}  # who lives in a container's network sandbox
        self._settled = False

    def settled(self) -> None:
        """What an earlier narud left is adopted or cleared."""
        self._settled = True

    def suspect(self, identifier: str) -> None:
        """Something of a run may be left: the next `clear` looks."""
        self._runs.add(identifier)

    async def adopt(self, container: Container) -> None:
        """A container that runs since before this narud, with the ids that it has."""
        self._runs.add(container.id)
        self._deps.roots.adopt(container.id, await self._ids_of_run(container))
        self.expect_guest(container)

    def expect_guest(self, container: Container) -> None:
        """A container whose record says that it runs may live in another one's sandbox."""
        if container.state.status in ("running", "paused"):
            host = host_of(self._deps, container)
            if host is not None:
                self._guests.setdefault(host.id, set()).add(container.id)

    def forget_guests(self) -> None:
        """What records said is known better now."""
        self._guests.clear()

    def has_guests(self, identifier: str) -> bool:
        """Whether others live in this container's network sandbox: it outlives its own run."""
        return bool(self._guests.get(identifier))

    async def _ids_of_run(self, container: Container) -> Mapped | None:
        users = self._deps.users
        try:
            id_map = await offload(map_of_process, container.state.pid)
        except (OSError, ValueError):  # it has ended meanwhile
            return None
        return await users.hold(id_map)

    async def launch(self, container: Container) -> Container:
        """Start the workload; the record of the running container, not stored yet.

        Raises: StartFailed, Conflict (port in use, shared namespace gone), other NaruErrors.
        """
        deps = self._deps
        container = self._named_as_joined(container)
        async with Undo(f"start {container.name}") as undo:
            undo.push("clear", lambda: self.clear(container.id))
            self._runs.add(container.id)
            mapped = await self._ids_for(container)
            await deps.roots.hold_for_run(container.id, mapped)
            await deps.image_mounts.hold_all(container, mapped)
            START_MOUNTED()
            attachment = await self._attach(container, mapped)
            START_ATTACHED()
            await tell_linking(deps, container.id, first_address(attachment.endpoints))
            ready = await prepare(deps, container, attachment, mapped)
            START_PREPARED()
            self._tell_mounted(container)
            intent = _intent(container, attachment)
            launched = await deps.runtime.create(self._launch_of(container, ready, intent))
            START_CREATED()
            await self._learn_seccomp(container, ready)
            running = _running(intended(container, intent), launched)
            await self._record_intent(running)
            START_INTENT()
            await deps.runtime.start(container.id)
            START_RUNNING()
        return replace(running, state=replace(running.state, started_ns=now_ns()))

    def _named_as_joined(self, container: Container) -> Container:
        """A container in another one's network has that one's host name, which /etc/hosts knows."""
        mode = container.host_config.network_mode
        if not mode.startswith("container:"):
            return container
        other = running_other(self._deps, mode, "join network namespace of").config
        config = replace(container.config, hostname=other.hostname, domainname=other.domainname)
        return replace(container, config=config)

    async def _ids_for(self, container: Container) -> Mapped | None:
        """The host's ids that it gets. Raises: InvalidParameter when it cannot have them."""
        mapped = await self._deps.users.of(container.host_config)
        if mapped is not None:
            runtime = runtime_name(container.host_config) or self._deps.settings.default_runtime
            check_user_namespace(container.host_config, runtime)
        return mapped

    async def _attach(self, container: Container, mapped: Mapped | None) -> Attachment:
        mode = container.host_config.network_mode
        owner = owner_of(self._deps, container, mapped.id_map if mapped is not None else None)
        if mode.startswith("container:"):
            other = running_other(self._deps, mode, "join network namespace of")
            self._guests.setdefault(other.id, set()).add(container.id)
            return Attachment(
                AttachRequest(container.id, container.name, network_mode=mode),
                other.sandbox_path or None,
                owner_path=owner.path if owner is not None else "",
            )
        host_resolv_conf = await offload(read_host_resolv_conf)
        request = request_of(self._deps, container, host_resolv_conf)
        return await self._deps.network.membership.attach(dataclasses.replace(request, owner=owner))

    def _launch_of(self, container: Container, ready: Preparation, intent: Intent) -> Launch:
        settings = self._deps.settings
        has_log = container.host_config.log_config.type != "none"
        config = container.config
        return Launch(
            container_id=container.id,
            spec=ready.spec,
            cgroup=ready.cgroup,
            log_path=os.path.join(settings.container_dir(container.id), LOG_FILE)
            if has_log
            else None,
            tty=config.tty,
            stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            runtime=runtime_name(container.host_config),
            stdio_owner=ready.stdio_owner,
            note=msgspec.json.encode(intent),
        )

    async def _learn_seccomp(self, container: Container, ready: Preparation) -> None:
        """The runtime compiled a filter that was not in the cache: keep it for the next start."""
        if ready.seccomp_key is not None:
            state_dir = self._deps.runtime.runtime_state_dir(container.id)
            await offload(self._deps.seccomp.learn, ready.seccomp_key, state_dir)

    async def _record_intent(self, running: Container) -> None:
        """That it was started survives even a power cut when a policy wants it up after one."""
        previous = self._deps.store.get(running.id)
        if previous is not None and running.host_config.restart_policy.name not in ("", "no"):
            await self._deps.store.put(replace(running, state=previous.state), durable=True)

    def track_log(self, container: Container) -> None:
        """From now on its log is rotated, and followers are woken."""
        config = container.host_config.log_config
        if config.type != "none":
            path = os.path.join(self._deps.settings.container_dir(container.id), LOG_FILE)
            bundle = self._deps.runtime.bundle(container.id)
            self._deps.logs.track(bundle, path, log_limits(config))

    async def clear(self, identifier: str) -> None:
        """Take away all that a run made: processes, cgroup, network, mounts. Idempotent."""
        deps = self._deps
        if self._settled and identifier not in self._runs:
            deps.runtime.release_clients(identifier)
            return
        mapped = deps.roots.mapped(identifier) is not None
        await deps.runtime.delete(identifier)
        deps.logs.ended(identifier)
        container = deps.store.get(identifier)
        for mount in container.mounts if container is not None else ():
            if mount.type == "volume" and await deps.volumes.release(mount.name, identifier):
                told = {"container": identifier, "driver": mount.driver or "local"}
                deps.emit("volume", "unmount", mount.name, told)
        steps: list[Awaitable[None]] = [
            self._leave_network(identifier),
            deps.roots.release_run(identifier),
        ]
        if container is not None:
            steps.append(deps.image_mounts.release_all(container))
        if container is None or not self._settled or has_extras(container, mapped):
            steps.append(offload(self._unmount_extras, identifier))
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        if not self.has_guests(identifier):
            self._runs.discard(identifier)

    async def _leave_network(self, identifier: str) -> None:
        """Its sandbox goes, unless others live in it: then it goes with the last of them."""
        membership, store = self._deps.network.membership, self._deps.store
        container = store.get(identifier)
        if self.has_guests(identifier) and container and container.state.status != "removing":
            membership.park(identifier)
            return
        await membership.detach(identifier)
        self._guests.pop(identifier, None)
        for host, guests in list(self._guests.items()):
            guests.discard(identifier)
            if not guests:
                del self._guests[host]
                owner = store.get(host)
                if owner is None or owner.state.status not in ("running", "paused"):
                    await membership.detach(host)

    def _tell_mounted(self, container: Container) -> None:
        for mount in container.mounts:
            if mount.type == "volume":
                told = {
                    "container": container.id,
                    "destination": mount.destination,
                    "driver": mount.driver or "local",
                    "propagation": mount.propagation,
                    "read/write": "true" if mount.rw else "false",
                }
                self._deps.emit("volume", "mount", mount.name, told)

    def _unmount_extras(self, identifier: str) -> None:
        """The shared /dev/shm and the bound parts of volumes, where there are any."""
        settings = self._deps.settings
        for path in (settings.shm_dir(identifier), settings.subpath_dir(identifier)):
            if os.path.lexists(path):
                for target in (*mounts_below(path), path):
                    unmount(target)
                remove_tree(path)


def host_of(deps: Deps, container: Container) -> Container | None:
    """The container whose network sandbox this one lives in."""
    mode = container.host_config.network_mode
    if not mode.startswith(PREFIX):
        return None
    with contextlib.suppress(NaruError):
        return deps.store.find(mode.removeprefix(PREFIX))
    return None


def has_extras(container: Container, mapped: bool) -> bool:
    """Whether a run makes mounts beside its root file system; `mapped`: with ids of its own."""
    shares = container.host_config.ipc_mode == "shareable"
    return shares or any(
        mount.subpath or (mapped and mount.type == "volume") for mount in container.mounts
    )


def _intent(container: Container, attachment: Attachment) -> Intent:
    return Intent(
        networks=dict(attachment.endpoints),
        ports=dict(attachment.ports),
        interfaces=dict(attachment.interfaces),
        sandbox_path=attachment.sandbox_path or "",
        restart_count=container.restart_count,
        stopped_by_user=container.stopped_by_user,
    )


def intended(container: Container, intent: Intent) -> Container:
    """The record with what a start decided; its state is still to be observed."""
    return replace(
        container,
        networks=intent.networks,
        ports=intent.ports,
        interfaces=intent.interfaces,
        sandbox_path=intent.sandbox_path,
        restart_count=intent.restart_count,
        stopped_by_user=intent.stopped_by_user,
        started_once=True,
    )


def _running(container: Container, launched: Launched) -> Container:
    observed = State(
        pid=launched.process.pid,
        pid_start=launched.process.start,
        monitor_pid=launched.monitor.pid,
        monitor_start=launched.monitor.start,
        started_ns=now_ns(),
        finished_ns=container.state.finished_ns,
    )
    return state.apply(container, "start", observed)
