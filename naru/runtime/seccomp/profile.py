"""Seccomp profiles: the default one, and the JSON that `--security-opt seccomp=` carries. Pure.

Both become the `linux.seccomp` section of the OCI runtime specification (config-linux.md#seccomp)
for one set of capabilities, one machine and one kernel.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from msgspec import DecodeError, Struct, ValidationError, json

from naru.base.errors import InvalidParameter
from naru.base.units import is_number
from naru.runtime.seccomp import calls

Seccomp = dict[str, Any]

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
EPERM = 1
ENOSYS = 38


def _named(prefix: str, words: str) -> frozenset[str]:
    return frozenset(prefix + word for word in words.split())


_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_ACTIONS = _named("SCMP_ACT_", "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY")
_OPERATORS = _named("SCMP_CMP_", "NE LT LE EQ GE GT MASKED_EQ")
_FLAGS = _named("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV")


def default_profile(
    capabilities: Collection[str], machine: str = "x86_64", kernel: tuple[int, int] = (6, 1)
) -> Seccomp:
    """The default profile for these capabilities. Shared and prebuilt: callers do not change it."""
    relevant = frozenset(calls.BY_CAPABILITY).intersection(capabilities)
    return _default(relevant, machine, kernel >= calls.TRACING_SINCE)


@lru_cache(maxsize=64)
def _default(capabilities: frozenset[str], machine: str, may_trace: bool) -> Seccomp:
    allowed = {name for group in calls.GROUPS.values() for name in group}
    allowed.update(calls.BY_MACHINE.get(machine, ()))
    for capability in capabilities:
        allowed.update(calls.BY_CAPABILITY[capability])
    if may_trace:
        allowed.update(calls.TRACING)
    rules: list[dict[str, Any]] = [{"names": sorted(allowed), "action": ALLOW}]
    if machine == "x86_64":
        # Before the socket rules: else libseccomp makes an exception for socketcall(SYS_SOCKET),
        # whose address family lies behind a pointer that a filter cannot read.
        rules.append({"names": ["socketcall"], "action": ERRNO, "errnoRet": ENOSYS})
    for mask, value in calls.SOCKET_FAMILIES:
        rules.append(_compare("socket", "SCMP_CMP_MASKED_EQ", mask, value))
    for persona in calls.PERSONALITIES:
        rules.append(_compare("personality", "SCMP_CMP_EQ", persona))
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_compare("clone", "SCMP_CMP_MASKED_EQ", calls.NAMESPACE_FLAGS, 0))
        # Its flags lie behind a pointer; C libraries fall back to clone on ENOSYS.
        rules.append({"names": ["clone3"], "action": ERRNO, "errnoRet": ENOSYS})
    return {
        "defaultAction": ERRNO,
        "defaultErrnoRet": EPERM,
        "architectures": list(_ARCHITECTURES.get(machine, ())),
        "syscalls": rules,
    }


def _compare(name: str, operator: str, value: int, value_two: int | None = None) -> dict[str, Any]:
    argument: dict[str, Any] = {"index": 0, "value": value, "op": operator}
    if value_two is not None:
        argument["valueTwo"] = value_two
    return {"names": [name], "action": ALLOW, "args": [argument]}


class _Argument(Struct, rename="camel"):
    index: int = 0
    value: int = 0
    value_two: int = 0
    op: str = ""


class _Condition(Struct, rename="camel"):
    arches: list[str] | None = None
    caps: list[str] | None = None
    min_kernel: str | None = None


class _Rule(Struct, rename="camel"):
    names: list[str] | None = None
    name: str = ""
    action: str = ""
    errno_ret: int | None = None
    args: list[_Argument] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _ArchMap(Struct, rename="camel"):
    architecture: str
    sub_architectures: list[str] | None = None


class _Profile(Struct, rename="camel"):
    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchMap] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[_Rule] | None = None


def parse_profile(
    text: str | bytes,
    capabilities: Collection[str],
    machine: str = "x86_64",
    kernel: tuple[int, int] = (6, 1),
) -> Seccomp:
    """A custom profile in Docker's JSON format, with its conditions already decided.

    Raises: InvalidParameter for anything that a runtime would misread or ignore.
    """
    try:
        profile = json.decode(text, type=_Profile)
    except (DecodeError, ValidationError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    _known(profile.default_action, _ACTIONS, "defaultAction")
    result: Seccomp = {
        "defaultAction": profile.default_action,
        "architectures": _architectures(profile, machine),
        "syscalls": [
            _rule(rule)
            for rule in profile.syscalls or ()
            if _applies(rule, frozenset(capabilities), machine, kernel)
        ],
    }
    if profile.default_errno_ret is not None:
        result["defaultErrnoRet"] = profile.default_errno_ret
    if profile.flags:
        for flag in profile.flags:
            _known(flag, _FLAGS, "flags")
        result["flags"] = profile.flags
    if profile.listener_path:
        result["listenerPath"] = profile.listener_path
        result["listenerMetadata"] = profile.listener_metadata
    return result


def _known(value: str, allowed: Collection[str], where: str) -> None:
    if value not in allowed:
        raise InvalidParameter(f"Decoding seccomp profile failed: unknown {where} {value!r}")


def _architectures(profile: _Profile, machine: str) -> list[str]:
    if profile.architectures and profile.arch_map:
        raise InvalidParameter(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    if profile.arch_map:
        native = next(iter(_ARCHITECTURES.get(machine, ())), "")
        for entry in profile.arch_map:
            if entry.architecture == native:
                return [entry.architecture, *(entry.sub_architectures or ())]
        return []
    return profile.architectures or []


def _rule(rule: _Rule) -> dict[str, Any]:
    if rule.name and rule.names:
        raise InvalidParameter(
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or "
            "'names'"
        )
    _known(rule.action, _ACTIONS, "action")
    result: dict[str, Any] = {"names": rule.names or [rule.name], "action": rule.action}
    if rule.errno_ret is not None:
        result["errnoRet"] = rule.errno_ret
    if rule.args:
        for argument in rule.args:
            _known(argument.op, _OPERATORS, "op")
        result["args"] = [
            {"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op}
            for a in rule.args
        ]
    return result


def _applies(
    rule: _Rule, capabilities: frozenset[str], machine: str, kernel: tuple[int, int]
) -> bool:
    arch = _GO_ARCH.get(machine, machine)
    wanted, unwanted = rule.includes, rule.excludes
    if unwanted is not None:
        if arch in (unwanted.arches or ()) or capabilities.intersection(unwanted.caps or ()):
            return False
        if unwanted.min_kernel and kernel >= _version(unwanted.min_kernel):
            return False
    if wanted is not None:
        if wanted.arches and arch not in wanted.arches:
            return False
        if not capabilities.issuperset(wanted.caps or ()):
            return False
        if wanted.min_kernel and kernel < _version(wanted.min_kernel):
            return False
    return True


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (is_number(major) and is_number(minor)):
        raise InvalidParameter(
            f"Decoding seccomp profile failed: invalid kernel version: {text!r}, expected A.B"
        )
    return int(major), int(minor)
