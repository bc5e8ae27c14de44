"""What happens at the same time: lost wake-ups, reserved names, disks that fill up."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from naru.base.errors import Internal, NotFound
from naru.base.tasks import TaskRegistry
from naru.containers import change
from naru.containers.lifecycle import Lifecycle
from naru.containers.model import Container, State, Status
from naru.containers.rootfs import RootMounts
from naru.containers.store import ContainerStore
from naru.containers.waits import Waits
from naru.runtime.exits import Exit
from naru.spec.engine.container_config import ContainerConfig, HostConfig, RestartPolicy

ID = "a" * 64


class Database:
    """Keeps records, or refuses to while `full`."""

    def __init__(self) -> None:
        self.full = False
        self.records: dict[str, bytes] = {}

    async def put(self, _kind: str, identifier: str, body: bytes, *, durable: bool = True) -> None:
        await asyncio.sleep(0)
        if self.full:
            raise Internal("the disk is full")
        self.records[identifier] = body

    async def delete(self, _kind: str, identifier: str, *, durable: bool = True) -> None:
        self.records.pop(identifier, None)


class Runtime:
    """A workload that ends when it is told to."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.troubles: list[OSError] = []
        self.killed: list[int] = []

    async def wait_exit(self, *_: object) -> Exit:
        await self.ended.wait()
        if self.troubles:
            raise self.troubles.pop()
        self.ended.clear()
        return Exit(1, True, False, 2_000)

    def kill(self, _process: object, number: int) -> bool:
        self.killed.append(number)
        return True

    async def resume(self, _identifier: str) -> None:
        """Nothing is frozen."""

    def cgroup(self, _identifier: str) -> Any:
        raise FileNotFoundError("no group")


class Recipe:
    def __init__(self) -> None:
        self.starts = 0
        self.clearing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.trouble: OSError | None = None

    def has_guests(self, identifier: str) -> bool:
        return False

    async def launch(self, container: Container) -> Container:
        if self.trouble is not None:
            raise self.trouble
        self.starts += 1
        return replace(container, state=State(status="running", pid=5, started_ns=1_000))

    async def clear(self, _identifier: str) -> None:
        self.clearing.set()
        await self.go_on.wait()

    def track_log(self, _container: Container) -> None:
        """No log."""


async def _nothing(*_: object, **__: object) -> None:
    """Nobody asks for names here."""


class House:
    """A lifecycle on fakes, with one container."""

    def __init__(self, *, policy: str = "", status: Status = "created", **host: Any) -> None:
        self.db, self.runtime, self.recipe = Database(), Runtime(), Recipe()
        self.tasks = TaskRegistry()
        self.events: list[str] = []
        self.store = ContainerStore(cast(Any, self.db))
        self.deps = SimpleNamespace(
            store=self.store,
            runtime=self.runtime,
            tasks=self.tasks,
            emit=lambda _type, action, _actor, _attributes: self.events.append(action),
            settings=SimpleNamespace(stop_timeout_s=10.0),
            network=SimpleNamespace(membership=SimpleNamespace(health=_nothing, rename=_nothing)),
        )
        self.waits = Waits(self.store)
        self.life = Lifecycle(cast(Any, self.deps), cast(Any, self.recipe), self.waits)
        self.first = Container(
            id=ID,
            name="web",
            created_ns=1,
            image_id="sha256:0",
            config=ContainerConfig(),
            host_config=HostConfig(restart_policy=RestartPolicy(name=policy), **host),
            path="true",
            args=(),
            state=State(status=status),
        )

    @property
    def status(self) -> str:
        return self.store.find(ID).state.status

    async def until(self, status: str) -> None:
        await until(lambda: self.status == status)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not within 20 s")


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_name_that_is_only_reserved_names_nothing_yet() -> None:
    async def story() -> None:
        house = House()
        house.store.reserve_name("soon", ID)
        with pytest.raises(NotFound, match="No such container: soon"):
            house.store.find("soon")

    run(story())


def test_a_rename_that_the_disk_refuses_changes_nothing() -> None:
    async def story() -> None:
        house = House()
        await house.store.put(house.first)
        house.db.full = True
        with pytest.raises(Internal):
            await change.rename(cast(Any, house.deps), "web", "other")
        assert house.store.find(ID).name == "web"
        with pytest.raises(NotFound):
            house.store.find("other")
        house.db.full = False
        await house.store.forget(ID)
        with pytest.raises(NotFound):
            house.store.find("web")

    run(story())


def test_locks_of_containers_that_are_gone_are_gone() -> None:
    async def story() -> None:
        house = House()
        for number in range(100):
            async with house.store.lock(f"{number:064}"):
                pass
        gc.collect()
        assert not house.store.locks_held()

    run(story())


def test_a_run_is_watched_though_the_disk_is_full() -> None:
    async def story() -> None:
        house = House()
        await house.store.put(house.first)
        house.db.full = True
        await house.life.start(ID)
        house.runtime.ended.set()
        await house.until("exited")
        await house.tasks.drain(5)

    run(story())


def test_who_waits_hears_of_a_failed_start_though_the_disk_is_full() -> None:
    async def story() -> None:
        house = House()
        await house.store.put(house.first)
        waiting = house.waits.subscribe(ID, "next-exit")
        house.db.full, house.recipe.trouble = True, OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            await house.life.start(ID)
        assert waiting.done()
        assert waiting.result().exit_code == 128

    run(story())


def test_trouble_while_waiting_for_the_end_does_not_lose_it() -> None:
    async def story() -> None:
        house = House()
        await house.store.put(house.first)
        await house.life.start(ID)
        house.runtime.troubles.append(OSError(24, "Too many open files"))
        house.runtime.ended.set()
        await house.until("exited")
        await house.tasks.drain(5)

    run(story())


@pytest.mark.parametrize("asked", ["stop", "kill"])
def test_a_stop_while_the_end_is_being_cleared_is_the_last_word(asked: str) -> None:
    async def story() -> None:
        house = House(policy="always")
        await house.store.put(house.first)
        await house.life.start(ID)
        house.recipe.go_on.clear()
        house.runtime.ended.set()
        await house.recipe.clearing.wait()
        asking = house.tasks.spawn("asking", getattr(house.life, asked)(ID))
        await asyncio.sleep(0.01)
        house.recipe.go_on.set()
        await asking
        assert house.status == "exited"
        await asyncio.sleep(0.3)  # the policy would start it again after 0.1 s
        assert (house.status, house.recipe.starts) == ("exited", 1)
        await house.tasks.drain(5)

    run(story())


def test_a_restart_does_not_remove_what_removes_itself() -> None:
    async def story() -> None:
        house = House(auto_remove=True)
        removed: list[str] = []
        house.life.auto_remove = removed.append
        await house.store.put(house.first)
        await house.life.start(ID)
        asking = house.tasks.spawn("asking", house.life.restart(ID))
        await until(lambda: bool(house.runtime.killed))
        house.runtime.ended.set()
        await asking
        assert (house.status, removed) == ("running", [])
        house.runtime.ended.set()
        await house.until("exited")
        assert removed == [ID]
        await house.tasks.drain(5)

    run(story())


def test_a_signal_to_a_paused_container_goes_on_the_record() -> None:
    async def story() -> None:
        house = House()
        await house.store.put(house.first)
        await house.life.start(ID)
        paused = replace(house.store.find(ID), state=State(status="paused", pid=5))
        await house.store.put(paused)
        await house.life.kill(ID, "USR1")
        assert house.status == "running"
        assert house.events[-2:] == ["kill", "unpause"]
        await house.tasks.drain(5)

    run(story())


def test_one_start_that_fails_does_not_keep_others_from_their_start() -> None:
    async def story() -> None:
        house = House(policy="always", status="exited")
        await house.store.put(house.first)
        house.recipe.trouble = OSError(24, "Too many open files")
        await house.life.restart_at_engine_start(ID)
        assert house.status == "exited"

    run(story())


class Snapshots:
    """Counts what is mounted at a time on one target; both ways take a moment."""

    def __init__(self) -> None:
        self.mounted = self.most = 0

    def mount(self, _identifier: str, _target: str) -> None:
        time.sleep(0.02)
        self.mounted += 1
        self.most = max(self.most, self.mounted)

    def unmount(self, _target: str) -> None:
        time.sleep(0.02)
        self.mounted -= 1


def test_a_root_is_never_mounted_twice(tmp_path: Path) -> None:
    async def story() -> None:
        snapshots = Snapshots()
        roots = RootMounts(cast(Any, snapshots), str(tmp_path / "plain"), str(tmp_path / "own"))

        async def visit() -> None:
            for _ in range(3):
                async with roots.visit(ID, None):
                    pass

        await asyncio.gather(*(visit() for _ in range(3)))
        assert (snapshots.most, snapshots.mounted) == (1, 0)

    run(story())
