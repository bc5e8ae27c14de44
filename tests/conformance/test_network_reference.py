"""The network words against a real Docker: our CLI and docker's, one story each, told alike.

Set NARU_REFERENCE (or DOCKER_HOST) to the reference's socket. What both print, and how each command
ends, must be the same but for ids, times and names that the engine draws.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REFERENCE = os.environ.get("NARU_REFERENCE") or os.environ.get("DOCKER_HOST", "")
ROOT = Path(__file__).resolve().parents[2]
STORY = Path(__file__).with_name("network_story.txt")
PREFIX = "naru-words"
RUBBED_OUT = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "SHORT"),
    (r"\bveth[0-9a-f]{7}\b", "VETH"),
    (r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"(active endpoints) \(.*\)", r"\1 (SOME)"),
    (r"^docker: ", "naru: "),
    (r"'docker (run|create)", r"'naru \1"),
)

pytestmark = pytest.mark.root


def docker(*words: str) -> "subprocess.CompletedProcess[str]":
    argv = ["docker", "-H", REFERENCE, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def remove_all() -> None:
    wanted = ("-q", "--filter", f"name={PREFIX}")
    if found := docker("ps", "-a", *wanted).stdout.split():
        docker("rm", "-f", *found)
    for name in docker("network", "ls", *wanted).stdout.split():
        docker("network", "rm", name)


@pytest.fixture
def reference() -> Iterator[None]:
    if not REFERENCE or shutil.which("docker") is None or os.geteuid():
        pytest.skip("no reference engine: set NARU_REFERENCE to its socket")
    version = docker("version", "--format", "{{.Server.Version}}").stdout
    if not version.startswith("28.") or docker("image", "inspect", "busybox").returncode:
        pytest.skip("the reference is no Docker 28 with a busybox image")
    remove_all()
    yield
    remove_all()


def told_by(program: list[str]) -> str:
    """The story's commands with what each printed and how it ended."""
    shown = []
    for line in STORY.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        words = ["sh", "-c", f'exec "$@" {line}', "sh", *program, "-H", REFERENCE]
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL, env={**os.environ, "P": PREFIX},
        )  # fmt: skip
        shown.append(f"$ {line}\n{done.stdout}{done.stderr}[{done.returncode}]\n")
    text = "".join(shown)
    for pattern, mark in RUBBED_OUT:
        text = re.sub(pattern, mark, text, flags=re.MULTILINE)
    return text


def test_both_tell_the_same_story(reference: None) -> None:
    theirs = told_by(["docker"])
    remove_all()
    ours = told_by([sys.executable, "-c", "from naru.cli.main import run; run()"])
    assert ours == theirs
    assert theirs.count("[0]") > 30
