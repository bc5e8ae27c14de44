"""Which network leads a container out, and what is published through it. Pure.

The rule: of the endpoints whose network has a way out (not internal, with a gateway of the family)
the one with the highest `GwPriority`; among equals one that leads out in both families; among
those the first by name. IPv4 and IPv6 choose for themselves. Ports are published on the endpoints
that lead out, so that answers go back the way that questions came.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from naru.network import drivers
from naru.network.bindings import PortWish, Published
from naru.network.model import Publication
from naru.network.plan import Attached, EndpointPlan

ANY_V4 = "0.0.0.0"  # noqa: S104 - the wildcard of a key, nothing listens
ANY_V6 = "::"


@dataclass(frozen=True, slots=True)
class Exits:
    """The endpoints of the default routes; None where nothing leads out."""

    v4: EndpointPlan | None = None
    v6: EndpointPlan | None = None


def exits(endpoints: Iterable[EndpointPlan]) -> Exits:
    """The default routes' endpoints by the rule above."""
    order = sorted(endpoints, key=_rank)
    return Exits(
        next((item for item in order if _leads_v4(item)), None),
        next((item for item in order if _leads_v6(item)), None),
    )


def routes(endpoint: EndpointPlan, chosen: Exits) -> tuple[tuple[str | None, str], ...]:
    """The default routes that go through `endpoint`."""
    found: list[tuple[str | None, str]] = []
    if chosen.v4 is endpoint:
        found.append((None, endpoint.settings.gateway))
    if chosen.v6 is endpoint:
        found.append((None, endpoint.settings.ipv6_gateway))
    return tuple(found)


def modes(item: Attached) -> tuple[str, str]:
    """(IPv4, IPv6): how ports are published, `nat`, `routed`, or "" for not at all.

    IPv6 clients of a container without an IPv6 exit are carried by the relay: `relay`.
    """
    chosen = exits(item.endpoints)
    mode4 = mode6 = ""
    if chosen.v4 is not None and chosen.v4.network.driver == "bridge":
        mode4 = drivers.settings_of(chosen.v4.network).mode4
    if chosen.v6 is not None and chosen.v6.network.driver == "bridge":
        mode6 = drivers.settings_of(chosen.v6.network).mode6
    elif chosen.v6 is None and mode4 == "nat":
        mode6 = "relay"
    return mode4, mode6


def host_binding(item: Attached) -> str:
    """Where the network publishes by default, "" for everywhere."""
    chosen = exits(item.endpoints).v4
    if chosen is None or chosen.network.driver != "bridge":
        return ""
    return drivers.settings_of(chosen.network).host_binding


def publishing(item: Attached) -> tuple[str, str, str]:
    """Everything of the ways out that says which ports of the host are granted."""
    return *modes(item), host_binding(item)


def publications(item: Attached) -> tuple[Publication, ...]:
    """What the firewall is told of a container's granted ports."""
    chosen = exits(item.endpoints)
    v4 = chosen.v4.settings.ip_address if chosen.v4 is not None else ""
    v6 = chosen.v6.settings.global_ipv6_address if chosen.v6 is not None else ""
    found = []
    for one in item.granted:
        ipv6 = ":" in one.host_ip
        target = (v6 or v4) if ipv6 else v4
        if not target:
            continue
        found.append(
            Publication(
                one.wish.proto,
                one.host_ip,
                one.host_port,
                target,
                one.wish.port,
                sources_of(item, one),
                v4 if ipv6 and v6 else "",
            )
        )
    return tuple(found)


def sources_of(item: Attached, one: Published) -> tuple[str, ...]:
    """The networks that may reach a published port; () for everyone."""
    sources = item.request.sources
    return sources.get(f"{one.host_port}/{one.wish.proto}") or sources.get("*") or ()


def families(wishes: Sequence[PortWish], mode4: str, mode6: str) -> list[tuple[PortWish, str]]:
    """Each wish with the families of the host's addresses that it is granted on: 4, 6 or 46."""
    granted = []
    for wish in wishes:
        allowed = ("4" if mode4 == "nat" else "") + ("6" if mode6 in ("nat", "relay") else "")
        if wish.host_ip:
            allowed = allowed if ("6" if ":" in wish.host_ip else "4") in allowed else ""
        if allowed:
            granted.append((wish, allowed))
    return granted


def routed(wishes: Sequence[PortWish], mode4: str, mode6: str) -> list[Published]:
    """The wishes that a routed network fulfils: the container's own port is open to others."""
    found = []
    for wish in wishes:
        ipv6 = ":" in wish.host_ip
        if mode4 == "routed" and not ipv6:
            found.append(Published(wish, ANY_V4, 0))
        if mode6 == "routed" and (ipv6 or not wish.host_ip):
            found.append(Published(wish, ANY_V6, 0))
    return found


def _leads_v4(item: EndpointPlan) -> bool:
    return bool(item.settings.gateway) and not item.network.internal


def _leads_v6(item: EndpointPlan) -> bool:
    return bool(item.settings.ipv6_gateway) and not item.network.internal


def _rank(item: EndpointPlan) -> tuple[int, int, str]:
    both = _leads_v4(item) and _leads_v6(item)
    return -item.settings.gw_priority, 0 if both else 1, item.network.name
