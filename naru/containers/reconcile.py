"""What a new narud finds: records, processes and leftovers brought together, once, at start.

For each container the record and the runtime may disagree, because the last narud was killed
between two steps. The rules, in order:

    record removing                          → the removal is finished
    runtime running                          → adopted: watched again, whatever the record says
    runtime stopped, record running, or      → its end is recorded as if it had been seen
      none yet of this run
    runtime stopped, record ended            → its end was recorded, and is told now; cleared
    runtime created or broken, or none       → the run is cleared; a record that said running ended,
                                               with an exit status that nobody knows
    no record                                → whatever exists under that id is removed
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from naru.base.clock import now_ns
from naru.base.errors import NaruError
from naru.containers import labels, restart, state
from naru.containers.deps import Deps
from naru.containers.etc import read_host_resolv_conf
from naru.containers.image_mounts import keys_of
from naru.containers.lifecycle import Lifecycle
from naru.containers.model import UNKNOWN_EXIT_CODE, Container, Intent, State
from naru.containers.networking import attachment_of
from naru.containers.order import needed_by, waits_of
from naru.containers.remove import Remover
from naru.containers.start import Recipe, host_of, intended
from naru.kernel.files import remove_tree
from naru.kernel.threads import offload, offload_bulk
from naru.network.model import Attachment
from naru.runtime.runtime import ContainerState

log = logging.getLogger("naru.containers")

_LOST = "the host or its runtime state went away: the exit status is unknown"


class Reconciler:
    def __init__(self, deps: Deps, lifecycle: Lifecycle, recipe: Recipe, remover: Remover) -> None:
        self._deps, self._lifecycle = deps, lifecycle
        self._recipe, self._remover = recipe, remover

    async def reconcile(self) -> list[str]:
        """Bring everything together; ids of the containers whose policy wants a start now."""
        deps = self._deps
        found = {item.container_id: item for item in await offload(deps.runtime.states)}
        wanted: list[str] = []
        adopted: dict[str, Container] = {}
        for container in deps.store:
            self._recipe.expect_guest(container)
        for container in deps.store:
            seen = found.pop(container.id, None)
            try:
                if await self._one(container, seen, adopted):
                    wanted.append(container.id)
            except (NaruError, OSError):
                self._recipe.suspect(container.id)
                log.exception("container %s could not be brought up to date", container.name)
        self._recipe.forget_guests()
        for container in adopted.values():
            await self._recipe.adopt(container)
            self._adopt_mounts(container)
        await deps.network.reconcile(await self._attachments(adopted))
        for container in adopted.values():
            host = host_of(deps, container)
            if host is not None and host.id not in adopted:
                deps.network.membership.park(host.id)
        for container in adopted.values():
            self._lifecycle.watch(container)
            self._lifecycle.tell_names(container)
        await self._sweep(found, set(adopted))
        self._recipe.settled()
        return wanted

    async def _one(
        self,
        container: Container,
        seen: ContainerState | None,
        adopted: dict[str, Container],
    ) -> bool:
        was_running = container.state.status in ("running", "paused")
        if container.state.status == "removing":
            await self._remover.finish(container)
            return False
        if seen is not None and _has_run(container, seen):
            adopted[container.id] = await self._adopt(container, seen)
            return False
        waiting = container.state.status == "restarting"
        if was_running:
            container = await self._lost(container)
        elif seen is not None and _ended_untold(container, seen):
            self._tell_end(container)
        again = restart.at_engine_start(
            container.host_config.restart_policy,
            started_once=container.started_once,
            was_running=was_running or waiting,
            exit_code=container.state.exit_code,
            restart_count=container.restart_count,
            stopped_by_user=container.stopped_by_user,
        )
        if waiting:  # the start that it waited for counts
            count = container.restart_count + again
            container = replace(state.apply(container, "give-up"), restart_count=count)
            await self._deps.store.put(container)
        if seen is not None:
            await self._recipe.clear(container.id)
        return again

    async def _adopt(self, container: Container, seen: ContainerState) -> Container:
        """The record that fits what runs (or has just ended: watching it then ends the run)."""
        assert seen.process is not None and seen.monitor is not None
        observed = container.state
        if observed.status != "paused" and seen.status == "running":
            await self._deps.runtime.resume(container.id)  # an interrupted commit froze it
        if observed.pid == seen.process.pid and observed.status in ("running", "paused"):
            return container
        observed = State(
            pid=seen.process.pid,
            pid_start=seen.process.start,
            monitor_pid=seen.monitor.pid,
            monitor_start=seen.monitor.start,
            started_ns=seen.launched_ns,
            finished_ns=observed.finished_ns,
        )
        container = state.apply(_with_note(container, seen.note), "start", observed)
        await self._deps.store.put(container)
        return container

    def _adopt_mounts(self, container: Container) -> None:
        for key in keys_of(container):
            self._deps.image_mounts.adopt(key, self._deps.roots.mapped(container.id))
        for mount in container.mounts:
            if mount.type == "volume":
                self._deps.volumes.adopt(mount.name, container.id)

    async def _lost(self, container: Container) -> Container:
        ended = State(
            exit_code=UNKNOWN_EXIT_CODE,
            exit_known=False,
            error=_LOST,
            oom_killed=container.state.oom_killed,
            started_ns=container.state.started_ns,
            finished_ns=now_ns(),
        )
        container = replace(state.apply(container, "exit", ended), ports={}, sandbox_path="")
        await self._deps.store.put(container)
        self._tell_end(container)
        return container

    def _tell_end(self, container: Container) -> None:
        code = str(container.state.exit_code)
        told = labels.of_event(container, exitCode=code)
        self._deps.emit("container", "die", container.id, told)

    async def _attachments(self, adopted: Mapping[str, Container]) -> dict[str, Attachment]:
        host_resolv_conf = await offload(read_host_resolv_conf)
        kept = dict(adopted)
        for guest in adopted.values():  # a sandbox outlives its container for those in it
            host = host_of(self._deps, guest)
            if host is not None and host.id not in kept:
                kept[host.id] = replace(
                    host, ports=host.parked_ports, sandbox_path=guest.sandbox_path
                )
        found = {}
        for identifier, container in kept.items():
            try:
                found[identifier] = attachment_of(self._deps, container, host_resolv_conf)
            except NaruError as error:
                log.error("network of container %s: %s", container.name, error)
        return found

    async def _sweep(self, orphans: Iterable[str], adopted: set[str]) -> None:
        """Remove what belongs to no record, and mounts of containers that do not run."""
        deps = self._deps
        for identifier in orphans:
            log.warning("removing what is left of container %s, which has no record", identifier)
            await self._recipe.clear(identifier)
        for name in await offload(_mounted, deps.settings.exec_root):
            if name not in adopted:
                await self._recipe.clear(name)
        for name in await offload(_names, os.path.join(deps.settings.exec_root, "images")):
            if name.partition(".")[0] not in adopted:
                await deps.image_mounts.release_run(name)
        directory = os.path.join(deps.settings.data_root, "containers")
        for name in await offload(_names, directory):
            if deps.store.get(name) is None and name not in deps.store.damaged:
                await offload_bulk(remove_tree, os.path.join(directory, name))
        await deps.volumes.collect_garbage([container.id for container in deps.store])
        for container in deps.store:
            if container.state.status == "exited" and container.host_config.auto_remove:
                self._remover.auto_remove(container.id)

    async def start_wanted(self, wanted: list[str]) -> None:
        """Start what its restart policy wants up, a few at a time, each after those it needs."""
        gate = asyncio.Semaphore(4)
        tried = {identifier: asyncio.Event() for identifier in wanted}
        waits = waits_of({identifier: self._needed_by(identifier) for identifier in wanted})

        async def one(identifier: str) -> None:
            try:
                for other in waits[identifier]:
                    await tried[other].wait()
                async with gate:
                    await self._lifecycle.restart_at_engine_start(identifier)
            finally:
                tried[identifier].set()

        async with asyncio.TaskGroup() as group:
            for identifier in wanted:
                group.create_task(one(identifier))

    def _needed_by(self, identifier: str) -> list[str]:
        store = self._deps.store
        container = store.get(identifier)
        needed = []
        for ref in needed_by(container) if container is not None else ():
            with contextlib.suppress(NaruError):
                needed.append(store.find(ref).id)
        return needed


def _has_run(container: Container, seen: ContainerState) -> bool:
    """Whether what was found is a run that the record says, or has yet to say, goes on."""
    if seen.status == "stopped":
        untold = seen.let_go and seen.finished_ns > container.state.finished_ns
        return untold or container.state.status in ("running", "paused")
    return seen.status == "running"


def _with_note(container: Container, note: bytes) -> Container:
    """The record of a start that could not be recorded, as far as its launch tells."""
    with contextlib.suppress(msgspec.MsgspecError):
        return intended(container, msgspec.json.decode(note, type=Intent))
    return replace(container, started_once=True)


def _ended_untold(container: Container, seen: ContainerState) -> bool:
    """Whether the record has the end of the run that was found, which was not wholly cleared."""
    return 0 < seen.finished_ns <= container.state.finished_ns


def _mounted(exec_root: str) -> list[str]:
    """Ids of the containers of which a mount may be left."""
    folders = ("rootfs", "mapped", "shm", "subpaths")
    found = {name for folder in folders for name in _names(os.path.join(exec_root, folder))}
    return sorted(found)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
