"""Id maps, and the files in which ids are set aside."""

import pytest

from naru.base import idmap
from naru.base.idmap import IdMap, IdRange

MAP = IdMap(
    (IdRange(0, 100_000, 1000), IdRange(1000, 500_000, 64_536)), (IdRange(0, 200_000, 65_536),)
)


def test_ids_of_the_host() -> None:
    assert MAP.root == (100_000, 200_000)
    assert MAP.on_host(0, 0) == (100_000, 200_000)
    assert MAP.on_host(999, 65_535) == (100_999, 265_535)
    assert MAP.on_host(1000, 5) == (500_000, 200_005)
    assert MAP.on_host(65_536, 0) is None
    assert MAP.on_host(0, 65_536) is None
    assert MAP.last_gid == 65_535


def test_the_kernels_text_there_and_back() -> None:
    text = idmap.kernel_text(MAP.uids)
    assert text == "0 100000 1000\n1000 500000 64536\n"
    assert idmap.parse_kernel_text(text) == MAP.uids
    whole = idmap.parse_kernel_text("         0          0 4294967295\n")
    assert idmap.is_whole(whole)
    assert not idmap.is_whole(MAP.uids)


SUBUID = """\
# a comment
alice:100000:65536
1001:200000:65536
alice:300000:10
broken:x:1
empty:400000:0
"""


def test_ranges_follow_each_other() -> None:
    assert idmap.ranges_of(SUBUID, {"alice"}) == (
        IdRange(0, 100_000, 65_536),
        IdRange(65_536, 300_000, 10),
    )
    assert idmap.ranges_of(SUBUID, {"bob", "1001"}) == (IdRange(0, 200_000, 65_536),)
    assert idmap.ranges_of(SUBUID, {"empty", "broken", "nobody"}) == ()


@pytest.mark.parametrize("line", ["a:0:65536", "a:4294967290:10"])
def test_ids_that_nobody_may_be_given(line: str) -> None:
    with pytest.raises(ValueError, match="nobody may be given"):
        idmap.ranges_of(line, {"a"})


def test_more_ranges_than_the_kernel_takes() -> None:
    lines = [f"a:{100_000 + number}:1" for number in range(341)]
    with pytest.raises(ValueError, match="341 ranges"):
        idmap.ranges_of("\n".join(lines), {"a"})
    assert len(idmap.ranges_of("\n".join(lines[:340]), {"a"})) == 340


def test_overlaps_and_free_lines() -> None:
    assert idmap.overlaps(SUBUID, (IdRange(0, 265_535, 5),)) == "1001:200000:65536"
    assert idmap.overlaps(SUBUID, (IdRange(0, 265_536, 5),)) is None
    assert idmap.free_line("naru", [SUBUID, "x:500000:5"]) == "naru:500005:65536"
    assert idmap.free_line("naru", [""]) == "naru:100000:65536"
