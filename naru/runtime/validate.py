"""Every field of a create request: honoured, or refused by name with Docker's text. Pure."""

from naru.base.errors import InvalidParameter
from naru.runtime import capabilities, security
from naru.runtime.facts import HostFacts
from naru.spec.engine.container_config import ContainerConfig, HostConfig, NetworkingConfig


def validate(
    config: ContainerConfig,
    host_config: HostConfig,
    networking: NetworkingConfig | None,
    host: HostFacts,
) -> list[str]:
    """Warnings for the client. Raises: InvalidParameter, Unsupported naming the field."""
    capabilities.check(host_config.cap_add or (), "CapAdd", host.bounding)
    capabilities.check(host_config.cap_drop or (), "CapDrop")
    security.parse(host_config.security_opt)
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, "
            "it needs to be an absolute path"
        )
    return []
