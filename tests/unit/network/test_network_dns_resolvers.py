"""Which resolvers are asked, and from where."""

import pytest

from naru.network.dns.server import _upstreams


@pytest.mark.parametrize(
    ("address", "of_host", "wanted"),
    [
        ("1.1.1.1", False, [("1.1.1.1", False)]),
        ("1.1.1.1", True, [("1.1.1.1", False)]),  # from the sandbox: its routes hold
        ("fd00::1", True, [("fd00::1", False)]),
        ("127.0.0.53", True, [("127.0.0.53", True)]),
        ("127.0.0.53", False, [("127.0.0.53", False)]),  # the container's own loopback
        ("::1", True, [("::1", True)]),
        ("fe80::1%eth0", True, [("fe80::1%eth0", True)]),
        ("127.0.0.11", False, []),  # we ourselves
        ("127.0.0.11", True, [("127.0.0.11", True)]),  # the name server of an outer engine
        ("0.0.0.0", True, []),
        ("::", False, []),
        ("nonsense", False, []),
        ("1.1.1.1/8", False, []),
        ("", True, []),
    ],
)
def test_resolvers(address: str, of_host: bool, wanted: list[tuple[str, bool]]) -> None:
    assert _upstreams([address], of_host) == wanted
