"""Start, stop, kill, restart, pause: what people and policies do to a container, in order.

One lock per container orders the changes of its record. Nothing that waits for a workload (stop's
grace period, a restart's back-off) holds it, so `kill` always gets through. Every running container
has one watching task, which ends the run when the workload has ended.
"""

import asyncio
import contextlib
import logging
import signal as signals
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.clock import NS
from naru.base.errors import Conflict, NaruError, NotFound, NotModified, StartFailed
from naru.base.failpoints import declare
from naru.base.undo import run_to_end
from naru.containers import labels, restart, state
from naru.containers.deps import Deps
from naru.containers.health import Health, HealthMonitor, HealthStatus
from naru.containers.model import Container, State
from naru.containers.networking import follows_health
from naru.containers.oom import tell_ooms
from naru.containers.signals import parse_signal
from naru.containers.start import Recipe
from naru.containers.waits import Waits
from naru.kernel.process import ProcessId
from naru.runtime.exits import Exit

log = logging.getLogger("naru.containers")

EXIT_SEEN = declare("exit.seen")
EXIT_RECORDED = declare("exit.recorded")
EXIT_CLEARED = declare("exit.cleared")

T = TypeVar("T")

_ALIVE = frozenset({"running", "paused"})
_KILL_WAIT_S = 2.0
_UNKNOWN_EXIT = "the monitor was killed or could not tell: the exit status is unknown"


class Lifecycle:
    """`auto_remove` is called (as a task) for a container whose `--rm` is due."""

    def __init__(self, deps: Deps, recipe: Recipe, waits: Waits) -> None:
        self._deps, self._recipe, self._waits = deps, recipe, waits
        self.health: HealthMonitor | None = None
        self.auto_remove: Callable[[str], None] = lambda _identifier: None
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._last_wait_s: dict[str, float] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._starting_again: Counter[str] = Counter()

    # --- start -----------------------------------------------------------------------------------

    async def start(self, ref: str) -> None:
        """Raises: NotFound, NotModified when it runs, Conflict, StartFailed."""
        container = self._deps.store.find(ref)
        self._cancel_restart(container.id)
        self._last_wait_s.pop(container.id, None)
        async with self._deps.store.lock(container.id):
            container = self._deps.store.find(container.id)
            if container.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.state.status == "running":
                raise NotModified(f"container {container.name} is already running")
            if not state.allowed(container.state.status, "start"):
                raise Conflict(
                    "container is marked for removal and cannot be started"
                    if container.state.status in ("removing", "dead")
                    else f"container {container.name} is {container.state.status}"
                )
            await self._start_locked(replace(container, restart_count=0, stopped_by_user=False))

    async def _start_locked(self, container: Container) -> None:
        try:
            running = await self._recipe.launch(container)
        except StartFailed as error:
            await self._start_failed(container, error.exit_code, error.message)
            raise
        except NaruError as error:
            await self._start_failed(container, 128, error.message)
            raise
        except OSError as error:  # a full disk, no descriptors: whoever waits must hear of it
            await self._start_failed(container, 128, str(error))
            raise
        await self._deps.store.observe(running)
        self._deps.emit("container", "start", running.id, labels.of_event(running))
        self.watch(running)

    async def _start_failed(self, container: Container, code: int, message: str) -> None:
        observed = replace(
            container.state, exit_code=code, error=message, pid=0, pid_start=0, finished_ns=0
        )
        failed = state.apply(container, "start-failed", observed)
        await self._deps.store.observe(failed)
        self._waits.exited(failed)
        if failed.host_config.auto_remove:
            self.auto_remove(failed.id)

    # --- the end of a run ------------------------------------------------------------------------

    def watch(self, container: Container) -> None:
        """Begin to watch a running container's end (after start, and at adoption)."""
        self._ended[container.id] = asyncio.Event()
        self._recipe.track_log(container)
        self._deps.tasks.spawn(f"watch {container.id[:12]}", self._watch(container))

    async def _watch(self, container: Container) -> None:
        identifier = container.id
        observed = container.state
        async with contextlib.AsyncExitStack() as beside:
            telling = self._deps.tasks.spawn(
                f"oom {identifier[:12]}", tell_ooms(self._deps, identifier)
            )
            beside.callback(telling.cancel)
            if self.health is not None and container.config.healthcheck is not UNSET:
                probing = self._deps.tasks.spawn(
                    f"health {identifier[:12]}", self.health.watch(container)
                )
                beside.callback(probing.cancel)
            ended = await patiently(
                f"waiting for {identifier[:12]}",
                lambda: self._deps.runtime.wait_exit(
                    identifier,
                    ProcessId(observed.monitor_pid, observed.monitor_start),
                    ProcessId(observed.pid, observed.pid_start),
                ),
            )

        if ended is None:
            return

        async def end() -> None:
            EXIT_SEEN()
            async with self._deps.store.lock(identifier):
                await run_to_end(self._end_run(identifier, ended))

        await patiently(f"the end of {identifier[:12]}", end)

    async def _end_run(self, identifier: str, ended: Exit) -> None:
        """Record the end, clear the run, decide on a restart. The lock is held.

        Clearing takes away what tells how the run ended, so the record is on disk before; it is
        told after, when the run's name, address and ports are free.
        """
        store = self._deps.store
        container = store.get(identifier)
        if container is None or container.state.status not in _ALIVE:
            return
        if ended.oom and not container.state.oom_killed:  # else it was told when it happened
            self._deps.emit("container", "oom", identifier, labels.of_event(container))
        ran_s = max(0.0, (ended.finished_ns - container.state.started_ns) / NS)
        verdict = restart.after_exit(
            container.host_config.restart_policy,
            exit_code=ended.code,
            ran_s=ran_s,
            restart_count=container.restart_count,
            last_wait_s=self._last_wait_s.get(identifier, 0.0),
            stopped_by_user=container.stopped_by_user,
        )
        event = "exit-restart" if verdict.restart else "exit"
        after = state.apply(container, event, _ended_state(container.state, ended))
        parked = container.ports if self._recipe.has_guests(identifier) else {}
        after = replace(after, ports={}, sandbox_path="", parked_ports=parked)
        await store.observe_ahead(after)
        try:
            EXIT_RECORDED()
            await self._recipe.clear(identifier)
            EXIT_CLEARED()
        except (NaruError, OSError) as error:
            log.error("run of %s is not wholly cleared, trying again: %s", identifier[:12], error)
            self._deps.tasks.spawn(f"clear {identifier[:12]}", self._clear_later(identifier))
        await store.observe(after)
        self._tell_end(after, verdict, ran_s)

    def _tell_end(self, container: Container, verdict: restart.Verdict, ran_s: float) -> None:
        """Tell the world and whoever waits; then what the policy says."""
        code = str(container.state.exit_code)
        attributes = labels.of_event(container, exitCode=code, execDuration=str(int(ran_s)))
        self._deps.emit("container", "die", container.id, attributes)
        self._waits.exited(container)
        self._ended.pop(container.id, asyncio.Event()).set()
        if verdict.restart:
            self._restart_later(container, verdict.wait_s)
        elif container.host_config.auto_remove and container.id not in self._starting_again:
            self.auto_remove(container.id)

    async def _clear_later(self, identifier: str) -> None:
        async def clear() -> None:
            async with self._deps.store.lock(identifier):
                container = self._deps.store.get(identifier)
                if container is None or container.state.status not in _ALIVE:
                    await self._recipe.clear(identifier)

        await patiently(f"clearing {identifier[:12]}", clear)

    def _restart_later(self, container: Container, wait_s: float) -> None:
        self._last_wait_s[container.id] = wait_s
        self._restarts[container.id] = self._deps.tasks.spawn(
            f"restart {container.id[:12]}", self._restart(container.id, wait_s)
        )

    async def _restart(self, identifier: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        async with self._deps.store.lock(identifier):
            if self._restarts.get(identifier) is not asyncio.current_task():
                return  # another end has come since, with another wait
            del self._restarts[identifier]
            container = self._deps.store.get(identifier)
            if container is None or container.state.status != "restarting":
                return
            again = replace(container, restart_count=container.restart_count + 1)
            try:
                await self._start_locked(again)
            except (NaruError, OSError) as error:
                log.warning("restart of %s failed: %s", container.name, error)

    def _cancel_restart(self, identifier: str) -> bool:
        task = self._restarts.pop(identifier, None)
        if task is None or task.done():
            return False
        task.cancel()
        return True

    async def restart_at_engine_start(self, identifier: str) -> None:
        """Start a container whose policy wants it up; a failure is recorded, not raised."""
        async with self._deps.store.lock(identifier):
            container = self._deps.store.get(identifier)
            if container is None or not state.allowed(container.state.status, "start"):
                return
            try:
                await self._start_locked(container)
            except (NaruError, OSError) as error:
                log.warning("start of %s by its restart policy failed: %s", container.name, error)

    # --- stop, kill, restart ---------------------------------------------------------------------

    async def stop(
        self, ref: str, timeout_s: float | None = None, signal: str | None = None
    ) -> None:
        """Ask, wait, insist. `timeout_s` below 0 waits for ever. Raises: NotFound, NotModified."""
        number = parse_signal(signal) if signal else None
        container = self._deps.store.find(ref)
        if container.state.status == "restarting":
            await self._give_up(container.id)
        elif container.state.status not in _ALIVE:
            raise NotModified(f"container {container.name} is not running")
        if self._is_alive(container.id):
            await self._stop_running(container, timeout_s, number)
        stopped = self._deps.store.get(container.id) or container
        self._deps.emit("container", "stop", container.id, labels.of_event(stopped))

    def _is_alive(self, identifier: str) -> bool:
        container = self._deps.store.get(identifier)
        return container is not None and container.state.status in _ALIVE

    async def _give_up(self, identifier: str) -> None:
        """No further restart, unless it has just begun: then it is alive."""
        self._cancel_restart(identifier)
        async with self._deps.store.lock(identifier):
            container = self._deps.store.get(identifier)
            if container is not None and container.state.status == "restarting":
                await self._give_up_locked(container)

    async def _give_up_locked(self, container: Container) -> None:
        self._cancel_restart(container.id)
        given_up = replace(state.apply(container, "give-up"), stopped_by_user=True)
        await self._deps.store.put(given_up, durable=True)
        self._waits.exited(given_up)

    async def _stop_running(
        self, container: Container, timeout_s: float | None, number: int | None
    ) -> None:
        config = container.config
        if number is None:
            number = parse_signal(config.stop_signal or "SIGTERM")
        if timeout_s is None:
            configured = config.stop_timeout
            timeout_s = (
                self._deps.settings.stop_timeout_s
                if configured is UNSET or configured is None
                else configured
            )
        await self._mark_stopped_by_user(container.id)
        ended = self._ended.get(container.id)
        await self._signal(container.id, number)
        if ended is None or await _within(ended, None if timeout_s < 0 else timeout_s):
            return
        await self._signal(container.id, signals.SIGKILL)
        await self._insist(container.id, ended)

    async def _insist(self, identifier: str, ended: asyncio.Event) -> None:
        """Wait for the end of a killed workload; processes outside its pid namespace are killed."""
        if not await _within(ended, _KILL_WAIT_S):
            with contextlib.suppress(Conflict):
                await self._deps.runtime.kill_all(identifier)
            await ended.wait()

    async def _mark_stopped_by_user(self, identifier: str) -> None:
        """Durable: a policy must not start it again, not even after a reboot."""
        async with self._deps.store.lock(identifier):
            container = self._deps.store.get(identifier)
            if container is not None and container.state.status == "restarting":
                await self._give_up_locked(container)  # its run ended while the lock was waited for
            elif container is not None and not container.stopped_by_user:
                policy = container.host_config.restart_policy.name
                await self._deps.store.put(
                    replace(container, stopped_by_user=True), durable=policy not in ("", "no")
                )

    async def _signal(self, identifier: str, number: int) -> None:
        container = self._deps.store.get(identifier)
        if container is None or container.state.status not in _ALIVE:
            return
        process = ProcessId(container.state.pid, container.state.pid_start)
        self._deps.runtime.kill(process, number)
        self._deps.emit(
            "container", "kill", identifier, labels.of_event(container, signal=str(number))
        )
        if container.state.status == "paused" or number == signals.SIGKILL:
            # Frozen processes do not even die; a commit freezes without the record saying so.
            with contextlib.suppress(Conflict):  # it has just ended
                await self._deps.runtime.resume(identifier)
        if container.state.status == "paused":
            with contextlib.suppress(Conflict, NotFound):
                await self.unpause(identifier)

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        """Send a signal; for SIGKILL, return once the workload has ended. Raises: Conflict."""
        number = parse_signal(signal)
        container = self._deps.store.find(ref)
        if container.state.status == "restarting" and number == signals.SIGKILL:
            await self._give_up(container.id)
            if not self._is_alive(container.id):
                return
            container = self._deps.store.find(container.id)
        if container.state.status not in _ALIVE:
            raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
        stop_signal = parse_signal(container.config.stop_signal or "SIGTERM")
        ended = self._ended.get(container.id)
        if number in (signals.SIGKILL, stop_signal):
            await self._mark_stopped_by_user(container.id)
        await self._signal(container.id, number)
        if number == signals.SIGKILL and ended is not None:
            await self._insist(container.id, ended)

    async def end(self, container: Container) -> None:
        """Kill whatever runs of it and wait: for removal with force."""
        if container.state.status == "restarting":
            await self._give_up(container.id)
        if self._is_alive(container.id):
            await self.kill(container.id)

    async def restart(
        self, ref: str, timeout_s: float | None = None, signal: str | None = None
    ) -> None:
        """Stop and start; what has `--rm` stays. Raises: as `stop` and `start`."""
        container = self._deps.store.find(ref)
        self._starting_again[container.id] += 1
        try:
            with contextlib.suppress(NotModified):
                await self.stop(container.id, timeout_s, signal)
            with contextlib.suppress(NotModified):
                await self.start(container.id)
        finally:
            self._started_again(container.id)
        now = self._deps.store.find(container.id)
        self._deps.emit("container", "restart", now.id, labels.of_event(now))

    def _started_again(self, identifier: str) -> None:
        """A restart is over: if the container does not run after all, its `--rm` is due."""
        self._starting_again[identifier] -= 1
        if self._starting_again[identifier] <= 0:
            del self._starting_again[identifier]
        now = self._deps.store.get(identifier)
        if now is not None and now.host_config.auto_remove and now.state.status == "exited":
            self.auto_remove(identifier)

    def forget(self, identifier: str) -> None:
        """The container is gone."""
        self._last_wait_s.pop(identifier, None)
        if self.health is not None:
            self.health.forget(identifier)

    # --- pause -----------------------------------------------------------------------------------

    async def pause(self, ref: str) -> None:
        container = self._deps.store.find(ref)
        async with self._deps.store.lock(container.id):
            container = self._deps.store.find(container.id)
            if container.state.status == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            if container.state.status == "restarting":
                raise Conflict(f"container {container.id} is restarting, wait until it is running")
            if container.state.status != "running":
                raise Conflict(f"container {container.id} is not running")
            await self._deps.runtime.pause(container.id)
            paused = state.apply(container, "pause")
            await self._deps.store.observe(paused)
        self._deps.emit("container", "pause", paused.id, labels.of_event(paused))

    async def unpause(self, ref: str) -> None:
        container = self._deps.store.find(ref)
        async with self._deps.store.lock(container.id):
            container = self._deps.store.find(container.id)
            if container.state.status != "paused":
                raise Conflict(f"Container {container.id} is not paused")
            await self._deps.runtime.resume(container.id)
            running = state.apply(container, "unpause")
            await self._deps.store.observe(running)
        self._deps.emit("container", "unpause", running.id, labels.of_event(running))

    # --- health ----------------------------------------------------------------------------------

    def health_changed(self, container: Container, health: Health, before: HealthStatus) -> None:
        """A probe ended: tell the listeners, and the world when the status changed."""
        now = self._deps.store.get(container.id)
        if now is None:
            return
        self._deps.store.touch(container.id)
        if health.status != before:
            self.tell_names(now)
            self._deps.emit(
                "container",
                f"health_status: {health.status}",
                container.id,
                labels.of_event(now),
            )

    def tell_names(self, container: Container) -> None:
        """A container whose shared names follow its health: they lead to it now, or do not."""
        if self.health is None or not follows_health(container):
            return
        health = self.health.of(container.id)
        healthy = health is not None and health.status == "healthy"
        self._deps.tasks.spawn(
            f"names of {container.id[:12]}",
            self._deps.network.membership.health(container.id, healthy=healthy),
        )


def _ended_state(observed: State, ended: Exit) -> State:
    return State(
        exit_code=ended.code,
        exit_known=ended.known,
        error="" if ended.known else _UNKNOWN_EXIT,
        oom_killed=ended.oom or observed.oom_killed,
        started_ns=observed.started_ns,
        # The file's time is the kernel's coarse one, some milliseconds behind.
        finished_ns=max(ended.finished_ns, observed.started_ns),
    )


async def patiently(what: str, work: Callable[[], Awaitable[T]], tries: int = 1000) -> T | None:
    """What `work` gives, tried again after each error, waiting longer each time (5 s at most)."""
    wait_s = 0.05
    for _ in range(tries):
        try:
            return await work()
        except (NaruError, OSError) as error:
            log.error("%s failed, trying again: %s", what, error)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, 5.0)
    return None


async def _within(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
