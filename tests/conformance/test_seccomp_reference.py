"""The default seccomp profile, call by call, beside the one of a reference Docker engine.

Set NARU_REFERENCE (or DOCKER_HOST) to the reference's socket. Its filter is read out of a running
container's process, so that what is compared is the effect and nobody's profile text.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from seccomp_filter import I386, X86_64, Filter, filter_of

from naru.runtime import facts
from naru.runtime.capabilities import effective
from naru.runtime.seccomp import calls, numbers
from naru.runtime.seccomp.compiler import compile_profile
from naru.runtime.seccomp.profile import default_profile

REFERENCE = os.environ.get("NARU_REFERENCE") or os.environ.get("DOCKER_HOST", "")
IMAGE = "busybox:latest"
AF_ALG, AF_VSOCK = 38, 40
NAMES = {
    X86_64: {number: name for name, number in numbers.X86_64.items()},
    I386: {number: name for name, number in numbers.I386.items()},
}
# First arguments that a condition may look at: every family, flag bits, personalities.
ARGUMENTS = [
    *range(64),
    *(1 << bit for bit in range(6, 32)),
    0x20008,
    0xFFFFFFFF,
]

pytestmark = pytest.mark.root


def docker(*args: str) -> str:
    command = ["docker", "-H", REFERENCE, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def reference() -> None:
    if not REFERENCE or shutil.which("docker") is None or os.geteuid():
        pytest.skip("no reference engine: set NARU_REFERENCE to its socket")
    if facts.gather().machine != "x86_64":
        pytest.skip("the program is compiled for x86-64 only")
    try:
        server = docker("version", "--format", "{{.Server.Version}}")
        docker("image", "inspect", IMAGE)
    except subprocess.CalledProcessError:
        pytest.skip("the reference engine does not answer, or has no busybox image")
    if not server.startswith("28."):
        pytest.skip(f"the reference is Docker 28, not {server}")


@contextmanager
def running(*options: str) -> Iterator[int]:
    container = docker("run", "-d", "--network", "none", *options, IMAGE, "sleep", "60")
    try:
        yield int(docker("inspect", "-f", "{{.State.Pid}}", container))
    finally:
        docker("rm", "-f", container)


def differences(theirs: Filter, ours: Filter, arch: int) -> dict[str, set[tuple[int, str, str]]]:
    """Call → (first argument, the reference's decision, ours)."""
    found: dict[str, set[tuple[int, str, str]]] = {}
    for number in range(520):
        name = NAMES[arch].get(number, str(number))
        conditional = name in ("socket", "personality", "clone")
        for argument in ARGUMENTS if conditional else (0,):
            decisions = (
                theirs.decide(arch, number, argument),
                ours.decide(arch, number, argument),
            )
            if decisions[0] != decisions[1]:
                found.setdefault(name, set()).add((argument, *decisions))
    return found


CASES = [
    ((), (), ()),
    (("--cap-drop", "ALL"), (), ("ALL",)),
    (("--cap-add", "ALL"), ("ALL",), ()),
    *(
        (("--cap-add", name), (name,), ())
        for name in sorted(calls.BY_CAPABILITY)
        if name in facts.gather().bounding
    ),
]


@pytest.mark.parametrize(("options", "add", "drop"), CASES, ids=lambda value: "".join(value))
def test_effect_is_the_references(
    options: tuple[str, ...], add: tuple[str, ...], drop: tuple[str, ...]
) -> None:
    with running(*options) as pid:
        theirs = Filter(filter_of(pid))
    bounding = facts.gather().bounding
    capabilities = effective(add, drop, privileged=False, bounding=bounding)
    program = compile_profile(default_profile(capabilities), "x86_64")
    assert program is not None
    ours = Filter(program)
    for arch in (X86_64, I386):
        found = differences(theirs, ours, arch)
        families = {entry[0] for entry in found.pop("socket") if entry[0] < 46}
        assert families == {AF_ALG}, "of the families that exist, AF_ALG alone is denied besides"
        multiplexer = found.pop("socketcall", None)
        assert multiplexer == (None if arch == X86_64 else {(0, "allow", "errno 38")})
        assert found == {}
        for family in (AF_ALG, AF_VSOCK, (1 << 32) + AF_ALG, (1 << 32) + AF_VSOCK):
            number = numbers.X86_64["socket"] if arch == X86_64 else numbers.I386["socket"]
            assert ours.decide(arch, number, family) == "errno 1"
