import pytest

from naru.base.errors import InvalidParameter
from naru.containers.publish_sources import LABEL, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("*=10.0.0.0/8", {"*": ("10.0.0.0/8",)}),
        ("8080=10.0.0.0/8", {"8080/tcp": ("10.0.0.0/8",)}),
        ("080/udp=10.0.0.0/8", {"80/udp": ("10.0.0.0/8",)}),
        (
            " 8080/tcp = 10.0.0.0/8 , 192.168.1.1 ; 53/udp=fd00::/8 ; ",
            {"8080/tcp": ("10.0.0.0/8", "192.168.1.1/32"), "53/udp": ("fd00::/8",)},
        ),
        ("*=10.0.0.0/9,10.128.0.0/9,10.1.0.0/16", {"*": ("10.0.0.0/8",)}),
        ("*=fd00::/8,10.0.0.0/8,fd00:1::/32", {"*": ("10.0.0.0/8", "fd00::/8")}),
    ],
)
def test_sources(text: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert parse({LABEL: text, "other": "x"}) == expected
    assert parse({}) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.0/8", "wanted PORT/PROTOCOL=NETWORK,… or *=NETWORK,…"),
        ("80=", "wanted PORT/PROTOCOL=NETWORK"),
        ("0=10.0.0.0/8", "'0' is no port of the host"),
        ("65536/tcp=10.0.0.0/8", "'65536/tcp' is no port of the host"),
        ("x/tcp=10.0.0.0/8", "'x/tcp' is no port of the host"),
        ("８０=10.0.0.0/8", "is no port of the host"),
        ("80/icmp=10.0.0.0/8", "invalid proto: icmp"),
        ("80=10.0.0.1/8", "'10.0.0.1/8' is no network"),
        ("80=example.org", "'example.org' is no network"),
        ("80=10.0.0.0/8,,", "'' is no network"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse({LABEL: text})
    assert caught.value.message.startswith(f"invalid label {LABEL}: ")
    assert said in caught.value.message
