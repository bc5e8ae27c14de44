"""The values of userns-remap, and the files that they are looked up in."""

import pytest

from naru.base.idmap import IdMap, IdRange
from naru.engine.config import ConfigError, load
from naru.engine.remap import choose, group_names, remap_of, user_names

SUBUID = "alice:100000:65536\nalice:300000:10\ndockremap:400000:65536\n1001:500000:65536\n"
SUBGID = "alice:110000:65536\ndockremap:410000:65536\nstaff:510000:65536\n1001:520000:65536\n"


def names(word: str) -> set[str]:
    """An account bob with number 1001, and a group staff with number 50."""
    known = ({"bob", "1001"}, {"staff", "50"})
    return next((group for group in known if word in group), {word})


def one(uid: int, gid: int) -> IdMap:
    return IdMap((IdRange(0, uid, 65_536),), (IdRange(0, gid, 65_536),))


@pytest.mark.parametrize(
    ("option", "chosen"),
    [
        ("default", one(400_000, 410_000)),
        ("dockremap", one(400_000, 410_000)),
        ("bob", one(500_000, 520_000)),
        ("1001", one(500_000, 520_000)),
        ("1001:1001", one(500_000, 520_000)),
        ("bob:staff", one(500_000, 510_000)),
        ("1001:50", one(500_000, 510_000)),
        (
            "alice",
            IdMap(
                (IdRange(0, 100_000, 65_536), IdRange(65_536, 300_000, 10)),
                (IdRange(0, 110_000, 65_536),),
            ),
        ),
    ],
)
def test_values(option: str, chosen: IdMap) -> None:
    assert choose(option, SUBUID, SUBGID, names, names) == chosen


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("eve", "/etc/subuid sets no ids aside for eve: add the line eve:585536:65536 to it"),
        ("alice:eve", "/etc/subgid sets no ids aside for eve: add the line eve:585536:65536"),
        ("a:b:c", "wanted default, USER or USER:GROUP"),
        (":alice", "wanted default, USER or USER:GROUP"),
        ("alice:", "wanted default, USER or USER:GROUP"),
    ],
)
def test_values_that_cannot_be(option: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        choose(option, SUBUID, SUBGID, names, names)


def test_the_default_names_its_own_line() -> None:
    with pytest.raises(ConfigError, match="for dockremap: add the line dockremap:100000:65536"):
        choose("default", "", "", names, names)


def test_accounts_of_the_host() -> None:
    assert user_names("root") == user_names("0") == {"root", "0"}
    assert group_names("root") == group_names("0") == {"root", "0"}
    assert user_names("4000000000") == {"4000000000"}
    assert group_names("no such group") == {"no such group"}


def test_the_option() -> None:
    assert load(["--userns-remap", "alice:staff"]).userns_remap == "alice:staff"
    assert remap_of(load([]).userns_remap) is None
