"""The default profile as a BPF program, so that no start waits for a compiler. Pure.

    arch = x86-64 ─► search tree over call numbers ─► allow | errno | look at the first argument
    arch = i386   ─► the same with its own numbers
    else          ─► kill

Written here and not left to libseccomp for two reasons: the one of Debian 12 does not know calls
after Linux 5.17 and would refuse them with EPERM, which breaks programs that would do without them
on ENOSYS (fchmodat2); and its programs test one number after the other. A call that is newer than
every call the profile names gets ENOSYS, as under runc. So does x32, which Debian switches off.
Custom profiles are not compiled here: the runtime does that.
Spec: linux/seccomp.h, linux/bpf_common.h; seccomp(2).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naru.runtime.seccomp import numbers

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05  # BPF_LD|W|ABS, ALU|AND|K, RET|K, JMP|JA
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35  # BPF_JMP|JEQ|K, BPF_JMP|JGE|K
_AT_NUMBER, _AT_ARCH, _AT_LOW, _AT_HIGH = 0, 4, 16, 20  # struct seccomp_data, little endian
_AUDIT_X86_64, _AUDIT_I386 = 0xC000003E, 0x40000003
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_ENOSYS = 38
_MAX_JUMP = 255

_Code = list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class _Test:
    """The first argument, masked, must be `value`."""

    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class _Effect:
    """What one call gets: `action`, or when there are `tests`, `_ALLOW` if one of them holds."""

    action: int
    tests: tuple[_Test, ...] = ()


def compile_profile(profile: Mapping[str, Any], machine: str) -> bytes | None:
    """struct sock_filter[] of a profile shaped like the default one; None for any other.

    That is: x86-64, everything refused but what rules allow, which look at the first argument at
    most, or answer with another errno.
    """
    if machine != "x86_64" or not _is_plain(profile):
        return None
    wide = _architecture(profile, numbers.X86_64)
    narrow = _architecture(profile, numbers.I386)
    program: _Code = [(_LOAD, 0, 0, _AT_ARCH)]
    program += _branch(_IF_EQUAL, _AUDIT_X86_64, wide)
    program += _branch(_IF_EQUAL, _AUDIT_I386, narrow)
    program.append((_RETURN, 0, 0, _KILL))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _is_plain(profile: Mapping[str, Any]) -> bool:
    if profile.keys() != {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}:
        return False
    if profile["defaultAction"] != "SCMP_ACT_ERRNO" or len(profile["architectures"]) != 3:
        return False
    return all(_is_plain_rule(rule) for rule in profile["syscalls"])


def _is_plain_rule(rule: Mapping[str, Any]) -> bool:
    arguments = rule.get("args")
    if rule["action"] == "SCMP_ACT_ERRNO":
        return not arguments and "errnoRet" in rule
    return rule["action"] == "SCMP_ACT_ALLOW" and (
        not arguments
        or len(arguments) == 1
        and arguments[0]["index"] == 0
        and arguments[0]["op"] in ("SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ")
    )


def _branch(test: int, value: int, body: _Code) -> _Code:
    """`body` runs if the test holds; it must end in a return."""
    if len(body) <= _MAX_JUMP:
        return [(test, 0, len(body), value), *body]
    return [(test, 1, 0, value), (_JUMP, 0, 0, len(body)), *body]


def _architecture(profile: Mapping[str, Any], table: Mapping[str, int]) -> _Code:
    effects = _effects(profile, table)
    default = _Effect(_ERRNO | int(profile["defaultErrnoRet"]))
    pieces: list[tuple[int, _Effect]] = []  # (first number, effect) up to the next piece
    for number in range(max(effects) + 1):
        effect = effects.get(number, default)
        if not pieces or pieces[-1][1] != effect:
            pieces.append((number, effect))
    pieces.append((max(effects) + 1, _Effect(_ERRNO | _ENOSYS)))
    return [(_LOAD, 0, 0, _AT_NUMBER), *_tree(pieces, default.action)]


def _effects(profile: Mapping[str, Any], table: Mapping[str, int]) -> dict[int, _Effect]:
    """Call number → effect; a rule without conditions wins over those with some."""
    plain: dict[int, _Effect] = {}
    tested: dict[int, tuple[_Test, ...]] = {}
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            number = table.get(name)
            if number is None:
                continue
            if "args" in rule:
                tested[number] = (*tested.get(number, ()), _test(rule["args"]))
            else:
                plain[number] = _Effect(_action(rule))
    default = _ERRNO | int(profile["defaultErrnoRet"])
    return {number: _Effect(default, tests) for number, tests in tested.items()} | plain


def _action(rule: Mapping[str, Any]) -> int:
    return _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | int(rule["errnoRet"])


def _test(arguments: Sequence[Mapping[str, Any]]) -> _Test:
    (argument,) = arguments
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return _Test(argument["value"], argument["valueTwo"])
    return _Test(0xFFFFFFFFFFFFFFFF, argument["value"])


def _tree(pieces: Sequence[tuple[int, _Effect]], default: int) -> _Code:
    """A binary search over the pieces; the call's number is in the accumulator."""
    if len(pieces) == 1:
        return _leaf(pieces[0][1], default)
    middle = len(pieces) // 2
    below, above = _tree(pieces[:middle], default), _tree(pieces[middle:], default)
    first = pieces[middle][0]
    if len(below) <= _MAX_JUMP:
        return [(_IF_AT_LEAST, len(below), 0, first), *below, *above]
    return [(_IF_AT_LEAST, 0, 1, first), (_JUMP, 0, 0, len(below)), *below, *above]


def _leaf(effect: _Effect, default: int) -> _Code:
    code: _Code = []
    for test in effect.tests:
        code += _compare(test)
    code.append((_RETURN, 0, 0, default if effect.tests else effect.action))
    return code


def _compare(test: _Test) -> _Code:
    """Allows if both halves of the first argument are as wanted; goes on behind this otherwise."""
    code: _Code = [(_RETURN, 0, 0, _ALLOW)]
    for offset, shift in ((_AT_LOW, 0), (_AT_HIGH, 32)):
        mask, value = test.mask >> shift & 0xFFFFFFFF, test.value >> shift & 0xFFFFFFFF
        if mask:
            masking: _Code = [] if mask == 0xFFFFFFFF else [(_AND, 0, 0, mask)]
            code = [(_LOAD, 0, 0, offset), *masking, (_IF_EQUAL, 0, len(code), value), *code]
    return code
