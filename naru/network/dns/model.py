"""Who may be asked for, and by whom: what the network service tells of names. Pure.

Only narud imports this; the name server gets it as messages (see `control`), in which members of
one network are one *zone*, told once for all who are on it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Zones = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Member:
    """One container's endpoint on one network.

    `own_names` are its alone (container name first, short id), `aliases` may be shared by several
    containers. `listed=False` leaves it out of its aliases: it is not healthy.
    """

    network_id: str
    network_name: str
    addresses: tuple[str, ...]
    own_names: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Client:
    """One sandbox and what it may ask. `id`: the container's; `pin`: its namespace's file.

    `members`: everybody on its networks, itself too, in the order in which networks are searched.
    `upstreams`: resolvers in order; `host_upstreams`: they are those of the host's resolv.conf.
    `links`: private names. `forward=False`: nothing is asked for outside (internal networks).
    `single_labels=False`: names without a dot are not forwarded (`ndots` was asked for).
    """

    id: str
    pin: str
    members: tuple[Member, ...] = ()
    upstreams: tuple[str, ...] = ()
    host_upstreams: bool = False
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forward: bool = True
    single_labels: bool = True


def encode(clients: Sequence[Client]) -> tuple[list[dict[str, Any]], Zones]:
    """What the server is told of clients, and the zones that this speaks of by key.

    Cheapest when clients of one network share their `Member` objects: those are looked at once.
    """
    zones: Zones = {}
    keys: dict[tuple[int, ...], str] = {}
    told = []
    for client in clients:
        networks: dict[str, list[Member]] = {}
        for member in client.members:
            networks.setdefault(member.network_id, []).append(member)
        own = []
        for members in networks.values():
            identity = tuple(map(id, members))
            key = keys.get(identity)
            if key is None:
                key, zone = _zone(members)
                keys[identity] = key
                zones[key] = zone
            own.append(key)
        told.append(
            {
                "id": client.id,
                "zones": own,
                "upstreams": list(client.upstreams),
                "host": client.host_upstreams,
                "links": {name: list(found) for name, found in client.links.items()},
                "forward": client.forward,
                "single": client.single_labels,
            }
        )
    return told, zones


def _zone(members: Sequence[Member]) -> tuple[str, list[Any]]:
    entries = [
        [member.own_names, member.aliases, member.addresses, member.listed] for member in members
    ]
    zone: list[Any] = [members[0].network_name, entries]
    text = json.dumps([members[0].network_id, zone]).encode()
    return hashlib.sha256(text).hexdigest()[:24], zone
