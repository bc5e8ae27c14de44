import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.etc_files import (
    extra_hosts,
    hosts,
    hosts_of_host,
    resolv_conf,
    with_address,
    without_name,
)

HEAD = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def effective(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [
        ("web", "", "web"),
        ("web", "example.org", "web.example.org web"),
        ("web.example.org", "", "web.example.org web"),
    ],
)
def test_hosts(hostname: str, domainname: str, names: str) -> None:
    text = hosts(hostname, domainname, ["172.17.0.2"], [("1.2.3.4", "db")])
    assert text == f"{HEAD}1.2.3.4\tdb\n172.17.0.2\t{names}\n"


def test_hosts_without_address() -> None:
    assert hosts("web", "", []) == HEAD
    assert hosts("web", "", [], ipv6=False) == "127.0.0.1\tlocalhost\n"


def test_hosts_of_the_host() -> None:
    assert hosts_of_host("1.1.1.1 a", [("2.2.2.2", "b")]) == "1.1.1.1 a\n2.2.2.2\tb\n"


def test_extra_hosts() -> None:
    entries = ["a:1.2.3.4", "b:host-gateway", "a:::1", "c:fe80::1"]
    assert extra_hosts(entries, ["172.17.0.1"]) == [
        ("1.2.3.4", "a"),
        ("172.17.0.1", "b"),
        ("::1", "a"),
        ("fe80::1", "c"),
    ]
    with pytest.raises(InvalidParameter, match="host-gateway"):
        extra_hosts(["b:host-gateway"])


@pytest.mark.parametrize("entry", ["a", ":1.2.3.4", "a=1.2.3.4", ""])
def test_extra_hosts_format(entry: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        extra_hosts([entry])
    assert caught.value.message == f'bad format for add-host: "{entry}"'


@pytest.mark.parametrize(
    "entry", ["a:b", "a:[::1]", "a:1.2.3.4 evil", "a b:1.2.3.4", "a\nb:1.1.1.1"]
)
def test_extra_hosts_values(entry: str) -> None:
    with pytest.raises(InvalidParameter):
        extra_hosts([entry])


HOST = "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n"


def test_loopback_resolvers_are_left_out() -> None:
    expected = ["nameserver 10.0.0.1", "search a b", "options edns0"]
    assert effective(resolv_conf(HOST)) == expected
    assert effective(resolv_conf(HOST, keep_loopback=True))[0] == "nameserver 127.0.0.53"


def test_fallback_when_nothing_is_left() -> None:
    only = "nameserver 127.0.0.1\nnameserver ::1\n"
    assert effective(resolv_conf(only)) == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    assert effective(resolv_conf("")) == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    sixes = "nameserver 2001:db8::1\nnameserver fe80::1%eth0\n"
    assert effective(resolv_conf(sixes, ipv6=False))[0] == "nameserver 8.8.8.8"
    assert effective(resolv_conf(sixes))[0] == "nameserver 2001:db8::1"


def test_overrides() -> None:
    text = resolv_conf(HOST, nameservers=["127.0.0.1"], search=["s.x", "t.y"], options=["ndots:2"])
    assert effective(text) == ["nameserver 127.0.0.1", "search s.x t.y", "options ndots:2"]
    assert effective(resolv_conf(HOST, search=["."])) == ["nameserver 10.0.0.1", "options edns0"]


LINKED = "10.0.0.2\tdb 0123 store\n10.0.0.2 store 0123\n# 10.0.0.2 db\n\n10.0.0.3\tstore2 db\nodd"


def test_a_linked_ones_address_is_replaced_where_its_name_comes_first() -> None:
    assert with_address(LINKED, ["db"], "10.0.0.9") == LINKED.replace("10.0.0.2\t", "10.0.0.9\t")
    assert with_address(LINKED, ["db", "store"], "10.0.0.9").count("10.0.0.9") == 2
    assert with_address(LINKED, ["0123"], "10.0.0.9") == LINKED


def test_a_link_is_taken_out() -> None:
    assert without_name(LINKED, "store") == LINKED.replace("10.0.0.2 store 0123\n", "")
    assert without_name(LINKED, "0123") == LINKED
