"""Golden firewall plans: each `plans/NAME.nft` is the whole transaction for the case NAME.

`NARU_WRITE_GOLDEN=1` writes them anew; read the difference before you commit it.
"""

import os
import subprocess
from pathlib import Path

import pytest

from naru.network import firewall
from naru.network.firewall import BridgeRules, RelayRules, Ruleset
from naru.network.gateways import ANY_V4, ANY_V6
from naru.network.model import Publication

PLANS = Path(__file__).parent / "plans"

BRIDGE = BridgeRules("naru0")
RELAY = RelayRules("fd6e:6172:1:2:", 40123)


def web(host_ip: str, host_port: int = 8080, proto: str = "tcp") -> Publication:
    return Publication(proto, host_ip, host_port, "172.17.0.2", 80)


V4, V6 = "172.18.0.2", "fd00:1::2"


def dual(host_ip: str, proto: str = "tcp", sources: tuple[str, ...] = ()) -> Publication:
    """Of a container with both families: IPv6 goes straight to it, [::1] through the relay."""
    ipv6 = ":" in host_ip
    return Publication(
        proto, host_ip, 8080, V6 if ipv6 else V4, 80, sources, relay_ip=V4 if ipv6 else ""
    )


def routed(target_ip: str, proto: str = "tcp") -> Publication:
    return Publication(proto, ANY_V6 if ":" in target_ip else ANY_V4, 0, target_ip, 80)


ALLOWED = ("10.0.0.0/8", "192.168.7.9/32", "fd00:7::/64")

CASES = {
    "empty": Ruleset("naru", (BRIDGE,)),
    "one-port": Ruleset("naru", (BRIDGE,), None, (web("0.0.0.0"), web("::"))),
    "one-port-with-relay": Ruleset("naru", (BRIDGE,), RELAY, (web("0.0.0.0"), web("::"))),
    "loopback-only": Ruleset("naru", (BRIDGE,), RELAY, (web("127.0.0.1"), web("::1", 8081))),
    "protocols": Ruleset(
        "naru_k3y",
        (BridgeRules("naru-k3y"),),
        RELAY,
        tuple(web(ip, 53, proto) for proto in ("tcp", "udp", "sctp") for ip in ("0.0.0.0", "::")),
    ),
    "several-bridges": Ruleset(
        "naru",
        (BRIDGE, BridgeRules("narub-one"), BridgeRules("narub-two", masq4=False, masq6=False)),
        None,
        (web("0.0.0.0"), Publication("udp", "0.0.0.0", 53, V4, 53)),
    ),
    "internal": Ruleset(
        "naru", (BRIDGE, BridgeRules("narub-in", internal=True, masq4=False, masq6=False))
    ),
    "no-icc": Ruleset("naru", (BRIDGE, BridgeRules("narub-apart", icc=False))),
    "routed": Ruleset(
        "naru",
        (BridgeRules("narub-open", masq4=False, masq6=False, routed=True),),
        None,
        (routed(V4), routed(V4, "udp"), routed(V6)),
    ),
    "snat": Ruleset(
        "naru", (BridgeRules("narub-snat", snat4="203.0.113.7", snat6="fd00:99::7"), BRIDGE)
    ),
    "sources": Ruleset(
        "naru",
        (BRIDGE,),
        RELAY,
        (
            dual("0.0.0.0", sources=ALLOWED),
            dual("::", sources=ALLOWED),
            Publication("udp", "203.0.113.1", 53, V4, 53, ("10.0.0.0/8",)),
        ),
    ),
    "ipv6-targets": Ruleset(
        "naru",
        (BRIDGE, BridgeRules("narub-dual")),
        RELAY,
        (
            dual("0.0.0.0"),
            dual("::"),
            dual("::", "sctp"),
            Publication("tcp", "fd00:99::1", 8081, V6, 80, relay_ip=V4),
            Publication("tcp", "::1", 8082, V6, 80, relay_ip=V4),
            Publication("tcp", "::", 8083, V6, 80),
        ),
    ),
    "nonce": Ruleset("naru", (BRIDGE,), None, (), "5f3a"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_as_written(name: str) -> None:
    path, text = PLANS / f"{name}.nft", firewall.render(CASES[name])
    if os.environ.get("NARU_WRITE_GOLDEN"):
        PLANS.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_every_plan_has_its_case() -> None:
    assert {path.stem for path in PLANS.iterdir()} == set(CASES)


def test_a_hundred_ports_are_one_command_for_each_map() -> None:
    many = [web(ip, port) for port in range(8000, 8100) for ip in ("0.0.0.0", "::")]
    added = firewall.add("naru", many, RELAY).splitlines()
    maps = ["published_any", "published6_any", "published6_loopback"]
    assert [line.split()[4] for line in added] == maps
    removed = firewall.remove("naru", many, RELAY).splitlines()
    assert [line.split()[4] for line in removed] == maps
    assert all(" : " not in line for line in removed)


def test_without_a_relay_ipv4_targets_are_not_published_on_ipv6() -> None:
    assert "element inet naru published6" not in firewall.render(CASES["one-port"])
    assert firewall.add("naru", [web("::")], None) == ""


def test_the_relay_address_carries_the_target() -> None:
    assert firewall.relay_address("fd00:1:2:3:", "172.17.0.2", 80) == "fd00:1:2:3:ac11:2:50:0"


def test_bridges_are_forgotten_as_they_were_added() -> None:
    bridges = CASES["snat"].bridges
    added = firewall.add_bridges("naru", bridges).splitlines()
    removed = firewall.remove_bridges("naru", bridges).splitlines()
    assert [line.split()[4] for line in removed] == [line.split()[4] for line in added]
    assert all(" : " not in line for line in removed)
    assert firewall.add_bridges("naru", []) == firewall.remove_bridges("naru", []) == ""


@pytest.mark.root
def test_every_plan_is_taken_by_the_kernel(tmp_path: Path) -> None:
    """Checked, not carried out; twice, since a table is written over itself."""
    for name, rules in CASES.items():
        text = firewall.render(rules)
        path = tmp_path / name
        path.write_text(text + text)
        done = subprocess.run(
            ["unshare", "--net", "nft", "--check", "--file", str(path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"


@pytest.mark.parametrize(
    ("publication", "element"),
    [
        (web("0.0.0.0"), "published_any { tcp . 8080 : 172.17.0.2 . 80 }"),
        (web("127.0.0.1"), "published { 127.0.0.1 . tcp . 8080 : 172.17.0.2 . 80 }"),
        (web("::"), "published6 { tcp . 8080 : relay }"),
        (dual("::", sources=ALLOWED), "published6_any { tcp . 8080 : fd00:1::2 . 80 }"),
        (routed(V4), "open { 172.18.0.2 . tcp . 80 }"),
    ],
)
def test_a_rule_is_described_as_nft_lists_it(publication: Publication, element: str) -> None:
    assert firewall.describe(publication) == element


@pytest.mark.parametrize(
    ("publication", "needed"),
    [
        (web("0.0.0.0"), False),
        (web("::"), True),
        (web("::", proto="sctp"), False),
        (dual("::"), True),
        (Publication("tcp", "fd00:99::1", 8081, V6, 80, relay_ip=V4), False),
        (Publication("tcp", "::", 8083, V6, 80), False),
        (routed(V6), False),
    ],
)
def test_the_relay_runs_only_where_the_kernel_has_no_way(
    publication: Publication, needed: bool
) -> None:
    assert firewall.needs_relay([publication]) == needed
