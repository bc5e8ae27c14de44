"""When an ended container starts again, and after how long. Pure.

Spec: Docker's restart policies: `no`, `always`, `unless-stopped`, `on-failure[:N]`; waits of 100 ms
doubling up to one minute, back to 100 ms once the container ran for 10 s.
"""

from dataclasses import dataclass

from naru.spec.engine.container_config import RestartPolicy

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 60.0
STEADY_RUN_S = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    restart: bool
    wait_s: float = 0.0


def after_exit(
    policy: RestartPolicy,
    *,
    exit_code: int,
    ran_s: float,
    restart_count: int,
    last_wait_s: float,
    stopped_by_user: bool,
) -> Verdict:
    """What happens after the workload ended. `last_wait_s` is 0 before the first restart."""
    if stopped_by_user:
        return Verdict(False)
    match policy.name:
        case "always" | "unless-stopped":
            again = True
        case "on-failure":
            limit = policy.maximum_retry_count
            again = exit_code != 0 and (limit == 0 or restart_count < limit)
        case _:
            again = False
    if not again:
        return Verdict(False)
    if last_wait_s == 0 or ran_s >= STEADY_RUN_S:
        return Verdict(True, FIRST_WAIT_S)
    return Verdict(True, min(last_wait_s * 2, LONGEST_WAIT_S))


def at_engine_start(
    policy: RestartPolicy,
    *,
    started_once: bool,
    was_running: bool,
    exit_code: int,
    restart_count: int,
    stopped_by_user: bool,
) -> bool:
    """Whether a container that does not run is started when the engine starts (after a reboot)."""
    if not started_once:
        return False
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stopped_by_user
        case "on-failure":
            limit = policy.maximum_retry_count
            failed = was_running or exit_code != 0
            return failed and not stopped_by_user and (limit == 0 or restart_count < limit)
    return False
