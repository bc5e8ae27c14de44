"""Who is linked by whom: kept beside the records, so that what is linked knows its names.

Pure.
"""

from collections.abc import Mapping

from naru.containers.model import Container, Linked
from naru.runtime.links import parse_link


def links_of(container: Container) -> Mapping[str, Linked]:
    """Alias → linked container. A record from before links were kept by id has names only."""
    if container.links or not container.host_config.links:
        return container.links
    pairs = (parse_link(text) for text in container.host_config.links)
    return {alias: Linked(name=name) for name, alias in pairs}


class LinkIndex:
    """Linked container's id → ids of those that link to it."""

    def __init__(self) -> None:
        self._linking: dict[str, set[str]] = {}

    def of(self, identifier: str) -> set[str]:
        """Ids of the containers that link to this one."""
        return self._linking.get(identifier, set())

    def changed(self, before: Container | None, now: Container | None) -> set[str]:
        """Take note of a record's change; ids of those whose names it changes."""
        old = {} if before is None else before.links
        new = {} if now is None else now.links
        if not old and not new:
            return set()
        if before is not None and now is not None and (before.name, old) == (now.name, new):
            return set()
        for record in filter(None, (before, now)):
            for linked in record.links.values():
                holders = self._linking.setdefault(linked.id, set())
                (holders.add if record is now else holders.discard)(record.id)
                if not holders:
                    del self._linking[linked.id]
        return {linked.id for links in (old, new) for linked in links.values()}
