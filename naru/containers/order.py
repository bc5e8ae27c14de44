"""Who starts after whom: containers after those whose namespaces or names they use. Pure."""

from collections.abc import Collection, Mapping

from naru.containers.link_index import links_of
from naru.containers.model import Container


def needed_by(container: Container) -> list[str]:
    """Names or ids of the containers that must run before this one starts."""
    host = container.host_config
    modes = (host.network_mode, host.ipc_mode, host.pid_mode)
    joined = [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]
    return [*joined, *(linked.id or linked.name for linked in links_of(container).values())]


def waits_of(needs: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """For whom each waits, of those that are started too. A circle is cut somewhere."""
    rank: dict[str, int] = {}

    def visit(identifier: str, above: frozenset[str]) -> None:
        if identifier in rank or identifier in above:
            return
        for other in needs.get(identifier, ()):
            if other in needs:
                visit(other, above | {identifier})
        rank.setdefault(identifier, len(rank))

    for identifier in needs:
        visit(identifier, frozenset())
    return {
        identifier: tuple(
            other for other in others if other in rank and rank[other] < rank[identifier]
        )
        for identifier, others in needs.items()
    }
