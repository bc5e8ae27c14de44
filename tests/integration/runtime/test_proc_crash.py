"""An engine killed at every failpoint of the runtime: the next one finds all and leaves nothing."""

import asyncio
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from proc_harness import DEADLINE_S, rig

import naru.runtime.exec
import naru.runtime.logs.service
import naru.runtime.runtime  # noqa: F401 - its failpoints are declared by importing it
from naru.base import failpoints
from naru.base.errors import Conflict, StartFailed
from naru.kernel import mount
from naru.kernel.process import is_alive
from naru.runtime.logs.lines import LogQuery
from naru.runtime.logs.service import LogLimits, LogService

pytestmark = pytest.mark.root

POINTS = sorted(
    name for name in failpoints.DECLARED if name.startswith(("runtime.", "logs.", "exec."))
)


def run_victim(folder: Path, prefix: str, points: str) -> subprocess.CompletedProcess[bytes]:
    log = folder / "passed"
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("proc_victim.py"), folder, prefix],
        env={**os.environ, "NARU_FAILPOINTS": points, "NARU_FAILPOINT_LOG": str(log)},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_every_failpoint_is_passed(tmp_path: Path) -> None:
    done = run_victim(tmp_path, f"/naru-test-{secrets.token_hex(4)}", "")
    assert done.returncode == 0, done.stderr.decode()
    assert set((tmp_path / "passed").read_text().split()) >= set(POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_killed(tmp_path: Path, point: str) -> None:
    prefix = f"/naru-test-{secrets.token_hex(4)}"
    assert run_victim(tmp_path, prefix, f"{point}=kill").returncode == -9

    async def scenario() -> None:
        async with rig(tmp_path, prefix=prefix) as r:
            for state in r.runtime.states():
                assert state.container_id == "c"
                if state.status == "running" and state.process and state.monitor:
                    service = LogService()
                    service.track(r.runtime.bundle("c"), str(tmp_path / "log"), LogLimits())
                    try:
                        assert await r.exec_output("c", "echo", "x") == (0, "x\n")
                    except (StartFailed, Conflict):
                        assert not is_alive(state.process), "only its end may be in the way"
                    async with asyncio.timeout(DEADLINE_S):
                        ended = await r.runtime.wait_exit("c", state.monitor, state.process)
                    assert ended.known
                    service.ended("c")
                    service.close()
                await r.runtime.delete(state.container_id)
            assert r.leftovers() == []
            text = b""
            blocks = LogService().read("c", str(tmp_path / "log"), LogQuery(multiplexed=False))
            async for block in blocks:
                text += block
            lines = [int(line) for line in text.split()]
            for earlier, later in zip(lines, lines[1:], strict=False):
                assert later == earlier % 300 + 1

    try:
        asyncio.run(scenario())
    finally:
        for target in mount.mounts_below(str(tmp_path)):
            mount.unmount(target)


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("runtime.")])
def test_failing(tmp_path: Path, point: str, action: str) -> None:
    """The step fails: what was begun is undone, or the next try finishes it."""
    prefix = f"/naru-test-{secrets.token_hex(4)}"
    done = run_victim(tmp_path, prefix, f"{point}={action}")
    assert done.returncode in (0, 1)

    async def scenario() -> None:
        async with rig(tmp_path, prefix=prefix) as r:
            for state in r.runtime.states():
                await r.runtime.delete(state.container_id)
            assert r.leftovers() == []

    try:
        asyncio.run(scenario())
    finally:
        for target in mount.mounts_below(str(tmp_path)):
            mount.unmount(target)
