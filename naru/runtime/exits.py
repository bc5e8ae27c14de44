"""How a container ended: conmon's exit file, else honestly unknown."""

from dataclasses import dataclass

from naru.base.clock import now_ns
from naru.kernel.process import ProcessHandle, ProcessId
from naru.kernel.spawn import Child
from naru.runtime.bundle import Bundle

UNKNOWN_EXIT_CODE = 255


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


async def wait_exit(
    bundle: Bundle, monitor: ProcessId, process: ProcessId, child: Child | None
) -> Exit:
    """Waits for the monitor, and for the workload when the monitor died before it.

    `child`: the monitor, when it is our child and must be reaped.
    """
    if child is not None:
        await child.wait()
    else:
        await wait_ended(monitor)
    status = bundle.exit_status()
    if status is not None:
        return Exit(status[0], True, bundle.saw_oom(), status[1])
    await wait_ended(process)
    return Exit(UNKNOWN_EXIT_CODE, False, bundle.saw_oom(), now_ns())
