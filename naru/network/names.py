"""Who may ask the name server for what, out of what is attached. Pure.

Names count on networks of somebody's own only, as on Docker. A container sees the names of the
networks that it is on; `--link` gives it private ones besides.
"""

from collections.abc import Collection, Iterable

from naru.base.ids import short
from naru.network.dns.model import Client, Member
from naru.network.plan import Attached, EndpointPlan
from naru.network.validate import PREDEFINED

Members = dict[str, tuple[Member, ...]]


def clients(attached: Collection[Attached], unlisted: Collection[str]) -> list[Client]:
    """A client for each container that the name server answers; `unlisted`: ids of those that are
    left out of shared aliases now. Clients on one network share its members."""
    members = members_of(attached, unlisted)
    return [client_of(item, members) for item in attached if asks(item)]


def members_of(attached: Iterable[Attached], unlisted: Collection[str]) -> Members:
    """The members of every network with names, by its id."""
    found: dict[str, list[Member]] = {}
    for item in attached:
        for endpoint in item.endpoints:
            if _has_names(endpoint):
                member = _member(item, endpoint, listed=item.container_id not in unlisted)
                found.setdefault(endpoint.network.id, []).append(member)
    return {network_id: tuple(members) for network_id, members in found.items()}


def client_of(item: Attached, members: Members) -> Client:
    """What one container may ask."""
    own = [endpoint for endpoint in item.endpoints if _has_names(endpoint)]
    resolvers = item.request.resolvers
    return Client(
        id=item.container_id,
        pin=item.pin,
        members=tuple(one for endpoint in own for one in members.get(endpoint.network.id, ())),
        upstreams=resolvers.servers,
        host_upstreams=resolvers.of_host,
        links={
            alias: addresses
            for endpoint in own
            for alias, addresses in _links(endpoint, members).items()
        },
        forward=any(not endpoint.network.internal for endpoint in item.endpoints),
        single_labels=resolvers.single_labels,
    )


def asks(item: Attached) -> bool:
    """Whether the name server answers in its sandbox."""
    return bool(item.pin) and any(_has_names(endpoint) for endpoint in item.endpoints)


def networks_of(item: Attached) -> set[str]:
    """Ids of the networks whose names change when this container comes or goes."""
    return {endpoint.network.id for endpoint in item.endpoints if _has_names(endpoint)}


def _has_names(endpoint: EndpointPlan) -> bool:
    return endpoint.network.name not in PREDEFINED


def _member(item: Attached, endpoint: EndpointPlan, *, listed: bool) -> Member:
    settings = endpoint.settings
    own = (item.name, short(item.container_id))
    names = (*(settings.aliases or ()), *filter(None, (item.request.hostname,)))
    return Member(
        network_id=endpoint.network.id,
        network_name=endpoint.network.name,
        addresses=tuple(filter(None, (settings.ip_address, settings.global_ipv6_address))),
        own_names=own,
        aliases=tuple(dict.fromkeys(name for name in names if name not in own)),
        listed=listed,
    )


def _links(endpoint: EndpointPlan, members: Members) -> dict[str, tuple[str, ...]]:
    """The private names of `--link other:alias`, as far as the others are there now."""
    found = {}
    for link in endpoint.settings.links or ():
        other, _, alias = link.partition(":")
        other = other.strip("/")
        for member in members.get(endpoint.network.id, ()):
            if other in (*member.own_names, *member.aliases):
                found[alias or other] = member.addresses
                break
    return found
