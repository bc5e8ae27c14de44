"""Golden firewall plans: each `plans/NAME.nft` is the whole transaction for the case NAME.

`NARU_WRITE_GOLDEN=1` writes them anew; read the difference before you commit it.
"""

import os
from pathlib import Path

import pytest

from naru.network import firewall
from naru.network.firewall import BridgeRules, RelayRules, Ruleset
from naru.network.model import Publication

PLANS = Path(__file__).parent / "plans"

BRIDGE = BridgeRules("naru0", "172.17.0.0/16")
RELAY = RelayRules("fd6e:6172:1:2:", 40123)


def web(host_ip: str, host_port: int = 8080, proto: str = "tcp") -> Publication:
    return Publication(proto, host_ip, host_port, "172.17.0.2", 80)


CASES = {
    "empty": Ruleset("naru", (BRIDGE,)),
    "one-port": Ruleset("naru", (BRIDGE,), None, (web("0.0.0.0"), web("::"))),
    "one-port-with-relay": Ruleset("naru", (BRIDGE,), RELAY, (web("0.0.0.0"), web("::"))),
    "loopback-only": Ruleset("naru", (BRIDGE,), RELAY, (web("127.0.0.1"), web("::1", 8081))),
    "protocols": Ruleset(
        "naru_k3y",
        (BridgeRules("naru-k3y", "172.28.0.0/16"),),
        RELAY,
        tuple(web(ip, 53, proto) for proto in ("tcp", "udp", "sctp") for ip in ("0.0.0.0", "::")),
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
    assert [line.split()[4] for line in added] == ["published_any", "published6_any"]
    removed = firewall.remove("naru", many, RELAY).splitlines()
    assert len(removed) == 2
    assert all(" : " not in line for line in removed)


def test_without_a_relay_nothing_of_ipv6_is_written() -> None:
    assert "ip6" not in firewall.render(CASES["one-port"])
    assert firewall.add("naru", [web("::")], None) == ""


def test_the_relay_address_carries_the_target() -> None:
    assert firewall.relay_address("fd00:1:2:3:", "172.17.0.2", 80) == "fd00:1:2:3:ac11:2:50:0"
