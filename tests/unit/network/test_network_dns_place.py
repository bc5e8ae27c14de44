"""The table that leads port 53 of 127.0.0.11 to the server's sockets."""

import pytest

from naru.network.dns.place import ports_in, rules


def test_ports_are_read_from_what_was_written() -> None:
    assert ports_in(rules((40001, 40002))) == (40001, 40002)


@pytest.mark.parametrize(
    "table",
    ["", "udp dport set 1", "tcp dport set 1\nudp dport set 2", rules((1, 2)) + rules((3, 4))],
)
def test_a_table_that_is_not_clear_has_none(table: str) -> None:
    assert ports_in(table) is None


def test_questions_are_led_last_and_answers_first() -> None:
    text = rules((40001, 40002))
    assert "hook output priority 400;" in text
    assert "hook output priority -450;" in text
    for line in (
        "ip daddr 127.0.0.11 udp dport 53 udp dport set 40001",
        "ip daddr 127.0.0.11 tcp dport 53 tcp dport set 40002",
        "ip saddr 127.0.0.11 udp sport 40001 udp sport set 53",
        "ip saddr 127.0.0.11 tcp sport 40002 tcp sport set 53",
    ):
        assert f"    {line}\n" in text
