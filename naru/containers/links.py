"""`--link`: which containers another one is told of, by name and by environment.

A link belongs to the container that was created with it; it is read at each of its starts.
"""

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.errors import Conflict, InvalidParameter, NotFound
from naru.containers.deps import Deps
from naru.containers.model import Container
from naru.runtime.links import Link, parse_link
from naru.spec.engine.container_config import HostConfig


def check_links(deps: Deps, host_config: HostConfig) -> None:
    """Raises: InvalidParameter when a linked container does not exist."""
    for text in host_config.links or ():
        name, _ = parse_link(text)
        try:
            deps.store.find(name)
        except NotFound as error:
            raise InvalidParameter(
                f"could not get container for {name}: {error.message}"
            ) from error


def linked(deps: Deps, container: Container) -> tuple[Link, ...]:
    """The linked containers as they are now. Raises: Conflict when one does not run, NotFound."""
    links: list[Link] = []
    for text in container.host_config.links or ():
        name, alias = parse_link(text)
        other = deps.store.find(name)
        if other.state.status not in ("running", "paused"):
            raise Conflict(
                f"Cannot link to a non running container: /{other.name} AS "
                f"/{container.name}/{alias}"
            )
        exposed = {} if other.config.exposed_ports is UNSET else other.config.exposed_ports or {}
        addresses = [point.ip_address for point in other.networks.values() if point.ip_address]
        links.append(
            Link(
                alias=alias,
                name=other.name,
                hostname=other.config.hostname,
                address=addresses[0] if addresses else "",
                ports=(*exposed, *other.ports),
                env=tuple(other.config.env or ()),
            )
        )
    return tuple(links)


async def remove_link(deps: Deps, path: str) -> None:
    """Take back the link `parent/alias`: the parent is not told of it at its next start.

    Raises: Conflict when `path` is a container's own name, NotFound.
    """
    parent, _, alias = path.strip("/").rpartition("/")
    if not parent:
        deps.store.find(alias)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    identifier = deps.store.find(parent).id
    async with deps.store.lock(identifier):
        container = deps.store.find(identifier)
        links = container.host_config.links or []
        kept = [text for text in links if parse_link(text)[1] != alias]
        if len(kept) == len(links):
            raise NotFound(f"No such container: {path}")
        host_config = replace(container.host_config, links=kept or None)
        await deps.store.put(replace(container, host_config=host_config), durable=True)
