"""The engine's nftables table as text: the whole of it, and the changes of one endpoint. Pure.

One table per engine, family inet. Published ports are elements of four maps, so that a port costs
one element and a packet the same look-ups with one port and with ten thousand:

    published       address . protocol . port → container . port      a given IPv4 address
    published_any             protocol . port → container . port      every IPv4 address
    published6, published6_any                                         the same for IPv6, towards
                                                                       the relay (see `relay`)

Priorities: `raw` drops what may never come from a bridge, before connection tracking; `nat` at
dstnat and srcnat; `filter` drops what nobody published. A verdict of ours only ever concerns
packets from or to our bridges or our published ports; other people's chains go on seeing them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from naru.network.model import Publication

ANY_V4 = "0.0.0.0"  # noqa: S104 - a key of the map, nothing listens
ANY_V6 = "::"


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """A bridge whose containers reach out masqueraded and are reached by publication only."""

    bridge: str
    subnet: str


@dataclass(frozen=True, slots=True)
class RelayRules:
    """The relay that carries IPv6 clients to IPv4 containers: its prefix (/64) and its port."""

    prefix: str
    port: int


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything that the engine declares of the host's firewall.

    `nonce` goes into the table's comment: by it the writer knows its own writing again.
    """

    table: str
    bridges: tuple[BridgeRules, ...] = ()
    relay: RelayRules | None = None
    publications: tuple[Publication, ...] = ()
    nonce: str = ""


_MAPS = """\
  map published {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
  }
  map published_any {
    type inet_proto . inet_service : ipv4_addr . inet_service
  }
"""

_MAPS6 = """\
  map published6 {
    type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
  }
  map published6_any {
    type inet_proto . inet_service : ipv6_addr . inet_service
  }
"""

_TO_PUBLISHED = """\
    dnat ip to ip daddr . meta l4proto . th dport map @published
    fib daddr type local dnat ip to meta l4proto . th dport map @published_any
"""

_TO_PUBLISHED6 = """\
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6
    fib daddr type local dnat ip6 to meta l4proto . th dport map @published6_any
"""


def render(rules: Ruleset) -> str:
    """One transaction that makes the table what `rules` say, whatever it was before."""
    head = f"table inet {rules.table}\ndelete table inet {rules.table}\n"
    chains = [
        _raw(rules),
        _prerouting(rules),
        _output(rules),
        _postrouting(rules),
        _forward(rules),
    ]
    if rules.relay is not None:
        chains.append(_input(rules.relay))
    maps = _MAPS + (_MAPS6 if rules.relay is not None else "")
    comment = f'  comment "kept by narud {rules.nonce}"\n' if rules.nonce else ""
    body = f"table inet {rules.table} {{\n{comment}{maps}{''.join(chains)}}}\n"
    return head + body + add(rules.table, rules.publications, rules.relay)


def add(table: str, publications: Iterable[Publication], relay: RelayRules | None) -> str:
    """The commands that publish; "" when there is nothing to do."""
    return "".join(
        f"add element inet {table} {name} {{ {', '.join(elements)} }}\n"
        for name, elements in _elements(publications, relay, with_target=True).items()
    )


def remove(table: str, publications: Iterable[Publication], relay: RelayRules | None) -> str:
    """The commands that take publications back; they fail as a whole when one is missing."""
    return "".join(
        f"delete element inet {table} {name} {{ {', '.join(elements)} }}\n"
        for name, elements in _elements(publications, relay, with_target=False).items()
    )


def dropping_chains(listing: Mapping[str, Any]) -> list[str]:
    """The chains of `nft -j list chains` that drop forwarded IPv4 packets by default.

    In nftables a drop is final, whatever other tables say.
    """
    chains = [item["chain"] for item in listing.get("nftables", ()) if "chain" in item]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain["family"] in ("ip", "inet")
        and (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
    ]


def relay_address(prefix: str, target_ip: str, target_port: int) -> str:
    """The address below the relay's prefix that means `target_ip`:`target_port`."""
    a, b, c, d = (int(part) for part in target_ip.split("."))
    return f"{prefix}{a << 8 | b:x}:{c << 8 | d:x}:{target_port:x}:0"


def _elements(
    publications: Iterable[Publication], relay: RelayRules | None, *, with_target: bool
) -> dict[str, list[str]]:
    elements: dict[str, list[str]] = {}
    for item in publications:
        if ":" in item.host_ip:
            if relay is None or item.proto == "sctp":
                continue
            exact, any_, anywhere = "published6", "published6_any", ANY_V6
            address = relay_address(relay.prefix, item.target_ip, item.target_port)
            target = f"{address} . {relay.port}"
        else:
            exact, any_, anywhere = "published", "published_any", ANY_V4
            target = f"{item.target_ip} . {item.target_port}"
        key = f"{item.proto} . {item.host_port}"
        name = any_
        if item.host_ip != anywhere:
            name, key = exact, f"{item.host_ip} . {key}"
        elements.setdefault(name, []).append(f"{key} : {target}" if with_target else key)
    return elements


def _chain(name: str, hook: str, rules: str) -> str:
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{rules}  }}\n"


def _raw(rules: Ruleset) -> str:
    """route_localnet is on for the bridges: their containers may not use the host's loopback."""
    lines = "".join(
        f'    iifname "{item.bridge}" ip daddr 127.0.0.0/8 drop\n'
        f'    iifname "{item.bridge}" ip saddr 127.0.0.0/8 drop\n'
        for item in rules.bridges
    )
    if rules.relay is not None:
        lines += f'    iifname != "lo" ip6 daddr {rules.relay.prefix}:/64 drop\n'
    return _chain("raw", "filter hook prerouting priority raw", lines)


def _prerouting(rules: Ruleset) -> str:
    """From outside and from containers. A loopback address from outside is never translated."""
    lines = "    ip daddr 127.0.0.0/8 return\n" + _TO_PUBLISHED
    if rules.relay is not None:
        lines += "    ip6 daddr ::1 return\n" + _TO_PUBLISHED6
    return _chain("prerouting", "nat hook prerouting priority dstnat", lines)


def _output(rules: Ruleset) -> str:
    """From the host itself, 127.0.0.1 and [::1] included."""
    lines = _TO_PUBLISHED + (_TO_PUBLISHED6 if rules.relay is not None else "")
    return _chain("output", "nat hook output priority -100", lines)


def _postrouting(rules: Ruleset) -> str:
    """Out masqueraded; back in with the client's address, save where no answer would return."""
    lines = "".join(
        f'    ip saddr {item.subnet} oifname != "{item.bridge}" masquerade\n'
        f'    ip saddr {item.subnet} oifname "{item.bridge}" ct status dnat masquerade\n'
        f'    ip saddr 127.0.0.0/8 oifname "{item.bridge}" masquerade\n'
        for item in rules.bridges
    )
    return _chain("postrouting", "nat hook postrouting priority srcnat", lines)


def _forward(rules: Ruleset) -> str:
    """Into a bridge: answers, neighbours, and what was published. Nothing else."""
    lines = "".join(
        f'    oifname "{item.bridge}" ct state established,related accept\n'
        f'    oifname "{item.bridge}" iifname "{item.bridge}" accept\n'
        f'    oifname "{item.bridge}" ct status dnat accept\n'
        f'    oifname "{item.bridge}" drop\n'
        for item in rules.bridges
    )
    return _chain("forwarding", "filter hook forward priority filter", lines)


def _input(relay: RelayRules) -> str:
    """The relay's port answers to translated connections only."""
    lines = (
        f"    meta l4proto {{ tcp, udp }} th dport {relay.port} ct status dnat accept\n"
        f"    meta l4proto {{ tcp, udp }} th dport {relay.port} drop\n"
    )
    return _chain("input", "filter hook input priority filter", lines)
