"""The life of a container, as one table. Pure.

    created ──start──▶ running ──pause──▶ paused ──unpause──▶ running
       ▲                │   ▲               │
       │          exit  │   │ start         │ exit
       │                ▼   │               ▼
       │              exited / restarting (exit that the policy restarts)
       └─ start-failed      │ give-up ▶ exited
    created | exited | dead | restarting ──remove──▶ removing ──remove-failed──▶ dead

`removing` ends with the record's disappearance. An event that the table does not hold is a
programming error or a refused request; `allowed` tells which before anything is done.
"""

from msgspec.structs import replace

from naru.base.errors import Conflict
from naru.containers.model import Container, State, Status

TRANSITIONS: dict[tuple[Status, str], Status] = {
    ("created", "start"): "running",
    ("exited", "start"): "running",
    ("restarting", "start"): "running",
    ("created", "start-failed"): "created",
    ("exited", "start-failed"): "exited",
    ("restarting", "start-failed"): "exited",
    ("running", "pause"): "paused",
    ("paused", "unpause"): "running",
    ("running", "exit"): "exited",
    ("paused", "exit"): "exited",
    ("running", "exit-restart"): "restarting",
    ("paused", "exit-restart"): "restarting",
    ("restarting", "give-up"): "exited",
    ("exited", "restart-later"): "restarting",
    ("created", "remove"): "removing",
    ("exited", "remove"): "removing",
    ("restarting", "remove"): "removing",
    ("dead", "remove"): "removing",
    ("removing", "remove"): "removing",
    ("removing", "remove-failed"): "dead",
}


def allowed(status: Status, event: str) -> bool:
    return (status, event) in TRANSITIONS


def apply(container: Container, event: str, state: State | None = None) -> Container:
    """The record after `event`; `state` brings what was observed with it (pids, exit code, times).

    Raises: Conflict when the table does not allow it.
    """
    new = TRANSITIONS.get((container.state.status, event))
    if new is None:
        raise Conflict(
            f"container {container.id[:12]} is {container.state.status}: it cannot take '{event}'"
        )
    return replace(container, state=replace(state or container.state, status=new))
