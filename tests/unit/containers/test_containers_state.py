import itertools
from typing import get_args

import pytest

from naru.base.errors import Conflict
from naru.containers import state
from naru.containers.model import Container, State, Status
from naru.spec.engine.container_config import ContainerConfig, HostConfig, RestartPolicy


def container(status: Status) -> Container:
    return Container(
        id="c" * 64, name="web", created_ns=1, image_id="sha256:" + "0" * 64,
        config=ContainerConfig(), host_config=HostConfig(restart_policy=RestartPolicy()),
        path="sh", args=(), state=State(status=status),
    )  # fmt: skip


EVENTS = sorted({event for _, event in state.TRANSITIONS})


@pytest.mark.parametrize(("status", "event"), list(itertools.product(get_args(Status), EVENTS)))
def test_every_move_is_in_the_table_or_refused(status: Status, event: str) -> None:
    before = container(status)
    wanted = state.TRANSITIONS.get((status, event))
    if wanted is None:
        with pytest.raises(Conflict, match=f"is {status}"):
            state.apply(before, event)
    else:
        assert state.apply(before, event).state.status == wanted
        assert before.state.status == status


def test_what_was_observed_comes_with_the_move() -> None:
    ended = state.apply(container("running"), "exit", State(exit_code=3, finished_ns=9))
    assert (ended.state.status, ended.state.exit_code, ended.state.finished_ns) == ("exited", 3, 9)


def test_a_removed_container_never_runs_again() -> None:
    reachable = {"removing"}
    while True:
        more = {new for (old, _), new in state.TRANSITIONS.items() if old in reachable}
        if more <= reachable:
            break
        reachable |= more
    assert reachable == {"removing", "dead"}
