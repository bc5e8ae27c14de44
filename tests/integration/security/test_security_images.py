"""Images made to harm: odd kernel directories and account files, WORKDIRs, planted programs."""

import contextlib
import gzip
import io
import lzma
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from attacks import (
    DIR,
    FIFO,
    REG,
    SYM,
    Canary,
    Member,
    archive,
    execute,
    make_image,
    outcome,
    system,
)
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(32) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def canary(lab: EngineLab, tmp_path: Path) -> Iterator[Canary]:
    host = Canary(tmp_path / "canary")
    yield host
    lab.remove_all()
    host.check()
    until(lambda: not lab.leftovers(), "nothing is left of the containers")


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "file", "fifo", "inside"])
def test_kernel_directories_that_are_none(
    lab: EngineLab, canary: Canary, name: str, kind: str
) -> None:
    member: Member = {
        "absolute": (name, SYM, str(canary)),
        "relative": (name, SYM, "../" * 10 + str(canary)[1:]),
        "inside": (name, SYM, "tmp"),
        "file": (name, REG, b""),
        "fifo": (name, FIFO, ""),
    }[kind]
    make_image(lab, "kernel", system(member, without=(name,)))
    code, text = outcome(lab, "sh", "-c", f"cd /{name} && pwd -P && ls", Image="kernel")
    wanted = {"dev": b"null", "proc": b"cpuinfo", "sys": b"kernel"}[name]
    if code == 0:
        assert text.startswith(f"/{name}\n".encode()) and wanted in text, text
    else:
        assert code == -1 and f"/{name}" in text.decode(), text


@pytest.mark.parametrize(
    "path", ["etc/mtab", "etc/hosts", "etc/resolv.conf", "etc/hostname", "etc", ".dockerenv"]
)
def test_placeholders_as_links(lab: EngineLab, canary: Canary, path: str) -> None:
    """The files that the engine puts into a container are put nowhere else."""
    target = str(canary) if path == "etc" else f"{canary}/file"
    for link in (target, "../" * 12 + target[1:], f"{canary}/new"):
        make_image(lab, "links", system((path, SYM, link), without=("etc",)))
        code, text = outcome(lab, "cat", "/etc/hosts", Image="links")
        assert Canary.SECRET not in text
        assert not (canary.path / "new").exists()
        assert code in (0, 1, -1)


ACCOUNTS: dict[str, Member] = {
    "fifo": ("etc/passwd", FIFO, ""),
    "link-host": ("etc/passwd", SYM, "/proc/1/root/etc/passwd"),
    "link-zero": ("etc/passwd", SYM, "/dev/zero"),
    "link-self": ("etc/passwd", SYM, "/proc/self/fd/0"),
    "link-loop": ("etc/passwd", SYM, "../etc/../etc/passwd"),
    "directory": ("etc/passwd", DIR, ""),
    "binary": ("etc/passwd", REG, os.urandom(100_000)),
    "one-line": ("etc/passwd", REG, b"a" * 8_000_000),
    "many-lines": ("etc/passwd", REG, b":\n" * 1_000_000),
}


@pytest.mark.parametrize("name", [*sorted(ACCOUNTS), "sparse"])
@pytest.mark.parametrize("which", ["passwd", "group"])
def test_account_files_of_other_kinds(
    lab: EngineLab, canary: Canary, name: str, which: str
) -> None:
    """A name is refused, a number goes on, and neither takes time or memory."""
    if name == "sparse":
        member = (f"etc/{which}", DIR, "")
    else:
        _, kind, what = ACCOUNTS[name]
        member = (
            f"etc/{which}",
            kind,
            what.replace("passwd", which) if isinstance(what, str) else what,
        )
    make_image(lab, "accounts", system(member))
    box = lab.run("sleep", "1000", Image="accounts")
    if name == "sparse":
        code, text = execute(
            lab, box, "/bin/busybox", "sh", "-c",
            f"busybox rm -r /etc/{which}; busybox truncate -s 10G /etc/{which}",
        )  # fmt: skip
        assert code == 0, text
    user = "someone" if which == "passwd" else "7:somegroup"
    probe = ("grep", "Uid", "/proc/self/status")
    begun = time.monotonic()
    for word, uid in ((user, b""), ("12345", b"12345")):
        try:
            found = [execute(lab, box, *probe, User=word)]
        except ApiError as error:
            found = [(-1, error.message.encode())]
        if name != "sparse":
            found.append(outcome(lab, *probe, Image="accounts", User=word))
        for code, text in found:
            assert code != 0 or (uid and text.split()[1:] == [uid] * 4), (word, text)
            assert len(text) < 2000
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("number", [0, 3, 5, 7, 9, 12])
def test_working_directories_that_are_doors(lab: EngineLab, number: int) -> None:
    """WORKDIR and exec's directory in a process's open files, also through links of the image."""
    links = [("cwd", SYM, f"/proc/self/fd/{number}"), ("fds", SYM, "/proc/self/fd")]
    make_image(lab, "doors", system(*links))
    box = lab.run("sleep", "1000", Image="doors")
    for path in (
        f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../../..", "/cwd", f"/fds/{number}",
        f"/proc/./self/fd/{number}", f"//proc/self/fd/{number}", f"/dev/fd/{number}",
        f"/proc/1/fd/{number}", f"/proc/thread-self/fd/{number}", f"/tmp/../proc/self/fd/{number}",
        "/proc/1/root", "/proc/self/cwd",
    ):  # fmt: skip
        for code, text in (
            outcome(lab, "ls", "-a", "..", Image="doors", WorkingDir=path),
            _tried(lab, box, path),
        ):
            assert b"snapshots" not in text and b"narud.lock" not in text, (path, text)
            assert code != 0 or b"busybox" in text or b".dockerenv" in text or (
                b"cmdline" in text or b"status" in text
            ), (path, text)  # fmt: skip


def _tried(lab: EngineLab, box: str, path: str) -> tuple[int, bytes]:
    try:
        return execute(lab, box, "ls", "-a", "..", WorkingDir=path)
    except ApiError as error:
        return -1, error.message.encode()


def test_working_directories_through_links(lab: EngineLab, canary: Canary) -> None:
    """A WORKDIR is made inside of the image, and nowhere else, wherever its links lead."""
    host = os.lstat(canary.path)
    for target in (str(canary), "../" * 12 + str(canary)[1:]):
        make_image(lab, "workdir", system(("w", SYM, target)), "WORKDIR /w/made/deep")
        code, text = outcome(lab, "pwd", Image="workdir", User="1000")
        assert (code, text.decode().strip()) == (0, f"{canary}/made/deep")
        assert not (canary.path / "made").exists()
    assert os.lstat(canary.path).st_uid == host.st_uid


PLANTED = b"#!/bin/sh\necho run > /planted-was-run\n"
PROGRAMS = ("xz", "unxz", "unpigz", "gzip", "gunzip", "zstd", "tar", "bzip2", "nsenter", "chroot")


def _planted() -> bytes:
    """An image full of programs and Python modules that a careless engine would load."""
    code = b"import os; os.close(os.open('/planted-was-run', os.O_CREAT | os.O_WRONLY))\n"
    members: list[Member] = []
    for folder in ("bin", "usr/bin", "usr/local/bin", "sbin"):
        members += [(f"{folder}/{name}", REG, PLANTED) for name in PROGRAMS]
    for folder in (
        "", "usr/lib/python3/dist-packages/", "usr/lib/python3.11/", "lib/python3.11/",
        str(Path(tarfile.__file__).parent)[1:] + "/", str(Path(__file__).parents[3])[1:] + "/",
    ):  # fmt: skip
        for module in (
            "encodings/__init__", "encodings/idna", "encodings/cp437", "sitecustomize", "lzma",
            "_compression", "tarfile", "naru/__init__", "zstandard/__init__",
        ):  # fmt: skip
            members.append((f"{folder}{module}.py", REG, code))
    for library in ("lib/libnss_files.so.2", "lib/x86_64-linux-gnu/libnss_files.so.2",
                    "etc/nsswitch.conf", "etc/ld.so.preload"):  # fmt: skip
        members.append((library, REG, b"/planted.so"))
    return system(*members)


def test_nothing_of_the_image_is_run_during_cp(lab: EngineLab, canary: Canary) -> None:
    make_image(lab, "planted", _planted())
    name = "n\u00e4me"
    odd = archive((f"in/{name}", REG, b"data"), (b"in/\xff\xfe".decode("latin-1"), REG, b"data"))
    for box in (
        lab.run("sleep", "1000", Image="planted"),
        lab.create("true", Image="planted"),
    ):
        for data in (odd, gzip.compress(odd), lzma.compress(odd)):
            lab.call("PUT", f"/containers/{box}/archive?path=/tmp&copyUIDGID=1", raw=data)
        for path in ("/tmp", "/bin/sh", f"/tmp/in/{name}"):
            lab.call("GET", f"/containers/{box}/archive?path={quote(path)}")
        lab.call("GET", f"/containers/{box}/export")
        changed = [item["Path"] for item in lab.json("GET", f"/containers/{box}/changes")]
        assert f"/tmp/in/{name}" in changed
        assert "/planted-was-run" not in changed
    assert not Path("/planted-was-run").exists()


def test_volumes_take_nothing_from_outside_of_the_image(lab: EngineLab, canary: Canary) -> None:
    """Copy-up of a path that leads out, and of what lies in it."""
    links = [
        ("out", SYM, str(canary)), ("data", DIR, ""), ("data/link", SYM, f"{canary}/file"),
        ("up", SYM, "../" * 12 + str(canary)[1:]),
    ]  # fmt: skip
    make_image(lab, "volumes", system(*links))
    for destination in ("/out", "/data", "/up"):
        box = lab.run(
            "sh", "-c", f"cat {destination}/* 2>/dev/null; true", Image="volumes",
            HostConfig={"Mounts": [{"Type": "volume", "Target": destination}]},
        )  # fmt: skip
        lab.wait(box)
        assert Canary.SECRET not in lab.logs(box)
        lab.call("DELETE", f"/containers/{box}?v=1")


def test_set_user_id_programs_are_dead_outside(lab: EngineLab) -> None:
    """What a container made set-user-ID or a device does nothing where the engine copies."""
    box = lab.run("sleep", "1000")
    execute(lab, box, "sh", "-c", "cp /bin/busybox /tmp/b; chmod 4755 /tmp/b; mknod /tmp/n c 1 3")
    data = lab.call("GET", f"/containers/{box}/archive?path=/tmp")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        kinds = {info.name: (info.mode & 0o7000, info.type) for info in tar}
    assert kinds["tmp/b"] == (stat.S_ISUID, tarfile.REGTYPE)
    assert kinds["tmp/n"][1] == tarfile.CHRTYPE


def test_endless_commands_and_labels_are_bounded(lab: EngineLab) -> None:
    """Giant texts in an image's config are refused or kept, and never bring the engine down."""
    with contextlib.suppress(ApiError):
        make_image(lab, "giant", system(), *[f"ENV A{n}={'x' * 500}" for n in range(100)])
        outcome(lab, "true", Image="giant")
    code, _ = outcome(lab, "x" * 100_000)
    assert code in (-1, 126, 127)
    code, _ = outcome(lab, "true", Env=[f"A{n}={'x' * 100_000}" for n in range(30)])
    assert code != 0
    assert lab.call("GET", "/_ping") == b"OK"
