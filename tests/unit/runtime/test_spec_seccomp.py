import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from seccomp_filter import I386, X86_64, Filter

from naru.base.errors import InvalidParameter, StartFailed
from naru.runtime.capabilities import CAPABILITIES, DEFAULT_CAPABILITIES
from naru.runtime.facts import HostFacts
from naru.runtime.seccomp import calls, numbers
from naru.runtime.seccomp.cache import SeccompCache, is_filter
from naru.runtime.seccomp.choice import choose
from naru.runtime.seccomp.compiler import compile_profile
from naru.runtime.seccomp.profile import default_profile, parse_profile
from naru.runtime.security import parse


def compiled(capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES) -> Filter:
    program = compile_profile(default_profile(capabilities), "x86_64")
    assert program is not None and is_filter(program)
    return Filter(program)


def test_no_call_stands_in_two_groups() -> None:
    names = [name for group in calls.GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    special = {"socket", "socketcall", "personality", "clone", "clone3", *calls.TRACING}
    assert not special.intersection(names)


def test_numbers_are_unique() -> None:
    for table in (numbers.X86_64, numbers.I386):
        assert len(set(table.values())) == len(table)
    assert numbers.X86_64["openat2"] == numbers.I386["openat2"] == 437
    assert (numbers.X86_64["execve"], numbers.I386["execve"]) == (59, 11)


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("read", 0, "allow"),
        ("mount", 0, "errno 1"),
        ("unshare", 0, "errno 1"),
        ("keyctl", 0, "errno 1"),
        ("io_uring_setup", 0, "errno 1"),
        ("ptrace", 0, "allow"),
        ("chroot", 0, "allow"),
        ("clone", 0x1200011, "allow"),
        ("clone", 0x10000000, "errno 1"),
        ("clone", 1 << 40, "allow"),
        ("clone3", 0, "errno 38"),
        ("personality", 8, "allow"),
        ("personality", 0x40000, "errno 1"),
        ("personality", 1 << 32, "errno 1"),
        ("socket", 2, "allow"),
        ("socket", 38, "errno 1"),
        ("socket", 39, "allow"),
        ("socket", 40, "errno 1"),
        ("socket", 45, "allow"),
        ("socket", (1 << 32) + 38, "errno 1"),
        ("socket", (7 << 40) + 2, "allow"),
    ],
)
def test_default_decisions(name: str, argument: int, expected: str) -> None:
    assert compiled().decide(X86_64, numbers.X86_64[name], argument) == expected


def test_capabilities_open_their_calls() -> None:
    everything, nothing = compiled(CAPABILITIES), compiled(())
    for names in calls.BY_CAPABILITY.values():
        for name in names:
            number = numbers.X86_64.get(name)
            if number is None:
                continue
            assert everything.decide(X86_64, number) == "allow"
            if name not in (*calls.TRACING, "clone", "clone3"):
                assert nothing.decide(X86_64, number) == "errno 1"


def test_edges_of_the_program() -> None:
    program = compiled()
    assert program.decide(X86_64, 5000) == "errno 38"
    assert program.decide(X86_64, 0x40000000) == "errno 38"
    assert program.decide(X86_64, 0xFFFFFFFF) == "errno 38"
    assert program.decide(0xC00000B7, 0) == "kill"
    assert program.decide(I386, numbers.I386["socketcall"]) == "errno 38"
    assert program.decide(I386, numbers.I386["mount"]) == "errno 1"
    assert program.decide(I386, numbers.I386["read"]) == "allow"


def test_compiler_leaves_what_it_does_not_know() -> None:
    assert compile_profile(default_profile(()), "aarch64") is None
    allow_all = parse_profile('{"defaultAction":"SCMP_ACT_ALLOW"}', ())
    assert compile_profile(allow_all, "x86_64") is None
    second = {**default_profile(())}
    second["syscalls"] = [
        {
            "names": ["read"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}],
        }
    ]
    assert compile_profile(second, "x86_64") is None


def rules(text: str, capabilities: tuple[str, ...] = (), **more: Any) -> list[Any]:
    profile = f'{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{text}]}}'
    return parse_profile(profile, capabilities, **more)["syscalls"]


def test_conditions_of_a_custom_profile() -> None:
    head = '{"names":["a"],"action":"SCMP_ACT_ALLOW",'
    include = head + '"includes":{"caps":["CAP_BPF"]}}'
    exclude = head + '"excludes":{"caps":["CAP_BPF"]}}'
    arches = head + '"includes":{"arches":["amd64","x32"]}}'
    kernel = head + '"includes":{"minKernel":"4.8"}}'
    assert rules(include, ("CAP_BPF",)) and not rules(include)
    assert rules(exclude) and not rules(exclude, ("CAP_BPF",))
    assert rules(arches) and not rules(arches, machine="aarch64")
    assert rules(kernel, kernel=(4, 8)) and not rules(kernel, kernel=(4, 7))
    single = '{"name":"a","action":"SCMP_ACT_ERRNO","errnoRet":0}'
    assert rules(single) == [{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("junk", "Decoding seccomp profile failed"),
        ("{}", "unknown defaultAction"),
        ('{"defaultAction":"ALLOW"}', "unknown defaultAction"),
        ('{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"]}]}', "unknown action"),
        ('{"defaultAction":"SCMP_ACT_ALLOW","flags":["FOO"]}', "unknown flags"),
        (
            '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],'
            '"action":"SCMP_ACT_ALLOW"}]}',
            "both 'name' and 'names'",
        ),
        (
            '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],'
            '"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}',
            "both 'architectures' and 'archMap'",
        ),
        (
            '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],'
            '"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"EQ"}]}]}',
            "unknown op",
        ),
    ],
)
def test_broken_profiles(text: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        parse_profile(text, ())


def test_choice() -> None:
    host = HostFacts()
    custom = 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'
    assert choose(parse([]), (), host, privileged=False) is default_profile(())
    assert choose(parse(["seccomp=builtin"]), (), host, privileged=False) is default_profile(())
    assert choose(parse([]), (), host, privileged=True) is None
    assert choose(parse(["seccomp=unconfined"]), (), host, privileged=False) is None
    chosen = choose(parse([custom]), (), host, privileged=True)
    assert chosen is not None and chosen["defaultAction"] == "SCMP_ACT_ALLOW"
    without = HostFacts(seccomp=False)
    assert choose(parse([]), (), without, privileged=False) is None
    with pytest.raises(StartFailed, match="seccomp is not enabled"):
        choose(parse([custom]), (), without, privileged=False)


def test_cache_verifies_what_it_reads(tmp_path: Path) -> None:
    program = compile_profile(default_profile(()), "x86_64")
    assert program is not None
    (tmp_path / "state").mkdir()
    (tmp_path / "state/seccomp.bpf").write_bytes(program)
    folder = str(tmp_path / "cache")
    cache = SeccompCache(folder, "1.8.1", "riscv64")
    profile = default_profile((), "riscv64")
    key = cache.key(profile)
    assert cache.get(key) is None
    assert cache.learn(key, str(tmp_path / "state"))
    assert SeccompCache(folder, "1.8.1", "riscv64").get(key) == cache.get(key) is not None
    assert SeccompCache(folder, "1.9", "riscv64").key(profile) != key
    (stored,) = (tmp_path / "cache").iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    assert SeccompCache(folder, "1.8.1", "riscv64").get(key) is None
    assert not stored.exists()


def test_cache_refuses_foreign_files(tmp_path: Path) -> None:
    cache = SeccompCache(str(tmp_path / "cache"), "1", "riscv64")
    for content in (b"", b"x" * 16, os.urandom(800), b"\0" * 40000):
        (tmp_path / "seccomp.bpf").write_bytes(content)
        assert not cache.learn("k", str(tmp_path))
    assert cache.get("k") is None


def test_default_profiles_are_shared_and_encodable() -> None:
    one = default_profile(DEFAULT_CAPABILITIES)
    assert default_profile(list(DEFAULT_CAPABILITIES)) is one
    assert json.decode(json.encode(one))["defaultErrnoRet"] == 1
