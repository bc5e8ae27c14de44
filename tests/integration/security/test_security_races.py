"""A container that exchanges directories and links all the time while the engine works on them.

The program in the container is a process of this host that works in the container's root, as the
kernel sees it the same thing. Everything below runs for a bounded time; what counts is that the
host's canary is neither read nor changed.
"""

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks import DIR, REG, Canary, archive, execute, swapping
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

SECONDS = 3.0
VOLUME_SECONDS = 10.0


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(33) as engine:
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


def inside(lab: EngineLab, box: str, path: str) -> Path:
    """A path of the running container, as a process of this host reaches it."""
    pid = lab.inspect(box)["State"]["Pid"]
    return Path(f"/proc/{pid}/root{path}")


def prepare(lab: EngineLab, box: str, folder: str, canary: Canary) -> tuple[Path, Path]:
    """A directory with files and a link to the canary, to be exchanged."""
    base = inside(lab, box, folder)
    (base / "d" / "sub").mkdir(parents=True)
    (base / "d" / "file").write_text("of the container")
    (base / "evil").symlink_to(canary.path)
    (base / "d" / "sub" / "up").symlink_to("../" * 14 + str(canary)[1:])
    return base / "d", base / "evil"


def during(seconds: float, attempt: Callable[[], bool]) -> int:
    """Try again and again; how often it went well. What is refused may be refused."""
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end:
        with contextlib.suppress(ApiError):
            done += attempt()
    return done


def check_archive(data: bytes) -> None:
    assert Canary.SECRET not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
    assert not [name for name in names if name.startswith(("/", ".."))]


@pytest.mark.parametrize("volume", [False, True])
def test_copies_out(lab: EngineLab, canary: Canary, volume: bool) -> None:
    mounts = [{"Type": "volume", "Target": "/place"}] if volume else []
    box = lab.run("sh", "-c", "mkdir -p /place; sleep 1000", HostConfig={"Mounts": mounts})
    until(lambda: inside(lab, box, "/place").is_dir(), "the container runs")
    paths = iter(())
    wanted = ("/place/d/file", "/place/d", "/place/d/.", "/place", "/place/d/sub/../file")

    def attempt() -> bool:
        nonlocal paths
        path = next(paths, None)
        if path is None:
            paths = iter(wanted)
            return False
        check_archive(lab.call("GET", f"/containers/{box}/archive?path={path}"))
        return True

    with swapping(*prepare(lab, box, "/place", canary)):
        assert during(SECONDS, attempt) > 0


@pytest.mark.parametrize("volume", [False, True])
def test_copies_in(lab: EngineLab, canary: Canary, volume: bool) -> None:
    mounts = [{"Type": "volume", "Target": "/place"}] if volume else []
    box = lab.run("sh", "-c", "mkdir -p /place; sleep 1000", HostConfig={"Mounts": mounts})
    until(lambda: inside(lab, box, "/place").is_dir(), "the container runs")
    members = [(f"d/sub/../x{number % 5}", REG, b"dead") for number in range(40)]
    data = archive(("d", DIR, ""), *members, ("d/file", REG, b"dead"), ("d/sub/new", DIR, ""))
    plain = archive(("file", REG, b"dead"), ("x", REG, b"dead"), ("made", DIR, ""))
    turn = 0

    def attempt() -> bool:
        nonlocal turn
        turn += 1
        path, body = (("/place", data), ("/place/d", plain), ("/place/d/sub/up/", plain))[turn % 3]
        lab.call("PUT", f"/containers/{box}/archive?path={path}", raw=body)
        return True

    with swapping(*prepare(lab, box, "/place", canary)):
        assert during(SECONDS, attempt) > 0


def test_volumes_and_subpaths(lab: EngineLab, canary: Canary) -> None:
    """Two containers share a volume: one exchanges what the other's mounts lead through."""
    lab.call("POST", "/volumes/create", {"Name": "shared"})
    lab.call("POST", "/volumes/create", {"Name": "other"})
    box = lab.run("sleep", "1000", HostConfig={"Binds": ["shared:/place"]})
    link, folder = prepare(lab, box, "/place", canary)[::-1]
    script = "cat /v/file /v/d/file /place/d/file; touch /v/x /place/d/x /place/d/in/x; ls / /v"
    options = [
        {"Mounts": [{"Type": "volume", "Source": "shared", "Target": "/v",
                     "VolumeOptions": {"Subpath": "d"}}]},
        {"Mounts": [{"Type": "volume", "Source": "shared", "Target": "/v",
                     "VolumeOptions": {"Subpath": "d/sub"}}]},
        {"Binds": ["shared:/place", "other:/place/d"]},
        {"Binds": ["shared:/place", "other:/place/d/in"]},
        {"Binds": ["shared:/place"], "Tmpfs": {"/place/d/tmp": ""}},
        {"Binds": ["shared:/place:ro", "other:/place/d/sub"]},
    ]  # fmt: skip
    turn = 0

    def attempt() -> bool:
        nonlocal turn
        turn += 1
        extra = {"WorkingDir": "/place/d/work"} if turn % 2 else {}
        made = lab.create("sh", "-c", script, HostConfig=options[turn % len(options)], **extra)
        try:
            lab.call("POST", f"/containers/{made}/start")
            lab.wait(made)
            assert Canary.SECRET not in lab.logs(made)
        finally:
            lab.call("DELETE", f"/containers/{made}?force=1")
        return True

    with swapping(folder, link):
        assert during(SECONDS + 1, attempt) > 0


def test_volumes_that_are_exchanged_under_everything(lab: EngineLab, canary: Canary) -> None:
    """Subpaths with links, first fills and copies while a container exchanges their directories."""
    lab.call("POST", "/volumes/create", {"Name": "all"})
    box = lab.run("sleep", "1000", HostConfig={"Binds": ["all:/place"]})
    folder, link = prepare(lab, box, "/place", canary)
    (inside(lab, box, "/place") / "deep").symlink_to("d/sub")
    part = {"Type": "volume", "Source": "all", "Target": "/v"}
    options = [
        {"Mounts": [{**part, "VolumeOptions": {"Subpath": "deep"}}]},
        {"Mounts": [{**part, "VolumeOptions": {"Subpath": "d/sub/up"}}]},
        {"Mounts": [{**part, "VolumeOptions": {"Subpath": "evil"}}]},
        {"Binds": ["all:/place", "/place/d/anonymous", "/place/evil/anonymous"]},
    ]
    script = "cat /v/file /v/*/file /place/d/file; touch /v/x /place/d/x; chmod 777 /v /place/d"
    turn = 0

    def attempt() -> bool:
        nonlocal turn
        turn += 1
        made = lab.create("sh", "-c", script, HostConfig=options[turn % len(options)])
        try:
            check_archive(lab.call("GET", f"/containers/{made}/archive?path=/v"))
            lab.call("POST", f"/containers/{made}/start")
            lab.wait(made)
            assert Canary.SECRET not in lab.logs(made)
        finally:
            lab.call("DELETE", f"/containers/{made}?force=1&v=1")
        return True

    with swapping(folder, link):
        assert during(VOLUME_SECONDS, attempt) > 0


def test_work_in_a_swapping_container(lab: EngineLab, canary: Canary) -> None:
    """exec with a user and a directory, changes, export and commit of what is exchanged."""
    box = lab.run("sleep", "1000")
    place, evil = prepare(lab, box, "/tmp", canary)
    etc = inside(lab, box, "/etc")
    (etc / "evil").symlink_to(canary.path / "file")
    turn = 0

    def attempt() -> bool:
        nonlocal turn
        turn += 1
        if turn % 4 == 0:
            check_archive(lab.call("GET", f"/containers/{box}/export"))
        elif turn % 4 == 1:
            lab.json("GET", f"/containers/{box}/changes")
        elif turn % 4 == 2:
            image = lab.json("POST", f"/commit?container={box}&repo=swapped", {})["Id"]
            lab.call("DELETE", f"/images/{image}?force=1")
        else:
            _, text = execute(
                lab, box, "sh", "-c", "cat ./file", WorkingDir="/tmp/d", User="nobody"
            )
            assert Canary.SECRET not in text
        return True

    with swapping(place, evil), swapping(etc / "passwd", etc / "evil"):
        assert during(SECONDS, attempt) > 0


def test_starts_of_a_container_that_was_swapped(lab: EngineLab, canary: Canary) -> None:
    """Mount points of the root itself are exchanged between and during starts."""
    box = lab.create(
        "sh", "-c", "cat /place/d/file /etc/hosts; touch /place/d/x",
        HostConfig={"Mounts": [
            {"Type": "volume", "Target": "/place/d"}, {"Type": "tmpfs", "Target": "/place/e/f"},
        ]},
    )  # fmt: skip
    lab.call("POST", f"/containers/{box}/start")
    lab.wait(box)

    def attempt() -> bool:
        lab.call("POST", f"/containers/{box}/start")
        lab.wait(box)
        assert Canary.SECRET not in lab.logs(box)
        return True

    upper = next(lab.data_root.glob(f"snapshots/snapshots/{box}/upper"))
    (upper / "evil").symlink_to(canary.path)
    for one in ("place", "place/e"):
        assert not (upper / "place").is_symlink()
        (upper / "place" / "e").mkdir(parents=True, exist_ok=True)
        with swapping(upper / one, upper / "evil"):
            during(SECONDS / 2, attempt)


def test_cp_sees_the_subpath_alone(lab: EngineLab, canary: Canary) -> None:
    """What a container mounts of a volume is what cp reads and writes, and not what is above it."""
    lab.call("POST", "/volumes/create", {"Name": "parts"})
    maker = lab.run(
        "sh", "-c", "mkdir /v/part; echo part > /v/part/file; echo whole > /v/file; sleep 1000",
        HostConfig={"Binds": ["parts:/v"]},
    )  # fmt: skip
    until(lambda: inside(lab, maker, "/v/file").exists(), "the volume is filled")
    mount = {"Type": "volume", "Source": "parts", "Target": "/v",
             "VolumeOptions": {"Subpath": "part"}}  # fmt: skip
    for box in (
        lab.run("sleep", "1000", HostConfig={"Mounts": [mount]}),
        lab.create("true", HostConfig={"Mounts": [mount]}),
    ):
        data = lab.call("GET", f"/containers/{box}/archive?path=/v/file")
        assert b"part\n" in data and b"whole" not in data
        lab.call("PUT", f"/containers/{box}/archive?path=/v", raw=archive((f"new{box}", REG, b"")))
        assert inside(lab, maker, f"/v/part/new{box}").exists()
        assert not inside(lab, maker, f"/v/new{box}").exists()
    part = inside(lab, maker, "/v/part")
    for item in part.iterdir():
        item.unlink()
    part.rmdir()
    part.symlink_to(canary.path)
    for box in (lab.create("true", HostConfig={"Mounts": [mount]}),):
        with pytest.raises(ApiError) as caught:
            lab.call("GET", f"/containers/{box}/archive?path=/v/file")
        assert caught.value.status < 500
        with pytest.raises(ApiError):
            lab.call("PUT", f"/containers/{box}/archive?path=/v", raw=archive(("x", REG, b"")))
