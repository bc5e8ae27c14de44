import asyncio

import pytest

from naru.base.tasks import TaskRegistry
from naru.base.undo import Undo


def test_steps_run_last_in_first_out_and_all_of_them() -> None:
    done: list[str] = []

    async def second() -> None:
        done.append("second")

    def broken() -> None:
        raise OSError("disk")

    async def fail() -> None:
        async with Undo("a test") as undo:
            undo.push("first", lambda: done.append("first"))
            undo.push("broken", broken)
            undo.push("second", second)
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        asyncio.run(fail())
    assert done == ["second", "first"]


def test_nothing_is_undone_after_success() -> None:
    done: list[str] = []

    async def succeed() -> None:
        async with Undo("a test") as undo:
            undo.push("first", lambda: done.append("first"))

    asyncio.run(succeed())
    assert done == []


def test_undo_runs_to_the_end_though_cancelled() -> None:
    done: list[str] = []

    async def main() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            entered.set()
            await go.wait()
            done.append("undone")

        async def work() -> None:
            async with Undo("a test") as undo:
                undo.push("slow", slow)
                raise ValueError

        tasks = TaskRegistry()
        task = tasks.spawn("work", work())
        await entered.wait()
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert done == ["undone"]
