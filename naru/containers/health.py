"""Health checks: a probe run inside the container at intervals, and the status it leads to.

    starting ──success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──success──▶ healthy

Within the start period failures do not count. When the run has ended the status is unhealthy.
Each result is written beside the container's log, so that a new narud goes on where the last one
was: for the run of a process that still lives, nothing begins anew.

Spec: Engine API `HealthConfig` and `Health`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
from msgspec import UNSET

from naru.base.clock import NS, format_duration, now_ns
from naru.containers.model import Container
from naru.kernel.files import read_file_limited, write_atomic
from naru.kernel.threads import offload
from naru.spec.engine.container_config import HealthConfig

log = logging.getLogger("naru.containers")

HealthStatus = Literal["starting", "healthy", "unhealthy"]
RESULTS_KEPT = 5
OUTPUT_LIMIT_BYTES = 4096
_RECORD_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe. `exit_code`: 0 healthy, 1 unhealthy, -1 it did not end in time or not at all."""

    started_ns: int
    ended_ns: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    status: HealthStatus = "starting"
    failing_streak: int = 0
    results: tuple[ProbeResult, ...] = field(default=())


class HealthRecord(msgspec.Struct, frozen=True):
    """What is kept of the run of one process (its pid and start time)."""

    pid: int
    pid_start: int
    health: Health


@dataclass(frozen=True, slots=True)
class Plan:
    """A health check with its defaults filled in; times in seconds."""

    test: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float
    start_interval_s: float


def plan_of(config: HealthConfig | None) -> Plan | None:
    """None when there is no check: not configured, or switched off with NONE."""
    if config is None or not config.test or config.test[0] == "NONE":
        return None

    def seconds(value_ns: int, default: float) -> float:
        return value_ns / NS if value_ns else default

    return Plan(
        test=tuple(config.test),
        interval_s=seconds(config.interval, 30.0),
        timeout_s=seconds(config.timeout, 30.0),
        retries=config.retries or 3,
        start_period_s=seconds(config.start_period, 0.0),
        start_interval_s=seconds(config.start_interval, 5.0),
    )


def after_probe(health: Health, result: ProbeResult, retries: int, *, starting: bool) -> Health:
    """The health after one more result. `starting`: the start period is not over. Pure."""
    results = (*health.results, result)[-RESULTS_KEPT:]
    if result.exit_code == 0:
        return Health("healthy", 0, results)
    if starting and health.status == "starting":
        return replace(health, results=results)
    streak = health.failing_streak + 1
    status: HealthStatus = "unhealthy" if streak >= retries else health.status
    return Health(status, streak, results)


Probe = Callable[[Container, list[str], float], Awaitable[tuple[int, str]]]
Changed = Callable[[Container, Health, HealthStatus], None]


class HealthMonitor:
    """The probing loop of every running container that has a health check.

    `path_of(id)` is the file that keeps the results, `paused(id)` tells when not to probe.
    """

    def __init__(
        self,
        probe: Probe,
        changed: Changed,
        path_of: Callable[[str], str],
        paused: Callable[[str], bool],
    ) -> None:
        self._probe, self._changed = probe, changed
        self._path_of, self._paused = path_of, paused
        self._health: dict[str, Health] = {}
        self._kept: dict[str, HealthRecord] = {}

    def of(self, container_id: str) -> Health | None:
        return self._health.get(container_id)

    async def load(self, containers: Iterable[Container]) -> None:
        """Read what the last narud knew; before any container is watched."""
        checked = [item.id for item in containers if _plan_of(item) is not None]
        for identifier in checked:
            record = await offload(_read, self._path_of(identifier))
            if record is not None:
                self._kept[identifier] = record
                self._health[identifier] = replace(record.health, status="unhealthy")

    async def watch(self, container: Container) -> None:
        """Probe until cancelled; run as a task for as long as the container runs."""
        plan = _plan_of(container)
        if plan is None:
            self._health.pop(container.id, None)
            return
        health = self._begin(container)
        self._health[container.id] = health
        self._changed(container, health, health.status)
        try:
            await self._probe_on(container, plan)
        finally:
            stopped = replace(self._health[container.id], status="unhealthy")
            self._health[container.id] = stopped

    def _begin(self, container: Container) -> Health:
        """The health that this run has: as it was when it is adopted, else `starting`."""
        kept = self._kept.pop(container.id, None)
        observed = container.state
        if kept and (kept.pid, kept.pid_start) == (observed.pid, observed.pid_start):
            return kept.health
        return Health(results=self._health.get(container.id, Health()).results)

    async def _probe_on(self, container: Container, plan: Plan) -> None:
        loop = asyncio.get_running_loop()
        words = command_of_probe(plan, container)
        begun = loop.time() - max(0.0, (now_ns() - container.state.started_ns) / NS)
        while True:
            health = self._health[container.id]
            in_start = loop.time() - begun < plan.start_period_s
            eager = in_start and health.status == "starting"
            await asyncio.sleep(plan.start_interval_s if eager else plan.interval_s)
            if self._paused(container.id):
                continue
            started = now_ns()
            code, output = await self._run(container, words, plan.timeout_s)
            in_start = loop.time() - begun < plan.start_period_s
            result = ProbeResult(started, now_ns(), code, output)
            before = health.status
            health = after_probe(health, result, plan.retries, starting=in_start)
            self._health[container.id] = health
            self._changed(container, health, before)
            observed = container.state
            record = HealthRecord(observed.pid, observed.pid_start, health)
            await offload(_write, self._path_of(container.id), record)

    async def _run(
        self, container: Container, words: list[str], timeout_s: float
    ) -> tuple[int, str]:
        try:
            return await self._probe(container, words, timeout_s)
        except TimeoutError:
            return -1, f"Health check exceeded timeout ({format_duration(round(timeout_s * NS))})"
        except Exception as error:
            log.warning("health check of %s could not run: %s", container.id[:12], error)
            return -1, str(error)

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._health.pop(container_id, None)
        self._kept.pop(container_id, None)


def _plan_of(container: Container) -> Plan | None:
    config = container.config.healthcheck
    return plan_of(None if config is UNSET else config)


def _read(path: str) -> HealthRecord | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        data = read_file_limited(path, _RECORD_LIMIT_BYTES)
        return msgspec.json.decode(data, type=HealthRecord)
    return None


def _write(path: str, record: HealthRecord) -> None:
    """A full disk, or a container that is just being removed, costs no more than the record."""
    with contextlib.suppress(OSError):
        write_atomic(path, msgspec.json.encode(record))


def command_of_probe(plan: Plan, container: Container) -> list[str]:
    """The words to execute: `CMD-SHELL` goes through the image's shell."""
    if plan.test[0] == "CMD-SHELL":
        shell = container.config.shell
        words = ["/bin/sh", "-c"] if shell is UNSET or not shell else list(shell)
        return [*words, *plan.test[1:]]
    if plan.test[0] == "CMD":
        return list(plan.test[1:])
    return list(plan.test)
