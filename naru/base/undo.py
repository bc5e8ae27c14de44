"""Undo steps of a multi-step operation: recorded before each step, run last in, first out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

log = logging.getLogger("naru.undo")

UndoStep = Callable[[], Awaitable[Any] | Any]


class Undo:
    """Collects undo steps; when the `async with` block fails or is cancelled, runs them all.

    Steps must be idempotent: one is recorded *before* the thing it undoes is done. They run to
    the end even when the task is cancelled meanwhile; a failing step is logged and the rest run.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._steps: list[tuple[str, UndoStep]] = []

    def push(self, name: str, step: UndoStep) -> None:
        self._steps.append((name, step))

    def commit(self) -> None:
        """The operation is acknowledged: forget every step."""
        self._steps.clear()

    async def roll_back(self) -> None:
        while self._steps:
            name, step = self._steps.pop()
            try:
                result = step()
                if isinstance(result, Awaitable):
                    await result
            except Exception:
                log.exception("undo of %s: step %s failed", self._what, name)

    async def __aenter__(self) -> "Undo":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._steps.clear()
            return
        await run_to_end(self.roll_back())


async def run_to_end(work: Awaitable[Any]) -> None:
    """Await `work` to its end though the caller be cancelled; re-raise the cancellation after."""
    inner = asyncio.gather(work)
    cancelled: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError as error:
            if inner.cancelled():
                raise
            cancelled = error
    inner.result()
    if cancelled is not None:
        raise cancelled
