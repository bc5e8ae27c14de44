"""Many may pass at once, or one alone: keeps repairs away from attaches and detaches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Gate:
    """`shared` holders run side by side; `alone` waits for them and keeps new ones out."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed = False
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        if self._closed:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._closed)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if self._closed:
                async with self._changed:
                    self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            try:
                await self._changed.wait_for(lambda: self._inside == 0)
            except BaseException:
                self._closed = False
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            self._closed = False
            async with self._changed:
                self._changed.notify_all()
