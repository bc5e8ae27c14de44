"""Rename and update: changes of a container's record that do not start or stop it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict, replace

from naru.base.errors import Conflict, InvalidParameter
from naru.base.ids import NAME_RULE, is_name
from naru.containers import labels
from naru.containers.deps import Deps
from naru.kernel.cgroup import CgroupLimits
from naru.kernel.threads import offload
from naru.runtime import validate
from naru.runtime.resources import kept, linux_resources
from naru.spec.engine.container_config import HostConfig, Resources, UpdateRequest

_NO_NAME = "Error when allocating new name"
_CHANGEABLE = (
    "blkio_weight", "cpu_shares", "cpu_period", "cpu_quota", "cpu_realtime_period",
    "cpu_realtime_runtime", "cpuset_cpus", "cpuset_mems", "memory", "memory_swap",
    "memory_reservation", "nano_cpus", "pids_limit",
)  # fmt: skip


async def rename(deps: Deps, ref: str, new: str) -> None:
    """Raises: NotFound, InvalidParameter, Conflict."""
    new = new.removeprefix("/")
    container = deps.store.find(ref)
    if not new:
        raise InvalidParameter("Neither old nor new names may be empty")
    if not is_name(new):
        raise InvalidParameter(
            f"{_NO_NAME}: Invalid container name (/{new}), only {NAME_RULE} are allowed"
        )
    async with deps.store.lock(container.id):
        container = deps.store.find(container.id)
        old = container.name
        if old == new:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        try:
            deps.store.reserve_name(new, container.id)
        except Conflict as error:
            raise Conflict(f"{_NO_NAME}: {error.message}") from error
        try:
            renamed = replace(container, name=new)
            await deps.store.put(renamed, durable=True)
        except BaseException:
            deps.store.release_name(new, container.id)
            raise
        deps.store.release_name(old, container.id)
    await deps.network.membership.rename(container.id, new)
    deps.emit("container", "rename", renamed.id, labels.of_event(renamed, oldName=f"/{old}"))


def updated_host_config(host: HostConfig, request: UpdateRequest) -> HostConfig:
    """`host` with what the request sets. Raises: InvalidParameter, Conflict. Pure."""
    unknown = [
        name
        for name, value in asdict(Resources()).items()
        if name not in _CHANGEABLE and getattr(request, name) not in (value, None, [], UNSET)
    ]
    if unknown:
        raise InvalidParameter(
            f"update cannot change {', '.join(unknown)} of an existing container"
        )
    changed: dict[str, Any] = {
        name: value
        for name in _CHANGEABLE
        if (value := getattr(request, name)) not in (0, "", None)
    }
    if request.pids_limit is not None and request.pids_limit <= 0:
        changed["pids_limit"] = None
    memory = changed.get("memory", 0)
    if memory and memory > host.memory_swap > 0 and "memory_swap" not in changed:
        raise InvalidParameter(
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time"
        )
    if changed.get("nano_cpus") and (host.cpu_period or host.cpu_quota):
        raise InvalidParameter(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has "
            "already been set"
        )
    if host.nano_cpus and (changed.get("cpu_period") or changed.get("cpu_quota")):
        raise InvalidParameter(
            "Conflicting options: CPU Period or Quota cannot be updated as NanoCPUs has already "
            "been set"
        )
    policy = request.restart_policy
    if policy is not None and policy.name:
        if host.auto_remove and policy.name != "no":
            raise InvalidParameter(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        changed["restart_policy"] = policy
    return replace(host, **changed)


async def update(deps: Deps, ref: str, request: UpdateRequest) -> list[str]:
    """Change limits and restart policy, at once when it runs; warnings.

    Raises: NotFound, InvalidParameter, Conflict.
    """
    container = deps.store.find(ref)
    async with deps.store.lock(container.id):
        container = deps.store.find(container.id)
        if container.state.status in ("removing", "dead"):
            raise Conflict(
                f"cannot update container {container.id}: container is marked for removal and "
                'cannot be "update"'
            )
        host = updated_host_config(container.host_config, request)
        warnings = validate.validate(container.config, host, None, deps.facts)
        host = kept(host, deps.facts)
        if container.state.status in ("running", "paused"):
            limits = limits_of(linux_resources(host, (), deps.facts, {}))
            if request.pids_limit is not None and request.pids_limit <= 0:
                limits = dataclasses.replace(limits, pids=-1)
            await offload(deps.runtime.cgroup(container.id).update, limits)
        updated = replace(container, host_config=host)
        await deps.store.put(updated, durable=True)
    deps.emit("container", "update", updated.id, labels.of_event(updated))
    return warnings


def limits_of(resources: Mapping[str, Any]) -> CgroupLimits:
    """The runtime's `linux.resources` as the kernel layer takes limits. Pure."""
    memory = resources.get("memory") or {}
    cpu = resources.get("cpu") or {}
    return CgroupLimits(
        memory=memory.get("limit"),
        memory_swap=memory.get("swap"),
        memory_reservation=memory.get("reservation"),
        cpu_shares=cpu.get("shares"),
        cpu_quota=cpu.get("quota"),
        cpu_period=cpu.get("period"),
        cpuset_cpus=cpu.get("cpus"),
        cpuset_mems=cpu.get("mems"),
        pids=(resources.get("pids") or {}).get("limit"),
        blkio_weight=(resources.get("blockIO") or {}).get("weight"),
    )
