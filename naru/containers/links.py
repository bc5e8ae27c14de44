"""`--link`: which containers another one is told of, by name and by environment.

A link belongs to the container that was created with it and leads to one container, however that
is called by then; it is read at each start, and `/etc/hosts` follows when the linked one gets
another address.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import UNSET
from msgspec.structs import replace

from naru.base.errors import Conflict, InvalidParameter, NaruError, NotFound
from naru.containers.deps import Deps
from naru.containers.link_index import links_of
from naru.containers.model import Container, Linked
from naru.containers.store import ContainerStore
from naru.kernel.threads import offload
from naru.runtime.etc_files import with_address, without_name
from naru.runtime.links import Link, parse_link
from naru.spec.engine.container_config import EndpointSettings, HostConfig

log = logging.getLogger("naru.containers")

_ALIVE = frozenset({"running", "paused"})
_HOSTS_LIMIT_BYTES = 1 << 20


def resolve_links(store: ContainerStore, host_config: HostConfig) -> dict[str, Linked]:
    """Alias → container. Raises: InvalidParameter when a linked container does not exist."""
    found = {}
    for text in host_config.links or ():
        name, alias = parse_link(text)
        try:
            other = store.find(name)
        except NotFound as error:
            raise InvalidParameter(
                f"could not get container for {name}: {error.message}"
            ) from error
        found[alias] = Linked(id=other.id, name=other.name)
    return found


def other_of(store: ContainerStore, linked: Linked) -> Container | None:
    """The container that a link leads to, None when it is gone."""
    if linked.id:
        return store.get(linked.id)
    try:
        return store.find(linked.name)
    except NaruError:
        return None


def shown_links(store: ContainerStore, container: Container) -> list[str]:
    """As inspect tells them: `/other:/this/alias`."""
    shown = []
    for alias, linked in links_of(container).items():
        other = other_of(store, linked)
        name = linked.name if other is None else other.name
        shown.append(f"/{name}:/{container.name}/{alias}")
    return shown


def linked_names(store: ContainerStore, container: Container) -> list[str]:
    """What else the container is called, by those that link to it: `/other/alias`."""
    holders = (store.get(identifier) for identifier in store.links.of(container.id))
    return sorted(
        f"/{holder.name}/{alias}"
        for holder in holders
        if holder is not None
        for alias, linked in holder.links.items()
        if linked.id == container.id
    )


def linked(deps: Deps, container: Container, *, alive_only: bool = False) -> tuple[Link, ...]:
    """The linked containers as they are now. Raises: Conflict when one does not run, unless
    `alive_only` leaves those out."""
    links: list[Link] = []
    for alias, link in links_of(container).items():
        other = other_of(deps.store, link)
        if other is None or other.state.status not in _ALIVE:
            if alive_only:
                continue
            name = link.name if other is None else other.name
            raise Conflict(
                f"Cannot link to a non running container: /{name} AS /{container.name}/{alias}"
            )
        exposed = {} if other.config.exposed_ports is UNSET else other.config.exposed_ports or {}
        links.append(
            Link(
                alias=alias,
                name=other.name,
                hostname=other.config.hostname,
                address=first_address(other.networks),
                ports=(*exposed, *other.ports),
                env=tuple(other.config.env or ()),
            )
        )
    return tuple(links)


def first_address(endpoints: Mapping[str, EndpointSettings]) -> str:
    """The first address of a container, "" without one."""
    return next(filter(None, (point.ip_address for point in endpoints.values())), "")


async def tell_linking(deps: Deps, identifier: str, address: str) -> None:
    """The container has `address` now: `/etc/hosts` of those that run and link to it follows."""
    for holder_id in deps.store.links.of(identifier):
        holder = deps.store.get(holder_id)
        if holder is None or holder.state.status not in _ALIVE or not address:
            continue
        names = [alias for alias, link in holder.links.items() if link.id == identifier]
        await _edit_hosts(deps, holder, partial(with_address, names=names, address=address))


async def _edit_hosts(deps: Deps, container: Container, edit: Callable[[str], str]) -> None:
    path = os.path.join(deps.settings.container_dir(container.id), "hosts")
    try:
        async with deps.store.lock(f"{container.id}/hosts"):
            await offload(_rewrite, path, edit)
    except OSError as error:
        log.warning("the hosts file of %s is not up to date: %s", container.name, error)


def _rewrite(path: str, edit: Callable[[str], str]) -> None:
    """In place: the file is mounted in the container."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = os.pread(fd, _HOSTS_LIMIT_BYTES, 0)
        if len(data) == _HOSTS_LIMIT_BYTES:
            return  # the container made it something else
        text = data.decode(errors="surrogateescape")
        edited = edit(text)
        if edited != text:
            new = edited.encode(errors="surrogateescape")
            os.pwrite(fd, new, 0)
            os.ftruncate(fd, len(new))
    finally:
        os.close(fd)


async def remove_link(deps: Deps, path: str) -> None:
    """Take back the link `parent/alias`: names, variables and hosts of the parent forget it.

    Raises: Conflict when `path` is a container's own name, NotFound.
    """
    parent, _, alias = path.strip("/").rpartition("/")
    if not parent:
        deps.store.find(alias)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    try:
        identifier = deps.store.find(parent).id
    except NotFound as error:
        raise NotFound(f"No such container: {path}") from error
    async with deps.store.lock(identifier):
        container = deps.store.find(identifier)
        links = dict(links_of(container))
        if links.pop(alias, None) is None:
            raise NotFound(f"No such container: {path}")
        asked = container.host_config.links or []
        kept = [text for text in asked if parse_link(text)[1] != alias]
        host_config = replace(container.host_config, links=kept or None)
        unlinked = replace(container, host_config=host_config, links=links)
        await deps.store.put(unlinked, durable=True)
    if unlinked.state.status in _ALIVE:
        await _edit_hosts(deps, unlinked, partial(without_name, name=alias))
