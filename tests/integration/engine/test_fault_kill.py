"""SIGKILL narud at every failpoint that its story passes: nothing told is lost, nothing is left."""

import contextlib
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from fault_story import World, check, clean_world, passed_points, tell

import naru
from naru.base import failpoints

pytestmark = pytest.mark.root

ELSEWHERE = {"content.placed", "content.written", "archive.unpacked"}
"""Walked in the storage's own tests: no blob is stored plainly yet, and the last one is passed in
the confined worker, which sees no log of ours."""

ELSEWHERE |= {"dns.bound", "dns.spawned", "dns.placed", "dns.served", "dns.withdrawn"}
"""Walked in tests/integration/network/test_network_dns_keeper.py."""


def declared_points() -> set[str]:
    """Every failpoint of the engine."""
    for module in pkgutil.walk_packages(naru.__path__, "naru."):
        if not module.name.startswith(("naru.cli", "naru.client")):
            importlib.import_module(module.name)
    return failpoints.DECLARED


def ended(lab: EngineLab) -> bool:
    return lab.process is not None and lab.process.poll() is not None


def looked_after(lab: EngineLab, world: World, point: str, stopped_at: str | None) -> None:
    """A new narud on what the killed one left: it must hold, and be clean in the end."""
    lab.start()
    try:
        check(lab, world)
        with contextlib.suppress(ApiError):
            lab.make_busybox()
        clean_world(lab)
    except (AssertionError, OSError, ApiError) as error:
        raise AssertionError(f"killed at {point} in {stopped_at}: {error}") from error
    assert lab.stop() == 0


def killed_from_the_beginning(point: str) -> None:
    """A point that an engine passes once only, or before its first image: on a new engine."""
    with engine_lab(2) as lab:
        lab.launch({"NARU_FAILPOINTS": f"{point}=kill"})
        world = World()
        with contextlib.suppress(OSError, ApiError, AssertionError):
            lab.ready()
            lab.make_busybox()
            tell(lab, world, stop_at_error=True)
        until(lambda: ended(lab), f"{point} kills narud")
        looked_after(lab, world, point, "the first steps")


def killed_in_the_story(lab: EngineLab, points: Sequence[str]) -> list[str]:
    """Kill at each point; the points that are not passed again."""
    rare = []
    for point in points:
        lab.start({"NARU_FAILPOINTS": f"{point}=kill"})
        world = World()
        stopped_at = tell(lab, world, stop_at_error=True)
        if stopped_at is None and not ended(lab):
            rare.append(point)
            clean_world(lab)
            assert lab.stop() == 0
            continue
        until(lambda: ended(lab), f"{point} kills narud")
        looked_after(lab, world, point, stopped_at)
    return rare


def test_killed_at_every_point(tmp_path: Path) -> None:
    with engine_lab(1) as lab:
        first, story = passed_points(lab, tmp_path)
        never = declared_points() - set(first) - set(story) - ELSEWHERE
        assert not never, f"failpoints that the story does not pass: {sorted(never)}"
        rare = killed_in_the_story(lab, story)
    for point in dict.fromkeys([*rare, *first]):
        killed_from_the_beginning(point)
