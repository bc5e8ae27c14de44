from collections.abc import Sequence

import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.capabilities import CAPABILITIES, DEFAULT_CAPABILITIES, check, effective

ALL = frozenset(CAPABILITIES)


def test_numbers_are_the_kernels() -> None:
    assert CAPABILITIES.index("CAP_SYS_ADMIN") == 21
    assert CAPABILITIES.index("CAP_CHECKPOINT_RESTORE") == 40 == len(CAPABILITIES) - 1
    mask = sum(1 << CAPABILITIES.index(name) for name in DEFAULT_CAPABILITIES)
    assert mask == 0xA80425FB


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT_CAPABILITIES),
        (["net_admin"], (), (*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN")),
        (["CAP_CHOWN"], (), DEFAULT_CAPABILITIES),
        ((), ["ALL"], ()),
        (["chown"], ["all"], ("CAP_CHOWN",)),
        ((), ["CHOWN"], DEFAULT_CAPABILITIES[1:]),
        (["ALL"], ["SYS_ADMIN"], tuple(c for c in CAPABILITIES if c != "CAP_SYS_ADMIN")),
        (["ALL"], ["ALL"], CAPABILITIES),
        (["chown"], ["chown"], (*DEFAULT_CAPABILITIES[1:], "CAP_CHOWN")),
    ],
)
def test_add_and_drop(add: Sequence[str], drop: Sequence[str], expected: tuple[str, ...]) -> None:
    assert effective(add, drop, privileged=False, bounding=ALL) == expected


def test_never_beyond_the_bounding_set() -> None:
    bounding = ALL - {"CAP_SYS_RESOURCE", "CAP_CHOWN"}
    assert set(effective((), (), privileged=True, bounding=bounding)) == bounding
    assert "CAP_CHOWN" not in effective(None, None, privileged=False, bounding=bounding)
    assert effective(["SYS_RESOURCE"], ["ALL"], privileged=False, bounding=bounding) == ()


def test_privileged_ignores_drops() -> None:
    assert effective((), ["ALL"], privileged=True, bounding=ALL) == CAPABILITIES


@pytest.mark.parametrize("name", ["foo", "CAP_ALL", "", "CAP_"])
def test_unknown(name: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid CapAdd: unknown capability: "):
        check([name], "CapAdd")


def test_unavailable_here() -> None:
    with pytest.raises(InvalidParameter) as caught:
        check(["sys_resource"], "CapDrop", ALL - {"CAP_SYS_RESOURCE"})
    assert caught.value.message == (
        "invalid CapDrop: capability not supported by your kernel or not available in the current "
        'environment: "CAP_SYS_RESOURCE"'
    )
