"""Which seccomp filter a container gets: default, custom, or none. Pure."""

from collections.abc import Collection

from naru.base.errors import StartFailed
from naru.runtime.facts import HostFacts
from naru.runtime.seccomp.profile import Seccomp, default_profile, parse_profile
from naru.runtime.security import SecurityOptions


def choose(
    security: SecurityOptions, capabilities: Collection[str], host: HostFacts, *, privileged: bool
) -> Seccomp | None:
    """The `linux.seccomp` section; None: no filter. A profile given by hand holds for privileged
    containers too.

    Raises: InvalidParameter for a broken profile, StartFailed when this kernel has no seccomp.
    """
    if security.unconfined:
        return None
    if security.custom_profile:
        if not host.seccomp:
            raise StartFailed(
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"
            )
        return parse_profile(security.custom_profile, capabilities, host.machine, host.kernel)
    if privileged or not host.seccomp:
        return None
    return default_profile(capabilities, host.machine, host.kernel)
