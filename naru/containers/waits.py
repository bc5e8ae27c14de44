"""Who waits for a container to stop or to go: POST /containers/{id}/wait.

Subscribing is synchronous, so that the API can send its headers once the wait is registered: a
client starts the container only after that, and never misses a quick exit.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal, get_args

from naru.base.errors import InvalidParameter
from naru.containers.model import Container
from naru.containers.store import ContainerStore

Condition = Literal["not-running", "next-exit", "removed"]
_RUNNING = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, slots=True)
class WaitResult:
    """`error` is empty when the workload ended by itself."""

    exit_code: int
    error: str = ""


class Waits:
    def __init__(self, store: ContainerStore) -> None:
        self._store = store
        self._waiting: dict[str, list[tuple[Condition, asyncio.Future[WaitResult]]]] = {}

    def subscribe(self, ref: str, condition: str = "not-running") -> "asyncio.Future[WaitResult]":
        """A future of the result. Raises: NotFound, InvalidParameter for an unknown condition."""
        container = self._store.find(ref)
        if condition not in get_args(Condition):
            raise InvalidParameter(f'invalid condition: "{condition}"')
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        if condition == "not-running" and container.state.status not in _RUNNING:
            future.set_result(result_of(container))
            return future
        waiting = self._waiting.setdefault(container.id, [])
        entry: tuple[Condition, asyncio.Future[WaitResult]]
        entry = ("next-exit" if condition == "next-exit" else "removed", future)
        if condition == "not-running":
            entry = ("not-running", future)
        waiting.append(entry)
        future.add_done_callback(lambda _: self._drop(container.id, entry))
        return future

    def exited(self, container: Container) -> None:
        """The workload ended, also when a restart follows: as Docker does, both waits end."""
        for condition, future in list(self._waiting.get(container.id, ())):
            if condition != "removed" and not future.done():
                future.set_result(result_of(container))

    def removed(self, container: Container, error: str = "") -> None:
        """The container is gone, or (with `error`) could not be removed."""
        for _, future in list(self._waiting.get(container.id, ())):
            if not future.done():
                future.set_result(WaitResult(container.state.exit_code, error))

    def _drop(self, identifier: str, entry: tuple[Condition, "asyncio.Future[WaitResult]"]) -> None:
        waiting = self._waiting.get(identifier)
        if waiting is None:
            return
        if entry in waiting:
            waiting.remove(entry)
        if not waiting:
            del self._waiting[identifier]


def result_of(container: Container) -> WaitResult:
    return WaitResult(container.state.exit_code, container.state.error)
