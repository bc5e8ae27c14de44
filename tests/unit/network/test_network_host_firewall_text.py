"""Copies of other tables' input chains: what is kept, what is left out, what closes the ports."""

from typing import Any

from naru.network import host_firewall

LISTING = """\
table inet filter {
\tset bad {
\t\ttype ipv4_addr
\t\telements = { 10.9.0.1,
\t\t\t     10.9.0.2 }
\t}

\tflowtable ft {
\t\thook ingress priority filter
\t}

\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tip saddr @bad drop
\t\ttcp dport 80 jump web
\t}

\tchain web {
\t\taccept
\t}

\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t\tct state established accept
\t}
}
table ip nat {
\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t}
}
table inet naru {
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t}
}
table bridge filter {
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t}
}
table ip6 sleeping {
\tflags dormant

\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t}
}
"""
PORTS = [("tcp", 8080), ("udp", 53)]


def rule(table: str, family: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "expr": list(expressions)}}


def test_only_tables_with_chains_on_input_are_copied() -> None:
    (copy,) = host_firewall.copies(LISTING, {"nftables": []}, "naru", PORTS)
    assert (copy.family, copy.table, copy.problem) == ("inet", "naru_h0", "")
    text = copy.text
    assert "elements = { tcp . 8080, udp . 53 }" in text
    assert "10.9.0.1,\n\t\t\t     10.9.0.2" in text
    assert "jump web" in text and "  chain web {\n\t\taccept\n  }" in text
    assert "flowtable" not in text and "hook forward" not in text and "hook input" not in text
    assert "\t\ttcp dport 80 jump web\n\t\tdrop\n  }" in text, "the policy is the last rule"
    assert "type filter hook prerouting priority -102" in text and "jump input" in text


def test_each_chain_on_input_is_asked() -> None:
    listing = (
        "table ip one {\n\tchain a {\n\t\ttype filter hook input priority filter; policy accept;\n"
        "\t}\n\n\tchain b {\n\t\ttype filter hook input priority 10; policy accept;\n\t}\n}\n"
    )
    (copy,) = host_firewall.copies(listing, {}, "naru", ())
    assert copy.text.count("hook prerouting") == 2
    assert "jump a" in copy.text and "jump b" in copy.text
    assert "elements" not in copy.text


def test_rules_of_iptables_close_the_ports() -> None:
    details = {
        "nftables": [{"table": {}}, rule("filter", "inet", {"match": {"left": {"xt": None}}})]
    }
    (copy,) = host_firewall.copies(LISTING, details, "naru", PORTS)
    assert "made by iptables" in copy.problem
    assert "jump" not in copy.text and "    drop\n" in copy.text
    elsewhere = {"nftables": [rule("nat", "ip", {"xt": None})]}
    assert host_firewall.copies(LISTING, elsewhere, "naru", PORTS)[0].problem == ""


def test_a_copy_that_the_kernel_refuses_is_closed() -> None:
    (copy,) = host_firewall.copies(LISTING, {}, "naru", PORTS)
    shut = host_firewall.closed(copy, "no such thing")
    assert (shut.family, shut.table) == ("inet", "naru_h0")
    assert "no such thing" in shut.problem
    assert "elements = { tcp . 8080, udp . 53 }" in shut.text and "jump" not in shut.text


def test_ports_are_told_and_copies_taken_away() -> None:
    copies = host_firewall.copies(LISTING, {}, "naru_k", ())
    assert host_firewall.set_ports(copies, PORTS) == (
        "flush set inet naru_k_h0 naru_published\n"
        "add element inet naru_k_h0 naru_published { tcp . 8080, udp . 53 }\n"
    )
    assert host_firewall.set_ports(copies, ()) == "flush set inet naru_k_h0 naru_published\n"
    assert host_firewall.removal([("inet", "naru_k_h0")]) == (
        "table inet naru_k_h0\ndelete table inet naru_k_h0\n"
    )
    standing = "table inet naru_k_h0 {\n}\ntable ip naru_k {\n}\ntable ip naru_other_h0 {\n}\n"
    assert host_firewall.tables_of(standing, "naru_k") == [("inet", "naru_k_h0")]
