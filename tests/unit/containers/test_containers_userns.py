"""Which ids of the host a container gets."""

from typing import Any, cast

import pytest

from naru.base.errors import InvalidParameter
from naru.base.idmap import IdMap, IdRange
from naru.containers.userns import OWN_RANGE, UserNamespaces, own_map
from naru.spec.engine.container_config import HostConfig

REMAP = IdMap((IdRange(0, 100_000, 10),), (IdRange(0, 100_000, 10),))


def test_the_engines_own_range() -> None:
    assert own_map("", "") == IdMap((OWN_RANGE,), (OWN_RANGE,))
    assert own_map("alice:100000:65536", "") == IdMap((OWN_RANGE,), (OWN_RANGE,))
    chosen = own_map("alice:1:1\nnaru:200000:100", "naru:300000:50")
    assert chosen == IdMap((IdRange(0, 200_000, 100),), (IdRange(0, 300_000, 50),))


@pytest.mark.parametrize(
    ("subuid", "subgid", "text"),
    [
        ("naru:200000:65536", "", "add the line naru:265536:65536 to /etc/subgid"),
        ("", "naru:100000:65536", "/etc/subgid sets ids aside for naru and /etc/subuid does not"),
        (f"eve:{OWN_RANGE.outside + 5}:1", "", "belong to somebody: eve:2130706437:1 in /etc/sub"),
        ("naru:0:65536", "naru:0:65536", "ids that nobody may be given"),
    ],
)
def test_ranges_that_cannot_be_used(subuid: str, subgid: str, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        own_map(subuid, subgid)


@pytest.mark.parametrize("mode", ["", "host", "private"])
def test_modes(mode: str) -> None:
    host_config = HostConfig(userns_mode=mode)
    plain = UserNamespaces(cast(Any, None), None).map_of(host_config)
    remapped = UserNamespaces(cast(Any, None), REMAP).map_of(host_config)
    assert (plain is None) == (mode != "private")
    assert remapped == (None if mode == "host" else REMAP)
