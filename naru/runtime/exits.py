"""How a container ended: conmon's exit file, else honestly unknown."""

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import dataclass

from naru.base.clock import now_ns
from naru.base.errors import Internal
from naru.base.undo import run_to_end
from naru.kernel.cgroup import Cgroup
from naru.kernel.process import ProcessHandle, ProcessId, identify, is_alive
from naru.kernel.spawn import Child
from naru.kernel.threads import offload
from naru.runtime.bundle import Bundle

log = logging.getLogger("naru.runtime")

UNKNOWN_EXIT_CODE = 255
_MONITOR_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Exit:
    """`known` is False when the monitor was killed: the code is then only a placeholder."""

    code: int
    known: bool
    oom: bool
    finished_ns: int


async def wait_ended(process: ProcessId) -> None:
    """Returns when `process` (no child of ours) has ended."""
    try:
        handle = ProcessHandle.open(process)
    except ProcessLookupError:
        return
    with handle:
        await handle.wait()


async def end_child(child: Child) -> None:
    """Waits for a monitor whose workload was killed, reaps it; kills it when it does not end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MONITOR_END_S):
            await child.wait()
    if child.status is None:
        child.kill()
        await run_to_end(child.wait())


async def end_monitor(monitor: ProcessId) -> None:
    """As `end_child`, for a monitor that is no child of ours."""
    try:
        async with asyncio.timeout(_MONITOR_END_S):
            await wait_ended(monitor)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError), ProcessHandle.open(monitor) as handle:
            handle.send_signal(signal.SIGKILL)
        await wait_ended(monitor)


async def end_strays(bundle: Bundle) -> None:
    """Kills whatever works on a launch that came to no end, and waits until it is gone.

    The runtime dies with conmon, but not at once: what it was in the middle of (its state folder,
    a cgroup) it still makes. Raises: Internal when one of them does not end.
    """
    try:
        async with asyncio.timeout(_MONITOR_END_S):
            while strays := await offload(_strays_of, bundle):
                for stray in strays:
                    with contextlib.suppress(ProcessLookupError), ProcessHandle.open(stray) as held:
                        held.send_signal(signal.SIGKILL)
                        await held.wait()
    except TimeoutError as error:
        name = bundle.container_id[:12]
        raise Internal(f"a process that was to make {name} cannot be ended") from error


def _strays_of(bundle: Bundle) -> list[ProcessId]:
    """Whatever works on a launch: conmon, the runtime, and what they forked and is still them."""
    wanted = os.fsencode(bundle.path)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb") as source:
                words = source.read().split(b"\0")
            process = identify(int(name))
            if wanted in words and process is not None:
                found.append(process)
    return found


async def wait_exit(
    bundle: Bundle,
    monitor: ProcessId,
    process: ProcessId,
    child: Child | None,
    cgroup: Cgroup | None,
) -> Exit:
    """Waits for the monitor, and for the workload when the monitor died before it.

    `child`: the monitor, when it is our child and must be reaped. `cgroup` tells of OOM kills.
    """
    if child is not None:
        await child.wait()
    else:
        await wait_ended(monitor)
    status = bundle.exit_status()
    if status is not None and status[0] < 0:  # conmon lost sight of the workload
        status = None
    if status is None:
        if is_alive(process):
            log.warning(
                "the monitor of container %s was killed: its output goes nowhere from now on, and "
                "its exit status will be unknown",
                bundle.container_id[:12],
            )
        await wait_ended(process)
    oom = bundle.saw_oom() or (cgroup is not None and cgroup.oom_kills() > 0)
    if status is None:
        return Exit(UNKNOWN_EXIT_CODE, False, oom, now_ns())
    return Exit(status[0], True, oom, status[1])
