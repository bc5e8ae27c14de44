"""The name server's life: started late, outlives narud, is adopted, replaced and ended."""

import asyncio
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dns_lab import DnsLab, Sandbox, ask, client, dns_lab, member
from network_lab import Lab, eventually, in_lab, run_in_lab

from naru.base.errors import Internal
from naru.base.failpoints import DECLARED
from naru.kernel import netns
from naru.kernel.nft import Nft
from naru.kernel.process import identify, is_alive
from naru.network.dns import place
from naru.network.dns.model import Client

pytestmark = pytest.mark.root

POINTS = sorted(name for name in DECLARED if name.startswith("dns."))


def web(box: Sandbox, **more: object) -> Client:
    return client(box, member("web", "10.1.0.2"), **more)


def servers(lab: Lab) -> list[int]:
    """The processes that hold this lab's lock."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/fd/4") == os.path.join(lab.root, "dns.lock"):
                found.append(int(pid))
        except OSError:
            continue
    return found


async def answered(box: Sandbox, within_s: float = 2.0) -> bool:
    """To one question, which is not put again."""
    try:
        return await ask(box.pin, "web", timeout_s=within_s) == ["10.1.0.2"]
    except OSError:
        return False


async def answered_soon(box: Sandbox, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not await answered(box, 0.1):
        assert time.monotonic() < deadline, f"no answer within {within_s} s"


@in_lab
async def test_it_starts_with_the_first_client_and_ends_with_nobody(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.start([])
        assert servers(lab) == []
        await made.keeper.serve(web(box))
        assert await answered(box)
        process = identify(made.process())
        assert process is not None
        control = os.stat(os.path.join(lab.root, "dns.sock"))
        assert stat.S_IMODE(control.st_mode) == 0o600
        await made.keeper.withdraw(os.path.basename(box.pin))
        await made.keeper.stop()
        await eventually(lambda: not is_alive(process), "the server ends")
        assert not os.path.exists(os.path.join(lab.root, "dns.sock"))


@in_lab
async def test_it_outlives_narud_and_is_adopted(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        stays, changed, gone, new = (made.box() for _ in range(4))
        for box in (stays, changed, gone):
            await made.keeper.serve(web(box))
        pid = made.process()
        await made.keeper.stop()
        assert await answered(stays)
        netns.remove_netns(changed.pin)  # another run of the same container
        changed_again = made.box()
        moved = Client(os.path.basename(changed.pin), changed_again.pin, web(changed).members)
        made.keeper = made.new_keeper()
        await made.keeper.start([web(stays, upstreams=()), moved, web(new)])
        assert made.process() == pid
        assert await answered(stays)
        assert await answered(changed_again)
        assert await answered(new)
        assert not await answered(gone, 0.2)
        assert await ask(stays.pin, "a.com") == "SERVFAIL"  # it was told the news
        assert await ask(new.pin, "a.com") == ["192.0.2.1"]
        os.kill(pid, signal.SIGKILL)  # an adopted one is watched too
        await answered_soon(stays, 1.0)
        await answered_soon(new, 1.0)
        assert made.process() != pid


@in_lab
async def test_a_killed_server_is_replaced_within_a_second(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        boxes = [made.box() for _ in range(5)]
        for box in boxes:
            await made.keeper.serve(web(box))
        begin = time.monotonic()
        os.kill(made.process(), signal.SIGKILL)
        for box in boxes:
            await answered_soon(box, 1.0 - (time.monotonic() - begin))
        os.kill(made.process(), signal.SIGKILL)  # again at once: with a little patience
        for box in boxes:
            await answered_soon(box, 2.5 - (time.monotonic() - begin))
        assert len(servers(lab)) == 1


def listed(box: Sandbox, command: str = f"list table ip {place.TABLE}") -> str:
    def run() -> str:
        nft = Nft()
        try:
            return nft.text(command)
        finally:
            nft.close()

    return netns.run_in_netns(box.pin, run)


@in_lab
async def test_the_table_stays_when_it_can(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(web(box))
        table = listed(box)
        assert place.ports_in(table) is not None
        await made.keeper.serve(web(box))  # the old sockets are still there: other ports
        assert listed(box) != table
        table = listed(box)
        os.kill(made.process(), signal.SIGKILL)
        await answered_soon(box, 1.0)
        assert listed(box) == table
        listed(box, f"flush chain ip {place.TABLE} ask")
        assert not await answered(box, 0.2)
        await made.keeper.serve(web(box))  # whatever it was: a new one
        assert await answered(box)


@in_lab
async def test_a_server_that_died_unnoticed_is_replaced_by_the_next_call(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        one, two = made.box(), made.box()
        await made.keeper.serve(web(one))
        os.kill(made.process(), signal.SIGKILL)
        await made.keeper.serve(web(two))
        assert await answered(two)
        await answered_soon(one, 3.0)


@in_lab
async def test_a_server_that_hangs_is_replaced_at_start(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(web(box))
        pid = made.process()
        await made.keeper.stop()
        os.kill(pid, signal.SIGSTOP)
        made.keeper = made.new_keeper()
        await made.keeper.start([web(box)])
        assert made.process() != pid
        assert await answered(box)
        assert len(servers(lab)) == 1


@in_lab
async def test_it_ends_when_its_engine_is_removed(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(web(box))
        process = identify(made.process())
        assert process is not None
        await made.keeper.stop()
        os.unlink(os.path.join(lab.root, "dns.lock"))
        await eventually(lambda: not is_alive(process), "the server ends", 12.0)
        made.keeper._clients.clear()


@in_lab
async def test_a_sandbox_that_is_none_is_refused(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        missing = Client("missing", os.path.join(lab.root, "nothing"))
        with pytest.raises(Internal, match="nothing"):
            await made.keeper.serve(missing)
        Path(lab.root, "file").touch()
        with pytest.raises(Internal, match="file"):
            await made.keeper.serve(Client("file", os.path.join(lab.root, "file")))
        await made.keeper.serve(web(box))
        await made.keeper.start([web(box), missing])  # one bad record stops nobody
        assert await answered(box)
        await made.keeper.withdraw("missing")


@in_lab
async def test_a_cancelled_call_leaves_nothing(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        boxes = [made.box() for _ in range(6)]
        for box in boxes:
            try:
                async with asyncio.timeout(0.002 * boxes.index(box)):
                    await made.keeper.serve(web(box))
            except TimeoutError:
                await made.keeper.withdraw(os.path.basename(box.pin))
                await eventually(lambda pin=box.pin: not held(lab, pin), "nothing is held")


def held(lab: Lab, pin: str) -> bool:
    inode = os.stat(pin).st_ino
    for pid in [os.getpid(), *servers(lab)]:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.stat(f"/proc/{pid}/fd/{name}").st_ino == inode:
                    return True
            except OSError:
                continue
    return False


@in_lab
async def test_news_while_a_client_is_being_served_are_not_lost(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        for n in range(10):
            box = made.box()
            served = asyncio.gather(made.keeper.serve(web(box)))
            await asyncio.sleep(0.001 * (n % 3))
            await made.keeper.update([client(box, member("web", "10.1.0.9"))])
            await served
            assert await ask(box.pin, "web") == ["10.1.0.9"]


@in_lab
async def test_fifty_at_once(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        boxes = [made.box() for _ in range(50)]
        crowd = [member(f"c{n}", f"10.1.0.{n}", aliases=("all",)) for n in range(50)]
        clients = [client(box, *crowd) for box in boxes]
        await asyncio.gather(*(made.keeper.serve(item) for item in clients))
        for box in boxes:
            assert await ask(box.pin, "c7") == ["10.1.0.7"]
        assert resident_kb(made.process()) < 20_000
        crowd[7] = member("c7", "10.1.0.77")
        await made.keeper.update([client(box, *crowd) for box in boxes])
        for box in boxes:
            assert await ask(box.pin, "c7") == ["10.1.0.77"]


def resident_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def crash(lab: Lab) -> None:
    """Runs with a failpoint that kills, or fails once."""
    failed = 0
    made = DnsLab(lab)
    box = made.box()
    await made.keeper.start([])
    for _ in range(2):
        try:
            await made.keeper.serve(web(box))
            assert await answered(box)
            await made.keeper.withdraw(os.path.basename(box.pin))
        except (Internal, OSError) as error:
            assert "failpoint" in str(error), error
            failed += 1
    assert failed <= 1
    await eventually(lambda: not held(lab, box.pin), "nothing is held")
    await made.keeper.stop()
    await eventually(lambda: servers(lab) == [], "nobody is left")


@in_lab
async def _after_kill(lab: Lab) -> None:
    enter = os.path.join(os.path.dirname(__file__), "network_lab.py")
    point = os.environ["LAB_POINT"]
    child = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, enter, "--joined", lab.root, __file__, "crash"],
        env=os.environ | {"NARU_FAILPOINTS": f"{point}=kill"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, (point, child.stdout, child.stderr)
    netns.remove_netns(os.path.join(lab.root, "resolver"))
    async with dns_lab(lab) as made:
        left = os.path.join(lab.root, "box1")
        await made.keeper.start([])
        await eventually(lambda: not held(lab, left), "nothing is held")
        lock = os.open(os.path.join(lab.root, "dns.lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lives = False
        except BlockingIOError:
            lives = True
        finally:
            os.close(lock)
        assert lives == bool(servers(lab))
        made.boxes = 1
        box = made.box()
        await made.keeper.serve(web(box))
        assert await answered(box)
        assert len(servers(lab)) == 1


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_nothing_in_the_way(point: str) -> None:
    run_in_lab(Path(__file__), "_after_kill", env={"LAB_POINT": point})


@pytest.mark.parametrize("point", POINTS)
def test_a_failing_step_is_undone(point: str) -> None:
    run_in_lab(Path(__file__), "_fail", env={"NARU_FAILPOINTS": f"{point}=eio"})


@in_lab
async def _fail(lab: Lab) -> None:
    await crash(lab)


def test_every_point_is_walked() -> None:
    assert POINTS == ["dns.bound", "dns.placed", "dns.served", "dns.spawned", "dns.withdrawn"]
