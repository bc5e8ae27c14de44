import os
from pathlib import Path

import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.user import ResolvedUser, resolve, resolve_user

PASSWD = """
root:x:0:0:root:/root:/bin/sh
# a comment
web:x:1000:1000:Web:/home/web:/bin/sh
1001:x:2000:2000::/odd:/bin/sh
broken:x:abc:0::/:/bin/sh
over:x:4294967296:0::/:/bin/sh
max:x:2147483647:2147483647::/:/bin/sh
short:x:5
"""
GROUP = "root:x:0:\nweb:x:1000:\nlog:x:44:web,other\naudio:x:29:web\nbad:x:zz:\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", ResolvedUser(0, 0, (0,), "/root", "root")),
        ("root", ResolvedUser(0, 0, (0,), "/root", "root")),
        ("0", ResolvedUser(0, 0, (0,), "/root", "root")),
        ("web", ResolvedUser(1000, 1000, (1000, 44, 29), "/home/web", "web")),
        ("1000", ResolvedUser(1000, 1000, (1000, 44, 29), "/home/web", "web")),
        ("web:log", ResolvedUser(1000, 44, (44,), "/home/web", "web")),
        ("web:7", ResolvedUser(1000, 7, (7,), "/home/web", "web")),
        ("1001", ResolvedUser(2000, 2000, (2000,), "/odd", "1001")),
        ("1234", ResolvedUser(1234, 0, (0,), "/", "")),
        ("1234:5678", ResolvedUser(1234, 5678, (5678,), "/", "")),
        (":7", ResolvedUser(0, 7, (7,), "/root", "root")),
        ("2147483647", ResolvedUser(2147483647, 2147483647, (2147483647,), "/", "max")),
    ],
)
def test_user(spec: str, expected: ResolvedUser) -> None:
    assert resolve(PASSWD, GROUP, spec) == expected


def test_group_add() -> None:
    assert resolve(PASSWD, GROUP, "web", ["audio", "99", "audio"]).groups == (1000, 44, 29, 99)
    assert resolve(PASSWD, GROUP, "", ["log"]).groups == (0, 44)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("web:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("2147483648", "uids and gids must be in range 0-2147483647"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
        ("9" * 5000, "uids and gids must be in range 0-2147483647"),
        ("-1", "uids and gids must be in range 0-2147483647"),
        ("0:2147483648", "uids and gids must be in range 0-2147483647"),
        ("over", "uids and gids must be in range 0-2147483647"),
        ("broken", "the entry of 'broken' has no valid id: 'abc'"),
        ("web:bad", "the entry of 'bad' has no valid id: 'zz'"),
        ("short", "unable to find user short: no matching entries in passwd file"),
        ("\u0661", "unable to find user \u0661: no matching entries in passwd file"),
    ],
)
def test_refused(spec: str, text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        resolve(PASSWD, GROUP, spec)
    assert caught.value.message == text


def test_unknown_additional_group() -> None:
    with pytest.raises(InvalidParameter, match="unable to find group nosuch"):
        resolve(PASSWD, GROUP, "", ["nosuch"])


def test_files_are_optional_and_stay_in_the_root(tmp_path: Path) -> None:
    root_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        assert resolve_user(root_fd, "") == ResolvedUser()
        (tmp_path / "etc").mkdir()
        (tmp_path / "real").write_bytes(b"\xff\xfe:x:1:1::/:\nweb:x:7:8::/home:\n")
        (tmp_path / "etc/passwd").symlink_to("/real")
        assert resolve_user(root_fd, "web").uid == 7
        (tmp_path / "etc/group").mkdir()
        assert resolve_user(root_fd, "web").gid == 8
        with pytest.raises(InvalidParameter, match="cannot read /etc/group"):
            resolve_user(root_fd, "web", ["staff"])
    finally:
        os.close(root_fd)
