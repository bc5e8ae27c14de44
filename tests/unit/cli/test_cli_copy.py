"""`cp`: where things go, packing, and archives that try to leave the destination."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from naru.cli.command import CommandError
from naru.cli.commands.cp import container_target, local_target, split_argument
from naru.cli.copy_archive import pack, unpack


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web:/etc", ("web", "/etc")), ("web:etc", ("web", "etc")), ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")), ("plain", ("", "plain")), ("-", ("", "-")),
    ],
)  # fmt: skip
def test_arguments(text: str, parts: tuple[str, str]) -> None:
    assert split_argument(text) == parts


@pytest.mark.parametrize(
    ("exists", "folder", "source", "source_folder", "written", "target"),
    [
        (True, True, "/h/f", False, "/d", ("/d", "f")),
        (True, True, "/h/s", True, "/d", ("/d", "s")),
        (True, True, "/h/s/.", True, "/d", ("/d", ".")),
        (True, False, "/h/f", False, "/d", ("/", "d")),
        (False, False, "/h/f", False, "/d", ("/", "d")),
        (False, False, "/h/s/.", True, "/d", ("/", "d")),
        (True, False, "/h/s", True, "/d", "cannot copy directory"),
        (False, False, "/h/f", False, "/d/", "no such directory"),
    ],
)
def test_where_a_file_goes_in_a_container(
    exists: bool, folder: bool, source: str, source_folder: bool, written: str, target: object
) -> None:
    if isinstance(target, str):
        with pytest.raises(CommandError, match=target):
            container_target("/d", exists, folder, source, source_folder, written)
    else:
        assert target == container_target("/d", exists, folder, source, source_folder, written)


def test_where_a_file_goes_here(tmp_path: Path) -> None:
    here = str(tmp_path)
    (tmp_path / "file").touch()
    assert local_target(here, "/etc", True) == (here, None)
    assert local_target(here, "/etc/.", True) == (here, "")
    assert local_target(f"{here}/new", "/etc", True) == (here, "new")
    assert local_target(f"{here}/file", "/etc/passwd", False) == (here, "file")
    with pytest.raises(CommandError, match="cannot copy directory"):
        local_target(f"{here}/file", "/etc", True)
    with pytest.raises(CommandError, match="no such directory"):
        local_target(f"{here}/none/", "/etc/passwd", False)


def test_what_is_packed_can_be_unpacked(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "inner").mkdir(parents=True)
    target.mkdir()
    (source / "inner/big").write_bytes(os.urandom(3_000_000))
    (source / "empty").touch()
    os.link(source / "empty", source / "linked")
    (source / "soft").symlink_to("inner/big")
    (source / "inner").chmod(0o700)
    os.utime(source / "inner", (1, 1))
    unpack(pack(str(source), "s", False), str(target), "renamed", False)
    found = target / "renamed"
    assert (found / "inner/big").read_bytes() == (source / "inner/big").read_bytes()
    assert os.readlink(found / "soft") == "inner/big"
    assert (found / "linked").samefile(found / "empty")
    assert (found / "inner").stat().st_mode & 0o777 == 0o700
    assert (found / "inner").stat().st_mtime == 1


def archive(*members: tuple[str, bytes, str, bytes]) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, kind, link, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            packed.addfile(info, io.BytesIO(data))
    return [buffer.getvalue()]


@pytest.mark.parametrize(
    "members",
    [
        [("../canary", tarfile.REGTYPE, "", b"x")],
        [("a/../../canary", tarfile.REGTYPE, "", b"x")],
        [("a", tarfile.SYMTYPE, "..", b""), ("a/canary", tarfile.REGTYPE, "", b"x")],
        [("a", tarfile.SYMTYPE, "..", b""), ("b", tarfile.LNKTYPE, "a/canary", b"")],
        [("b", tarfile.LNKTYPE, "../canary", b"")],
        [("a", tarfile.SYMTYPE, "../canary", b""), ("a", tarfile.DIRTYPE, "", b"")],
    ],
)
def test_nothing_leaves_the_destination(members: object, tmp_path: Path) -> None:
    canary, target = tmp_path / "canary", tmp_path / "t"
    canary.write_text("alive")
    target.mkdir()
    with pytest.raises((CommandError, OSError)):
        unpack(archive(*members), str(target), None, False)
    assert canary.read_text() == "alive"
    assert canary.stat().st_nlink == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "t"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    canary, target = tmp_path / "canary", tmp_path / "t"
    canary.write_text("alive")
    target.mkdir()
    (target / "a").symlink_to(canary)
    unpack(archive(("a", tarfile.REGTYPE, "", b"new")), str(target), None, False)
    assert canary.read_text() == "alive"
    assert (target / "a").read_text() == "new"
    unpack(archive(("/etc/x", tarfile.REGTYPE, "", b"in")), str(target), None, False)
    assert (target / "etc/x").read_text() == "in"
