"""Published ports that obey the host's own input rules, as if a process of the host listened."""

import pytest
from network_lab import (
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    STRANGER,
    STRANGER6,
    Lab,
    ask,
    container_id,
    eventually,
    in_lab,
    make,
    request,
    serving,
    unheard,
)

from naru.kernel.nft import Nft

pytestmark = pytest.mark.root

HOSTS_RULES = f"""
table inet filter {{
  set friends {{ type ipv4_addr; elements = {{ {OUTSIDE} }}; }}
  chain web {{
    ip saddr @friends accept
    ip6 saddr {OUTSIDE6} accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif "lo" accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
    tcp dport 8080 jump web
  }}
}}
"""


def copied(nft: Nft) -> list[str]:
    return [line for line in nft.text("list tables").splitlines() if "naru_a_h" in line]


@in_lab
async def test_the_hosts_input_rules_are_obeyed(lab: Lab) -> None:
    nft = Nft()
    nft.run(HOSTS_RULES)
    async with lab.engine(honour=True) as network:
        await make(network, "one", "172.30.1.0/24", "fd00:7:1::/64")
        web = await network.membership.attach(request("web", "8080:80", "8081:80", mode="one"))
        with serving(web.sandbox_path, ipv6=True):
            assert ask(HOST, 8080, pin=lab.outside, source=OUTSIDE) == OUTSIDE
            assert ask(HOST6, 8080, pin=lab.outside, source=OUTSIDE6) == OUTSIDE6
            assert unheard(HOST, 8080, lab.outside, STRANGER)
            assert unheard(HOST6, 8080, lab.outside, STRANGER6)
            assert unheard(HOST, 8081, lab.outside, OUTSIDE), "the policy drops what it is not told"
            assert ask("127.0.0.1", 8081) is not None, "the host itself may"
        assert {row["HostFirewall"] for row in network.audit.ports()} == {"honoured"}
        await network.membership.detach(container_id("web"))
    assert copied(nft) == []
    nft.close()


@in_lab
async def test_a_ban_counts_at_once_and_as_long_as_it_stands(lab: Lab) -> None:
    nft = Nft()
    async with lab.engine(honour=True) as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            nft.run(
                "table inet f2b { set banned { type ipv4_addr; }\n"
                " chain f2b { type filter hook input priority filter - 1;\n"
                " tcp dport 8080 ip saddr @banned reject; }\n }"
            )
            await eventually(lambda: bool(copied(nft)), "the table is copied")
            assert ask(HOST, 8080, pin=lab.outside) == OUTSIDE
            nft.run(f"add element inet f2b banned {{ {OUTSIDE} }}")
            await eventually(
                lambda: ask(HOST, 8080, pin=lab.outside, timeout_s=0.1) is None, "it is banned"
            )
            nft.run(f"delete element inet f2b banned {{ {OUTSIDE} }}")
            await eventually(
                lambda: ask(HOST, 8080, pin=lab.outside, timeout_s=0.1) is not None, "it may again"
            )
            nft.run("flush ruleset")
            await eventually(
                lambda: ask(HOST, 8080, pin=lab.outside, timeout_s=0.1) is not None, "all is back"
            )
            assert copied(nft) == []
        await network.membership.detach(container_id("web"))
    nft.close()


@in_lab
async def test_without_the_setting_nothing_is_copied(lab: Lab) -> None:
    nft = Nft()
    nft.run(HOSTS_RULES)
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            assert ask(HOST, 8080, pin=lab.outside, source=STRANGER) == STRANGER
        assert copied(nft) == []
        assert {row["HostFirewall"] for row in network.audit.ports()} == {"bypassed"}
        await network.membership.detach(container_id("web"))
    nft.close()


@in_lab
async def test_a_restart_with_another_setting_takes_the_copies_away(lab: Lab) -> None:
    nft = Nft()
    nft.run(HOSTS_RULES)
    async with lab.engine(honour=True) as network:
        web = await network.membership.attach(request("web", "8080:80"))
        assert copied(nft)
    async with lab.engine(keep={container_id("web"): web}) as network:
        assert copied(nft) == []
        with serving(web.sandbox_path):
            assert ask(HOST, 8080, pin=lab.outside, source=STRANGER) == STRANGER
        await network.membership.detach(container_id("web"))
    nft.close()
