"""The engine's nftables table as text: the whole of it, and the changes of one endpoint. Pure.

One table per engine, family inet. Everything that grows is an element of a set or a map, so that a
packet costs the same look-ups with one network and one port as with thousands:

    published       address . protocol . port → container . port      a given IPv4 address
    published_any             protocol . port → container . port      every IPv4 address
    published6, published6_any                                         the same for IPv6: to the
                                        container, or to the relay (see `relay`) where it has none
    published6_loopback                                                [::1], always to the relay
    restricted, allowed     host's address . protocol . port [. source]           `sources`
    open, open6             container . protocol . port     ports of routed networks
    bridges, loops, neighbours, internal, masq, masq6, routed       what each bridge may

Priorities: `raw` drops what may never come from a bridge, before connection tracking; `nat` at
dstnat and srcnat; `filter` drops what nobody published. A verdict of ours only ever concerns
packets from or to our bridges or our published ports; other people's chains go on seeing them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from naru.network.gateways import ANY_V4, ANY_V6
from naru.network.model import Publication


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What one bridge may. `masq*`: its containers reach out with the host's address; `snat*`:
    with this one. `icc`: they reach each other. `routed`: other hosts may ping them."""

    bridge: str
    masq4: bool = True
    masq6: bool = True
    snat4: str = ""
    snat6: str = ""
    icc: bool = True
    internal: bool = False
    routed: bool = False


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


_SOURCE_SETS = frozenset({"restricted", "allowed", "restricted6", "allowed6"})

_SETS = """\
  map published {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
  }
  map published_any {
    type inet_proto . inet_service : ipv4_addr . inet_service
  }
  map published6 {
    type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
  }
  map published6_any {
    type inet_proto . inet_service : ipv6_addr . inet_service
  }
  map published6_loopback {
    type inet_proto . inet_service : ipv6_addr . inet_service
  }
  set restricted {
    type ipv4_addr . inet_proto . inet_service
    flags interval
  }
  set allowed {
    type ipv4_addr . inet_proto . inet_service . ipv4_addr
    flags interval
  }
  set restricted6 {
    type ipv6_addr . inet_proto . inet_service
    flags interval
  }
  set allowed6 {
    type ipv6_addr . inet_proto . inet_service . ipv6_addr
    flags interval
  }
  set open {
    type ipv4_addr . inet_proto . inet_service
  }
  set open6 {
    type ipv6_addr . inet_proto . inet_service
  }
  set bridges {
    type ifname
  }
  set loops {
    type ifname . ifname
  }
  set neighbours {
    type ifname . ifname
  }
  set internal {
    type ifname
  }
  set routed {
    type ifname
  }
  set masq {
    type ifname
  }
  set masq6 {
    type ifname
  }
  map source {
    type ifname : ipv4_addr
  }
  map source6 {
    type ifname : ipv6_addr
  }
"""

_TO_PUBLISHED = """\
    dnat ip to ip daddr . meta l4proto . th dport map @published
    fib daddr type local dnat ip to meta l4proto . th dport map @published_any
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6
    fib daddr type local dnat ip6 to meta l4proto . th dport map @published6_any
"""

# From outside and from containers. A loopback address from outside is never translated.
_PREROUTING = "    ip daddr 127.0.0.0/8 return\n    ip6 daddr ::1 return\n" + _TO_PUBLISHED

# From the host itself. [::1] leaves on no other interface than lo: only the relay carries it.
_OUTPUT = (
    "    ip6 daddr ::1 dnat ip6 to meta l4proto . th dport map @published6_loopback\n"
    "    ip6 daddr ::1 return\n" + _TO_PUBLISHED
)

# Out masqueraded; back in with the client's address, save where no answer would return. With
# bridge netfilter the bridge itself turns a packet round, and then nothing says whence it came.
_POSTROUTING = """\
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    iifname . oifname @loops ct status dnat masquerade
    iif 0 fib saddr type unicast oifname @bridges ct status dnat masquerade
    iifname . oifname @loops accept
    snat ip to iifname map @source
    snat ip6 to iifname map @source6
    meta nfproto ipv4 iifname @masq masquerade
    meta nfproto ipv6 iifname @masq6 masquerade
"""

# Into a bridge: neighbours, answers, and what was published. Nothing else.
_FORWARD = """\
    iifname . oifname @neighbours accept
    iifname @internal drop
    oifname @internal drop
    oifname != @bridges accept
    ct state established,related accept
    ct status dnat accept
    ip daddr . meta l4proto . th dport @open accept
    ip6 daddr . meta l4proto . th dport @open6 accept
    oifname @routed meta l4proto { icmp, ipv6-icmp } accept
    drop
"""

# Before anything is translated: ports that only some networks may reach.
_SOURCES = """\
    ct state != new accept
    fib daddr type != local accept
    ip daddr . meta l4proto . th dport @restricted jump sources4
    ip6 daddr . meta l4proto . th dport @restricted6 jump sources6
"""

_SOURCE_CHAINS = """\
  chain sources4 {
    ip daddr . meta l4proto . th dport . ip saddr != @allowed drop
  }
  chain sources6 {
    ip6 daddr . meta l4proto . th dport . ip6 saddr != @allowed6 drop
  }
"""


def render(rules: Ruleset) -> str:
    """One transaction that makes the table what `rules` say, whatever it was before."""
    head = f"table inet {rules.table}\ndelete table inet {rules.table}\n"
    chains = [
        _SOURCE_CHAINS,
        _chain("raw", "filter hook prerouting priority raw", _raw(rules.relay)),
        _chain("sources", "filter hook prerouting priority -101", _SOURCES),
        _chain("prerouting", "nat hook prerouting priority dstnat", _PREROUTING),
        _chain("output", "nat hook output priority -100", _OUTPUT),
        _chain("postrouting", "nat hook postrouting priority srcnat", _POSTROUTING),
        _chain("forwarding", "filter hook forward priority filter", _FORWARD),
    ]
    if rules.relay is not None:
        chains.append(_chain("input", "filter hook input priority filter", _input(rules.relay)))
    comment = f'  comment "kept by narud {rules.nonce}"\n' if rules.nonce else ""
    body = f"table inet {rules.table} {{\n{comment}{_SETS}{''.join(chains)}}}\n"
    elements = add_bridges(rules.table, rules.bridges)
    return head + body + elements + add(rules.table, rules.publications, rules.relay)


def add(table: str, publications: Iterable[Publication], relay: RelayRules | None) -> str:
    """The commands that publish; "" when there is nothing to do."""
    return _commands("add", table, _elements(publications, relay), with_value=True)


def remove(table: str, publications: Iterable[Publication], relay: RelayRules | None) -> str:
    """The commands that take publications back; they fail as a whole when one is missing."""
    return _commands("delete", table, _elements(publications, relay), with_value=False)


def add_bridges(table: str, bridges: Iterable[BridgeRules]) -> str:
    """The commands that let bridges be; "" without any."""
    return _commands("add", table, _bridge_elements(bridges), with_value=True)


def remove_bridges(table: str, bridges: Iterable[BridgeRules]) -> str:
    """The commands that forget bridges; they fail as a whole when one is missing."""
    return _commands("delete", table, _bridge_elements(bridges), with_value=False)


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


def needs_relay(publications: Iterable[Publication]) -> bool:
    """Whether a process must carry IPv6 clients of these."""
    return any(
        ":" in item.host_ip
        and item.proto != "sctp"
        and (":" not in item.target_ip or (item.relay_ip and item.host_ip in (ANY_V6, "::1")))
        for item in publications
    )


def describe(publication: Publication) -> str:
    """The element that publishes, as `nft list` shows it; for people."""
    entries = (item for item in _entries(publication, None) if item[0] not in _SOURCE_SETS)
    name, key, value = next(entries, ("", "", ""))
    if not name:
        return f"published6 {{ {publication.proto} . {publication.host_port} : relay }}"
    return f"{name} {{ {key}{' : ' + value if value else ''} }}"


Entry = tuple[str, str, str]


def _elements(publications: Iterable[Publication], relay: RelayRules | None) -> list[Entry]:
    return [entry for item in publications for entry in _entries(item, relay)]


def _entries(item: Publication, relay: RelayRules | None) -> Iterator[Entry]:
    """(set or map, key, value) of everything that one publication is made of."""
    if not item.host_port:
        name = "open6" if ":" in item.target_ip else "open"
        yield name, f"{item.target_ip} . {item.proto} . {item.target_port}", ""
        return
    yield from _sourced(item)
    if ":" not in item.host_ip:
        yield _entry(item, "published", ANY_V4, f"{item.target_ip} . {item.target_port}")
        return
    if ":" in item.target_ip:
        yield _entry(item, "published6", ANY_V6, f"{item.target_ip} . {item.target_port}")
    carried = item.relay_ip if ":" in item.target_ip else item.target_ip
    if relay is None or not carried or item.proto == "sctp":
        return
    target = f"{relay_address(relay.prefix, carried, item.target_port)} . {relay.port}"
    if ":" not in item.target_ip:
        yield _entry(item, "published6", ANY_V6, target)
    if item.host_ip in (ANY_V6, "::1"):
        yield "published6_loopback", f"{item.proto} . {item.host_port}", target


def _entry(item: Publication, name: str, anywhere: str, target: str) -> Entry:
    key = f"{item.proto} . {item.host_port}"
    if item.host_ip == anywhere:
        return name + "_any", key, target
    return name, f"{item.host_ip} . {key}", target


def _sourced(item: Publication) -> Iterator[Entry]:
    if not item.sources:
        return
    suffix = "6" if ":" in item.host_ip else ""
    address = item.host_ip + "/0" if item.host_ip in (ANY_V4, ANY_V6) else item.host_ip
    key = f"{address} . {item.proto} . {item.host_port}"
    yield "restricted" + suffix, key, ""
    for source in item.sources:
        if (":" in source) == bool(suffix):
            yield "allowed" + suffix, f"{key} . {source}", ""


def _bridge_elements(bridges: Iterable[BridgeRules]) -> list[Entry]:
    entries: list[Entry] = []
    for item in bridges:
        name = f'"{item.bridge}"'
        entries += [("bridges", name, ""), ("loops", f"{name} . {name}", "")]
        for wanted, where, key, value in (
            (item.icc, "neighbours", f"{name} . {name}", ""),
            (item.internal, "internal", name, ""),
            (item.routed, "routed", name, ""),
            (item.masq4 and not item.snat4, "masq", name, ""),
            (item.masq6 and not item.snat6, "masq6", name, ""),
            (bool(item.snat4), "source", name, item.snat4),
            (bool(item.snat6), "source6", name, item.snat6),
        ):
            if wanted:
                entries.append((where, key, value))
    return entries


def _commands(verb: str, table: str, entries: Iterable[Entry], *, with_value: bool) -> str:
    grouped: dict[str, dict[str, str]] = {}
    for name, key, value in entries:
        element = f"{key} : {value}" if value and with_value else key
        grouped.setdefault(name, {})[key] = element
    return "".join(
        f"{verb} element inet {table} {name} {{ {', '.join(elements.values())} }}\n"
        for name, elements in grouped.items()
    )


def _chain(name: str, hook: str, rules: str) -> str:
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{rules}  }}\n"


def _raw(relay: RelayRules | None) -> str:
    """route_localnet is on for the bridges: their containers may not use the host's loopback."""
    lines = (
        "    iifname @bridges ip daddr 127.0.0.0/8 drop\n"
        "    iifname @bridges ip saddr 127.0.0.0/8 drop\n"
    )
    if relay is not None:
        lines += f'    iifname != "lo" ip6 daddr {relay.prefix}:/64 drop\n'
    return lines


def _input(relay: RelayRules) -> str:
    """The relay's port answers to translated connections only."""
    ours = f"    meta l4proto {{ tcp, udp }} th dport {relay.port}"
    return f"{ours} ct status dnat accept\n{ours} drop\n"
