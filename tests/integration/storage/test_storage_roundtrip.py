"""Everything a file can be survives archive → layer → archive, and layer → container → commit."""

import asyncio
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

pytestmark = pytest.mark.root

GIB = 1 << 30


def special_tree(root: Path) -> None:
    """A bit of everything."""
    root.mkdir()
    (root / "dir").mkdir(mode=0o750)
    (root / "dir" / "plain").write_bytes(b"hello\n" * 1000)
    (root / "empty").touch()
    (root / "suid").write_bytes(b"x")
    os.chown(root / "suid", 1000, 3_000_000)
    os.chmod(root / "suid", 0o6755)
    (root / "sticky").mkdir()
    os.chmod(root / "sticky", 0o3777)
    os.link(root / "dir" / "plain", root / "zlink")
    os.symlink("/absolute/nowhere", root / "symlink")
    os.symlink("x" * 180, root / "longlink")
    os.lchown(root / "symlink", 12, 34)
    os.mknod(root / "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(root / "loop", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    os.mkfifo(root / "fifo", 0o622)
    (root / ("n" * 120)).mkdir()
    (root / ("n" * 120) / ("m" * 150)).write_text("long name")
    with open(os.fsencode(root) + b"/not\xffutf\xfe8", "wb") as file:
        file.write(b"bytes")
    (root / "unicode-é-나루").write_text("u")
    os.setxattr(root / "dir" / "plain", "user.note", b"\0binary\n=\xff")
    os.setxattr(root / "dir", "user.dir", b"d")
    os.setxattr(root / "empty", "trusted.ours", b"t")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "suid", "security.capability", capability)
    (root / "readonly").mkdir()
    (root / "readonly" / "inner").write_text("inner")
    os.chmod(root / "readonly", 0o500)
    with open(root / "sparse", "wb") as file:
        file.write(b"start")
        file.seek(5 << 20)
        file.write(b"middle")
        file.truncate(20 << 20)
    for number, name in enumerate(("dir/plain", "empty", "suid", "sparse", "readonly", "dir")):
        os.utime(root / name, ns=(10**18, 10**18 + 123456789 * number))
    os.utime(root / "symlink", ns=(5, 1_600_000_000_000_000_001), follow_symlinks=False)


def describe(root: str, *, times: bool = True) -> dict[bytes, Any]:
    """Everything that can be said about a tree's files."""
    found: dict[bytes, Any] = {}
    inodes: dict[int, bytes] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(folders + files):
            path = folder + b"/" + name
            state = os.lstat(path)
            about: list[Any] = [state.st_mode, state.st_uid, state.st_gid]
            if times:
                about.append(state.st_mtime_ns)
            if stat.S_ISREG(state.st_mode):
                with open(path, "rb") as file:
                    about.append(hashlib.file_digest(file, "sha256").hexdigest())
                about.append(state.st_size)
            elif stat.S_ISLNK(state.st_mode):
                about.append(os.readlink(path))
            elif not stat.S_ISDIR(state.st_mode):
                about.append(state.st_rdev)
            if not stat.S_ISDIR(state.st_mode):
                about.append(inodes.setdefault(state.st_ino, path[len(top) :]))
            about.append(
                {
                    key: os.getxattr(path, key, follow_symlinks=False)
                    for key in os.listxattr(path, follow_symlinks=False)
                    if not key.startswith("trusted.overlay.")
                }
            )
            found[path[len(top) :]] = about
    return found


def gnu_tar(tree: Path, out: Path, *options: str) -> Path:
    command = ["tar", "-C", str(tree), "--numeric-owner", "--sort=name", *options, "-cf", str(out)]
    subprocess.run([*command, "."], check=True, stderr=subprocess.DEVNULL)
    return out


@pytest.mark.parametrize(
    "options",
    [
        ("--format=posix", "--xattrs", "--xattrs-include=*"),
        ("--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=1.0"),
        ("--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.1"),
        ("--format=posix", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.0"),
        ("--format=gnu", "-S"),
        ("--format=gnu", "-b", "1"),
    ],
)
def test_gnu_tar(tmp_path: Path, options: Any, apply: Any, rebuilt: Any, snapshots: Any) -> None:
    tree = tmp_path / "tree"
    special_tree(tree)
    archive = gnu_tar(tree, tmp_path / "a.tar", *options)
    layer = apply(archive)
    wanted, got = describe(str(tree)), describe(snapshots._diff_dirs(layer.chain_id)[0])
    if "--xattrs" not in options:
        for about in (*wanted.values(), *got.values()):
            about.pop()
    if "--format=gnu" in options:
        for both in (wanted, got):
            for about in both.values():
                about[3] //= 10**9
    assert got == wanted
    assert rebuilt(layer.chain_id) == archive.read_bytes()
    if "-S" in options:
        assert os.stat(snapshots._diff_dirs(layer.chain_id)[0] + "/sparse").st_blocks < 1000


@pytest.mark.parametrize("form", ["gz", "bz2", "xz", "zst"])
def test_compressed(tmp_path: Path, form: str, apply: Any, rebuilt: Any) -> None:
    tree = tmp_path / "tree"
    special_tree(tree)
    plain = gnu_tar(tree, tmp_path / "a.tar")
    whole = plain.read_bytes()
    command = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": None}[form]
    if command is None:
        packed = zstandard.compress(whole)
    else:
        packed = subprocess.run([command, "-c"], input=whole, stdout=-1, check=True).stdout
    layer = apply(packed)
    assert layer.diff_id == "sha256:" + hashlib.sha256(whole).hexdigest()
    assert rebuilt(layer.chain_id) == whole


def test_through_a_container(tmp_path: Path, apply: Any, snapshots: Any, wait: Any) -> None:
    """Files that a container made are the same after commit, in a layer and in an export."""
    base = apply(_tar({"base": b"b"}))
    wait(snapshots.create("one", base.chain_id))
    target = tmp_path / "mnt"
    target.mkdir()
    snapshots.mount("one", str(target))
    try:
        special_tree(target / "made")
        exported = _stream(snapshots.export(str(target), None))
    finally:
        snapshots.unmount(str(target))
    committed = wait(snapshots.commit("one"))
    upper = describe(snapshots.upper_dir("one"))
    assert describe(snapshots._diff_dirs(committed.chain_id)[0]) == upper
    again = apply(exported)
    made = snapshots._diff_dirs(again.chain_id)[0] + "/made"
    wanted = describe(snapshots.upper_dir("one") + "/made")
    wanted[b"/empty"][-1] = {}  # an export has no trusted attributes
    assert describe(made) == wanted


def test_larger_than_8_gib(tmp_path: Path, apply: Any, rebuilt: Any, snapshots: Any) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "big", "wb") as file:
        file.seek(9 * GIB)
        file.write(b"end")
    for options in (("--format=posix", "-S"), ("--format=gnu", "-S")):
        archive = gnu_tar(tree, tmp_path / "a.tar", *options)
        layer = apply(archive)
        path = snapshots._diff_dirs(layer.chain_id)[0] + "/big"
        assert os.stat(path).st_size == 9 * GIB + 3
        with open(path, "rb") as file:
            file.seek(9 * GIB)
            assert file.read() == b"end"
        assert rebuilt(layer.chain_id) == archive.read_bytes()


def test_python_tar_formats(apply: Any, rebuilt: Any) -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for name in ("a/b", "c" * 99, "d" * 90 + "/" + "e" * 90):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = 3, 1_700_000_000
                tar.addfile(info, io.BytesIO(b"abc"))
        assert rebuilt(apply(out.getvalue()).chain_id) == out.getvalue()


def test_entries_that_replace_each_other(apply: Any, rebuilt: Any, snapshots: Any) -> None:
    """The archive is rebuilt although the layer no longer has what was replaced."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(
            name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
        ) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, link
            tar.addfile(info, io.BytesIO(data))

        add("same", b"first")
        add("same", b"second, longer")
        add("d", kind=tarfile.DIRTYPE)
        add("d/inner", b"inside")
        add("d/hard", kind=tarfile.LNKTYPE, link="d/inner")
        add("d", b"now a file")
        add("d", kind=tarfile.DIRTYPE)
        add("d/inner", b"again")
        add("to", kind=tarfile.DIRTYPE)
        add("via", kind=tarfile.SYMTYPE, link="to")
        add("via/file", b"through a link")
        add("to/file", b"over it")
        add("other", kind=tarfile.DIRTYPE)
        add("via", kind=tarfile.SYMTYPE, link="other")
        add("via/file", b"elsewhere")
        add(".wh.same", b"content in a whiteout")
        add("unknown", b"data of an unknown type", kind=b"Q")
    archive = out.getvalue() + b"trailing" * 1000
    layer = apply(archive)
    diff = Path(snapshots._diff_dirs(layer.chain_id)[0])
    assert (diff / "same").read_bytes() == b"second, longer"
    assert (diff / "d" / "inner").read_bytes() == b"again"
    assert (diff / "other" / "file").read_bytes() == b"elsewhere"
    assert (diff / "to" / "file").read_bytes() == b"over it"
    assert not (diff / "unknown").exists()
    assert rebuilt(layer.chain_id) == archive


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _stream(pieces: Any) -> bytes:

    async def main() -> bytes:
        return b"".join([piece async for piece in pieces])

    return asyncio.run(main())
