"""`--security-opt`, read strictly: an option that is not known is an error, never ignored. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from naru.base.errors import InvalidParameter

UNCONFINED = "unconfined"
BUILTIN = "builtin"
_BOOLEANS = {
    "1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """`seccomp`: "" or "builtin" (the default profile), "unconfined", or the text of a profile."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    writable_cgroups: bool = False

    @property
    def unconfined(self) -> bool:
        return self.seccomp == UNCONFINED

    @property
    def custom_profile(self) -> str:
        return "" if self.seccomp in ("", BUILTIN, UNCONFINED) else self.seccomp


def parse(options: Iterable[str] | None) -> SecurityOptions:
    """Reads `HostConfig.SecurityOpt`. Raises: InvalidParameter with Docker's text."""
    no_new_privileges = writable_cgroups = False
    seccomp = apparmor = ""
    labels: list[str] = []
    for option in options or ():
        if option == "no-new-privileges":
            no_new_privileges = True
            continue
        if option == "writable-cgroups":
            writable_cgroups = True
            continue
        if option == "disable":
            labels.append(option)
            continue
        name, equals, value = option.partition("=")
        if not equals:
            name, colon, value = option.partition(":")
            if not colon:
                raise InvalidParameter(f'invalid --security-opt 1: "{option}"')
        if name == "label":
            labels.append(value)
        elif name == "apparmor":
            apparmor = value
        elif name == "seccomp":
            seccomp = value
        elif name == "no-new-privileges":
            no_new_privileges = _boolean(option, value)
        elif name == "writable-cgroups":
            writable_cgroups = _boolean(option, value)
        else:
            raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        apparmor=apparmor,
        labels=tuple(labels),
        writable_cgroups=writable_cgroups,
    )


def _boolean(option: str, value: str) -> bool:
    if value not in _BOOLEANS:
        raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return _BOOLEANS[value]
