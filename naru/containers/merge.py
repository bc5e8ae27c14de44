"""What a container runs: the request's Config over the image's. Pure.

Spec: Docker's rules for overriding an image's configuration; defaults as `inspect` shows them.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from naru.base.errors import InvalidParameter
from naru.spec.engine.container_config import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)
from naru.spec.oci.image import RunConfig


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


def merge_env(own: Iterable[str], below: Iterable[str]) -> list[str]:
    """`own` first, then what `below` sets and `own` does not name."""
    merged = list(own)
    names = {item.partition("=")[0] for item in merged}
    return merged + [item for item in below if item.partition("=")[0] not in names]


def _merge_health(
    own: HealthConfig | UnsetType | None, image: HealthConfig | None
) -> HealthConfig | UnsetType:
    if image is None:
        return UNSET if own is None or own is UNSET else own
    if own is None or own is UNSET:
        return image
    if own.test and own.test[0] == "NONE":
        return own
    return HealthConfig(
        test=own.test or image.test,
        interval=own.interval or image.interval,
        timeout=own.timeout or image.timeout,
        retries=own.retries or image.retries,
        start_period=own.start_period or image.start_period,
        start_interval=own.start_interval or image.start_interval,
    )


def _union(own: dict[str, Any] | None, image: dict[str, Any] | None) -> dict[str, Any] | None:
    if not own and not image:
        return own
    return {**(image or {}), **(own or {})}


def merge_config(own: ContainerConfig, image: RunConfig) -> ContainerConfig:
    """The Config that is recorded. Raises: InvalidParameter when there is no command."""
    entrypoint, cmd = _words(own.entrypoint), _words(own.cmd)
    if not entrypoint:
        if not cmd and entrypoint is None:
            cmd = image.cmd
        if entrypoint is None:
            entrypoint = image.entrypoint
    elif entrypoint == [""]:
        entrypoint = None
    entrypoint = entrypoint or None
    if not entrypoint and not cmd:
        raise InvalidParameter("no command specified")
    exposed = _union(own.exposed_ports or None, image.exposed_ports)
    stop_signal = own.stop_signal or image.stop_signal
    shell = own.shell or image.shell
    return replace(
        own,
        user=own.user or image.user,
        env=merge_env(own.env or (), image.env or ()),
        cmd=cmd,
        entrypoint=entrypoint,
        exposed_ports=exposed or UNSET,
        labels=_union(own.labels, image.labels) or {},
        volumes=_union(own.volumes, image.volumes),
        working_dir=own.working_dir or image.working_dir,
        stop_signal=stop_signal or UNSET,
        healthcheck=_merge_health(own.healthcheck, image.healthcheck),
        shell=shell or UNSET,
        on_build=own.on_build or image.on_build,
    )


def command_of(config: ContainerConfig) -> tuple[str, tuple[str, ...]]:
    """Path and arguments of the first process."""
    words = [*(_words(config.entrypoint) or ()), *(_words(config.cmd) or ())]
    return words[0], tuple(words[1:])


def default_host_config(
    given: HostConfig, *, runtime: str, cgroupns: str, log: LogConfig, shm_bytes: int
) -> HostConfig:
    """HostConfig with Docker's defaults filled in, as `inspect` shows it."""
    network_mode = given.network_mode or "default"
    log_config = given.log_config
    if not log_config.type:
        log_config = LogConfig(type=log.type, config=log_config.config or log.config)
    policy = given.restart_policy
    return replace(
        given,
        network_mode="bridge" if network_mode == "default" else network_mode,
        log_config=replace(log_config, config=log_config.config or {}),
        restart_policy=policy if policy.name else RestartPolicy(name="no"),
        ipc_mode=given.ipc_mode or "private",
        cgroupns_mode=given.cgroupns_mode or cgroupns,
        shm_size=given.shm_size or shm_bytes,
        runtime=given.runtime or runtime,
        oom_kill_disable=given.oom_kill_disable,
        pids_limit=given.pids_limit if (given.pids_limit or 0) > 0 else None,
        **_memory_swap(given),
    )


def _memory_swap(given: HostConfig) -> dict[str, int]:
    """Docker's rule: with a memory limit and no word on swap, as much swap again."""
    if given.memory > 0 and given.memory_swap == 0:
        return {"memory_swap": given.memory * 2}
    return {}
