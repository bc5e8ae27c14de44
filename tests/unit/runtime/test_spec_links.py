import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.links import Link, environment_of, hosts_of, parse_link

DB = Link(
    "my-db", "db1", "2ab447a2b60c", "172.17.0.2", ("80/tcp", "53/udp"), ("A=b=c", "PATH=/x", "B")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("db", ("db", "db")), ("db:x", ("db", "x")), ("/db:/web/x", ("db", "x"))],
)
def test_parse(text: str, expected: tuple[str, str]) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["", ":", ":a", "a:b:c", "a:b c", "a:b\n"])
def test_bad_format(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_link(text)


def test_variables() -> None:
    """TCP comes first, whatever the numbers."""
    assert environment_of([DB], "web") == (
        "MY_DB_NAME=/web/my-db",
        "MY_DB_PORT=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_80_TCP_PORT=80",
        "MY_DB_PORT_80_TCP_PROTO=tcp",
        "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
        "MY_DB_PORT_53_UDP_PORT=53",
        "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_ENV_A=b=c",
    )


def test_neighbouring_ports_are_a_range_too() -> None:
    ports = ("90/tcp", "82/tcp", "80/tcp", "81/tcp", "83/udp", "53/udp", "54/udp")
    found = environment_of([Link("a", "a", "a", "10.0.0.1", ports)], "web")
    ends = [entry for entry in found if "START" in entry or "END" in entry]
    assert ends == [
        "A_PORT_80_TCP_START=tcp://10.0.0.1:80",
        "A_PORT_80_TCP_PORT_START=80",
        "A_PORT_80_TCP_END=tcp://10.0.0.1:82",
        "A_PORT_80_TCP_PORT_END=82",
        "A_PORT_53_UDP_START=udp://10.0.0.1:53",
        "A_PORT_53_UDP_PORT_START=53",
        "A_PORT_53_UDP_END=udp://10.0.0.1:54",
        "A_PORT_53_UDP_PORT_END=54",
    ]


def test_hosts() -> None:
    same = Link("db", "db", "db", "172.17.0.3")
    assert hosts_of([DB, same]) == [
        ("172.17.0.2", "my-db 2ab447a2b60c db1"),
        ("172.17.0.3", "db"),
    ]
