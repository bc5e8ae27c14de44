"""Linux capabilities of a container: Docker's default set, `--cap-add`, `--cap-drop`. Pure.

Inheritable and ambient sets are always empty (CVE-2022-24769); nothing exceeds the host's bounding
set, because the kernel would refuse it.
"""

from collections.abc import Collection, Iterable

from naru.base.errors import InvalidParameter


def _named(words: str) -> tuple[str, ...]:
    return tuple("CAP_" + word for word in words.split())


# In the kernel's order: the index is the capability's number (include/uapi/linux/capability.h).
CAPABILITIES = _named(
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP"
    " LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER"
    " SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE"
    " SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
    " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF"
    " CHECKPOINT_RESTORE"
)

DEFAULT_CAPABILITIES = _named(
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP"
    " NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
)

_KNOWN = frozenset(CAPABILITIES)
_ALL = "ALL"


def normalize(name: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN` → `CAP_NET_ADMIN`; `all` → `ALL`. Unknown names pass through."""
    upper = name.upper().strip()
    if upper == _ALL:
        return _ALL
    return upper if upper.startswith("CAP_") else "CAP_" + upper


def check(names: Iterable[str], field: str, bounding: Collection[str] = CAPABILITIES) -> list[str]:
    """The normalized names of `CapAdd` or `CapDrop`, each once.

    Raises: InvalidParameter with Docker's text for an unknown or unavailable capability.
    """
    result: list[str] = []
    for name in names:
        wanted = normalize(name)
        if wanted != _ALL and wanted not in _KNOWN:
            raise InvalidParameter(f'invalid {field}: unknown capability: "{wanted}"')
        if wanted != _ALL and wanted not in bounding:
            raise InvalidParameter(
                f"invalid {field}: capability not supported by your kernel or not available in "
                f'the current environment: "{wanted}"'
            )
        if wanted not in result:
            result.append(wanted)
    return result


def effective(
    add: Iterable[str] | None,
    drop: Iterable[str] | None,
    *,
    privileged: bool,
    bounding: Collection[str],
    default: tuple[str, ...] = DEFAULT_CAPABILITIES,
) -> tuple[str, ...]:
    """The capabilities that a container gets, never more than `bounding`.

    `ALL` in `add` wins over `ALL` in `drop`, single names in `drop` win over `ALL` in `add`.
    """
    added = [normalize(name) for name in add or ()]
    dropped = {normalize(name) for name in drop or ()}
    if privileged:
        wanted: Iterable[str] = CAPABILITIES
    elif _ALL in added:
        wanted = (name for name in CAPABILITIES if name not in dropped)
    elif _ALL in dropped:
        wanted = added
    else:
        wanted = [name for name in default if name not in dropped] + added
    return tuple(dict.fromkeys(name for name in wanted if name in bounding))
