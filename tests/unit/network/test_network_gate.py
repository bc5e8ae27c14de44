import asyncio

from naru.network.gate import Gate


def test_many_pass_at_once() -> None:
    async def run() -> None:
        gate = Gate()
        async with gate.shared(), gate.shared():
            pass

    asyncio.run(run())


def test_alone_waits_for_the_others_and_keeps_new_ones_out() -> None:
    order: list[str] = []

    async def run() -> None:
        gate, leave = Gate(), asyncio.Event()

        async def early() -> None:
            async with gate.shared():
                await leave.wait()
                order.append("early")

        async def repair() -> None:
            async with gate.alone():
                order.append("repair")

        async def late() -> None:
            async with gate.shared():
                order.append("late")

        async with asyncio.TaskGroup() as group:
            for work in (early, repair, late):
                group.create_task(work())
                await asyncio.sleep(0)
            leave.set()

    asyncio.run(run())
    assert order == ["early", "repair", "late"]


def test_a_cancelled_repair_opens_the_gate_again() -> None:
    async def run() -> None:
        gate = Gate()
        async with gate.shared():
            waiting = asyncio.get_running_loop().create_task(_alone(gate))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1), gate.shared(), gate.shared():
            pass

    async def _alone(gate: Gate) -> None:
        async with gate.alone():
            raise AssertionError("somebody is inside")

    asyncio.run(run())
