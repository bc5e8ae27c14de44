"""The unmodified docker CLI beside ours, against the same engine of canned answers."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from naru.cli.main import main

DOCKER = shutil.which("docker")
Request = tuple[str, str, Any]


def cases(path: Path) -> list[str]:
    """The command lines of a file; what begins with # is none."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def assert_same(words: str, engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Docker and naru ask the engine for the same, print the same and end with the same status.

    `<<<` in `words` is followed by the line that standard input holds.
    """
    assert DOCKER is not None
    line = shlex.split(words)
    typed = b""
    if "<<<" in line:
        at = line.index("<<<")
        line, typed = line[:at], line[at + 1].encode() + b"\n"
    theirs = subprocess.run(
        [DOCKER, *line], capture_output=True, check=False, input=typed, timeout=30,
        env=dict(os.environ),
    )  # fmt: skip
    wanted = [comparable(request) for request in engine.requests]
    engine.requests.clear()
    code = _with_input(line, typed)
    printed = capsys.readouterr()
    assert [comparable(request) for request in engine.requests] == wanted
    assert code == theirs.returncode
    assert printed.err == theirs.stderr.decode().replace("docker", "naru")
    assert printed.out == theirs.stdout.decode().replace("docker", "naru")


def _with_input(line: list[str], typed: bytes) -> int:
    """`main` with `typed` on descriptor 0, where the question before a removal reads."""
    source, sink = os.pipe()
    os.write(sink, typed)
    os.close(sink)
    before = os.dup(0)
    os.dup2(source, 0)
    os.close(source)
    try:
        return main(line)
    finally:
        os.dup2(before, 0)
        os.close(before)


def comparable(request: Request) -> Request:
    """A request without its version; what docker keeps in Go maps is in no order."""
    method, target, body = request
    if isinstance(body, dict):
        host = body.get("HostConfig") or {}
        for part, name in ((body, "Env"), (host, "Binds"), (host, "Links")):
            if part.get(name):
                part[name] = sorted(part[name])
        subnets = (body.get("IPAM") or {}).get("Config")
        if subnets:
            subnets.sort(key=lambda item: str(item["Subnet"]))
    return method, target.partition("/")[2].partition("/")[2], body
