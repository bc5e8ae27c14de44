"""Backups by the clock: retention, restarts, kills, full disks, and what is told of them."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

NARU = str(Path(sys.executable).parent / "naru")


@pytest.fixture
def lab() -> Iterator[EngineLab]:
    with engine_lab(53) as engine:
        engine.start()
        engine.call("POST", "/volumes/create", {"Name": "data"})
        (engine.data_root / "volumes/data/_data/file").write_text("dear")
        yield engine


def naru(lab: EngineLab, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [NARU, "-H", lab.host, "volume", "schedule", *words],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def schedule(lab: EngineLab) -> Any:
    (found,) = lab.json("GET", "/volumes/naru/schedules")["Schedules"]
    return found


def put(lab: EngineLab, **fields: Any) -> None:
    lab.call("PUT", "/volumes/data/naru/schedule", {"Every": "8h", **fields})


def files(lab: EngineLab) -> list[str]:
    return sorted(os.listdir(lab.data_root / "backups/data"))


def test_runs_by_the_clock_and_keeps_what_it_shall(lab: EngineLab) -> None:
    done = naru(lab, "data", "--every", "1s", "--keep", "2")
    assert done.returncode == 0 and done.stdout.startswith("data: next at 20"), done.stderr
    seen: set[str] = set()

    def four() -> bool:
        seen.update(schedule(lab)["Files"])
        return len(seen) >= 4

    until(four, "four backups were made")
    until(lambda: len(files(lab)) <= 2 and not schedule(lab)["Running"], "old ones are removed")
    assert naru(lab, "rm", "data").stdout == "data\n"
    kept = files(lab)
    assert 1 <= len(kept) <= 2 and max(kept) == max(seen)
    path = lab.data_root / "backups/data" / kept[-1]
    assert path.stat().st_mode & 0o777 == 0o600
    lab.call("POST", "/volumes/again/naru/import", raw=path.read_bytes())
    assert (lab.data_root / "volumes/again/_data/file").read_text() == "dear"
    assert naru(lab, "rm", "data").returncode == 1
    assert naru(lab, "ls").stdout.split() == [
        "VOLUME", "WHEN", "KEEP", "BACKUPS", "NEXT", "LAST", "RESULT", "TO"
    ]  # fmt: skip


def test_a_missed_run_happens_once_at_the_start(lab: EngineLab) -> None:
    put(lab, Every="2s", Keep=5)
    until(lambda: schedule(lab)["Files"], "the first backup")
    lab.kill()
    before = files(lab)
    (name,) = [item for item in before if not item.startswith(".")][-1:]
    until(lambda: (lab.data_root / "metadata.db").stat().st_mtime + 3 < time.time(), "time passes")
    lab.start()
    until(lambda: len(schedule(lab)["Files"]) == 2, "the missed run")
    assert name in schedule(lab)["Files"]
    assert files(lab) == sorted(schedule(lab)["Files"])


def test_errors_are_told_and_nothing_old_is_lost(lab: EngineLab, tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(target)], check=True)
    try:
        put(lab, To=str(target), Keep=1)
        lab.call("POST", "/volumes/data/naru/backup")
        (first,) = os.listdir(target)
        (lab.data_root / "volumes/data/_data/large").write_bytes(os.urandom(4 << 20))
        done = naru(lab, "run", "data")
        assert done.returncode == 1 and "no space left on device" in done.stderr
        assert os.listdir(target) == [first]
        listed = naru(lab, "ls").stdout
        assert "no space left on device" in listed
        last = schedule(lab)["Last"]
        assert "no space left on device" in last["Error"] and last["File"] == ""
        assert schedule(lab)["Files"] == [first]
        (lab.data_root / "volumes/data/_data/large").unlink()
        lab.call("POST", "/volumes/data/naru/backup")
        (second,) = os.listdir(target)
        assert second > first and schedule(lab)["Last"]["Error"] == ""
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)
    lab.call("DELETE", "/volumes/data")
    assert naru(lab, "run", "data").stderr.count("no such volume") == 1
    assert "no such volume" in schedule(lab)["Last"]["Error"]


@pytest.mark.parametrize("action", ["kill", "eio"])
def test_killed_or_failing_at_every_step(lab: EngineLab, action: str) -> None:
    put(lab, Keep=1)
    lab.call("POST", "/volumes/data/naru/backup")
    (first,) = files(lab)
    for point in ("backups.begun", "backups.written", "backups.named", "backups.recorded"):
        known = files(lab)
        assert lab.stop() == 0
        lab.start({"NARU_FAILPOINTS": f"{point}={action}"})
        with contextlib.suppress(ApiError, OSError):
            lab.call("POST", "/volumes/data/naru/backup")
        if action == "kill":
            assert lab.process is not None and lab.process.wait(30) < 0
            assert any(name in known for name in files(lab)), "the old one went before the new one"
            lab.start()
        until(lambda: not schedule(lab)["Running"], "it is settled")
        held = schedule(lab)["Files"]
        assert sorted(held) == files(lab) and held
        lab.call("POST", "/volumes/data/naru/backup")
        held = schedule(lab)["Files"]
        assert len(held) == 1 and files(lab) == held
    assert held != [first]


def test_what_is_refused(lab: EngineLab) -> None:
    for body, text in (
        ({}, "either every or at"),
        ({"Every": "6h", "At": "03:00"}, "either every or at"),
        ({"Every": "6h", "Keep": 0}, "keep 0"),
        ({"Every": "6h", "To": "/no/such/place"}, "there is no directory /no/such/place"),
        ({"At": "3 in the morning"}, "no time such as"),
    ):
        with pytest.raises(ApiError) as caught:
            lab.call("PUT", "/volumes/data/naru/schedule", body)
        assert caught.value.status == 400 and text in caught.value.message
    with pytest.raises(ApiError) as caught:
        lab.call("PUT", "/volumes/gone/naru/schedule", {"Every": "6h"})
    assert caught.value.status == 404
    assert naru(lab, "data").stderr.startswith("say when: --every 6h, or --at 03:00")
    assert naru(lab, "ls", "x").returncode == 1
    put(lab, At="", Keep=3)
    with pytest.raises(ApiError) as caught:
        lab.call("POST", "/volumes/data/naru/rename?name=other")
    assert caught.value.status == 409 and "remove the schedule first" in caught.value.message
    assert naru(lab, "data", "--at", "3:30", "--pause").returncode == 0
    shown = schedule(lab)
    assert (shown["At"], shown["Every"], shown["Pause"], shown["Keep"]) == ("03:30", "", True, 7)
    assert "at 03:30, paused" in naru(lab, "ls").stdout
