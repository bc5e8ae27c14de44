import pytest

from naru.containers.restart import FIRST_WAIT_S, LONGEST_WAIT_S, after_exit, at_engine_start
from naru.spec.engine.container_config import RestartPolicy


def verdict(name: str, limit: int = 0, **given: object):  # type: ignore[no-untyped-def]
    facts = dict(exit_code=1, ran_s=0.5, restart_count=0, last_wait_s=0.0, stopped_by_user=False)
    facts.update(given)  # type: ignore[arg-type]
    return after_exit(RestartPolicy(name=name, maximum_retry_count=limit), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("no", 1, False), ("", 1, False), ("always", 0, True), ("unless-stopped", 0, True),
        ("on-failure", 0, False), ("on-failure", 3, True),
    ],
)  # fmt: skip
def test_policies(policy: str, code: int, again: bool) -> None:
    assert verdict(policy, exit_code=code).restart is again


def test_on_failure_counts() -> None:
    assert verdict("on-failure", 3, restart_count=2).restart
    assert not verdict("on-failure", 3, restart_count=3).restart


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_what_the_user_stopped_stays_stopped(policy: str) -> None:
    assert not verdict(policy, stopped_by_user=True).restart


def test_the_wait_doubles_up_to_a_minute_and_begins_anew_after_a_steady_run() -> None:
    waits, last = [], 0.0
    for _ in range(12):
        last = verdict("always", last_wait_s=last).wait_s
        waits.append(last)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == LONGEST_WAIT_S
    assert verdict("always", last_wait_s=last, ran_s=10.0).wait_s == FIRST_WAIT_S


@pytest.mark.parametrize(
    ("policy", "stopped", "was_running", "code", "starts"),
    [
        ("no", False, True, 0, False), ("always", True, False, 0, True),
        ("always", False, True, 0, True), ("unless-stopped", True, False, 0, False),
        ("unless-stopped", False, True, 0, True), ("on-failure", False, True, 0, True),
        ("on-failure", False, False, 0, False), ("on-failure", True, False, 1, False),
    ],
)  # fmt: skip
def test_at_engine_start(
    policy: str, stopped: bool, was_running: bool, code: int, starts: bool
) -> None:
    assert starts is at_engine_start(
        RestartPolicy(name=policy), started_once=True, was_running=was_running, exit_code=code,
        restart_count=0, stopped_by_user=stopped,
    )  # fmt: skip


def test_what_never_ran_is_not_started() -> None:
    assert not at_engine_start(
        RestartPolicy(name="always"), started_once=False, was_running=False, exit_code=0,
        restart_count=0, stopped_by_user=False,
    )  # fmt: skip
