"""The table's keeper on the fake nftables: what is declared is what is there."""

import pytest

from naru.base.errors import Internal
from naru.kernel.fake.nft import FakeNft
from naru.network.firewall import BridgeRules, RelayRules, Ruleset
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.model import Publication

RULES = Ruleset("naru_t", (BridgeRules("naru-t"),))


def port(number: int, host_ip: str = "0.0.0.0") -> Publication:
    return Publication("tcp", host_ip, number, "172.17.0.2", 80)


class Lab:
    def __init__(self) -> None:
        self.nft = FakeNft()
        self.relays = 0
        self.refuse = False
        self.keeper = FirewallKeeper(self.nft, "naru_t", self.start_relay)  # type: ignore[arg-type]
        self.keeper.declare(RULES, {})

    def start_relay(self) -> RelayRules:
        if self.refuse:
            raise OSError("no IPv6")
        self.relays += 1
        return RelayRules("fd00:1:2:3:", 40000 + self.relays)

    def elements(self, name: str = "published_any") -> set[str]:
        return set(self.nft.tables["inet", "naru_t"][name])


def test_ports_come_and_go() -> None:
    lab = Lab()
    lab.keeper.publish("a", [port(8080), port(8081, "127.0.0.1")])
    assert lab.elements() == {"tcp . 8080"}
    assert lab.elements("published") == {"127.0.0.1 . tcp . 8081"}
    lab.keeper.unpublish("a")
    lab.keeper.unpublish("a")
    assert lab.elements() == lab.elements("published") == set()


def test_a_table_that_others_deleted_is_written_anew() -> None:
    lab = Lab()
    lab.keeper.publish("a", [port(8080)])
    lab.nft.tables.clear()
    lab.keeper.publish("b", [port(8081)])
    assert lab.elements() == {"tcp . 8080", "tcp . 8081"}
    lab.nft.tables.clear()
    lab.keeper.unpublish("a")
    assert lab.elements() == {"tcp . 8081"}


def test_a_refused_publication_is_forgotten() -> None:
    lab = Lab()
    lab.nft.close()
    with pytest.raises(Internal):
        lab.keeper.publish("a", [port(8080)])
    assert not lab.keeper.relays()
    lab.nft = lab.keeper._nft = FakeNft()  # type: ignore[assignment]
    lab.keeper.rewrite()
    assert lab.elements() == set()


def test_a_container_leads_elsewhere_in_one_transaction() -> None:
    lab = Lab()
    lab.keeper.publish("a", [port(8080), port(8081)])
    before = len(lab.nft.transactions)
    moved = Publication("tcp", "0.0.0.0", 8080, "172.18.0.2", 80)
    lab.keeper.republish("a", [moved])
    assert len(lab.nft.transactions) == before + 1
    assert lab.nft.tables["inet", "naru_t"]["published_any"] == {"tcp . 8080": "172.18.0.2 . 80"}
    lab.keeper.unpublish("a")
    assert lab.elements() == set()
    lab.nft.close()
    with pytest.raises(Internal):
        lab.keeper.republish("a", [moved])
    lab.nft = lab.keeper._nft = FakeNft()  # type: ignore[assignment]
    lab.keeper.rewrite()
    assert lab.elements() == set(), "what was refused is not declared"


def test_the_relay_is_started_once_and_replaced_when_it_died() -> None:
    lab = Lab()
    lab.keeper.publish("a", [port(8080), port(8080, "::")])
    lab.keeper.publish("b", [port(8081), port(8081, "::")])
    assert lab.relays == 1
    assert lab.elements("published6_any") == {"tcp . 8080", "tcp . 8081"}
    lab.keeper.replace_relay()
    assert lab.relays == 2
    assert "40002" in lab.nft.tables["inet", "naru_t"]["published6_any"]["tcp . 8080"]


def test_without_a_relay_ipv4_is_published() -> None:
    lab = Lab()
    lab.refuse = True
    lab.keeper.publish("a", [port(8080), port(8080, "::")])
    assert lab.elements() == {"tcp . 8080"}
    lab.keeper.unpublish("a")


def test_each_writing_is_claimed_once() -> None:
    lab = Lab()
    comment = next(line for line in lab.nft.transactions[-1].splitlines() if "comment" in line)
    assert not lab.keeper.claim(b"kept by narud 0123456789abcdef")
    assert lab.keeper.claim(comment.encode())
    assert not lab.keeper.claim(comment.encode())
