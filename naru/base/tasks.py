"""The named registry that owns every background task which no TaskGroup owns."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("naru.tasks")


class TaskRegistry:
    """Owns long-lived tasks; `drain` ends them at shutdown. A task's failure is logged once."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._closing:
            task.cancel()
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)

    async def drain(self, timeout_s: float) -> None:
        """Cancel everything and wait until it has ended, `timeout_s` at most."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)

    def __len__(self) -> int:
        return len(self._tasks)
