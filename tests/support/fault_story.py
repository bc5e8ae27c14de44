"""A story of an engine's life in which every failpoint is passed, and what must hold afterwards.

Each step says what may be true once it was asked for and not answered: the world before it or the
world after it, nothing in between.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine_lab import ApiError, EngineLab, until

WEB = "story-web"
BRIEF = "story-brief"
CHATTY = "story-chatty"
MAPPED = "story-mapped"
NET = "story-net"


@dataclass
class World:
    """What clients were told. `containers`: name → allowed statuses ("absent" among them);
    `members`: whether WEB may be on NET."""

    containers: dict[str, set[str]] = field(default_factory=dict)
    images: dict[str, set[bool]] = field(default_factory=dict)
    volumes: dict[str, set[bool]] = field(default_factory=dict)
    networks: dict[str, set[bool]] = field(default_factory=dict)
    members: set[bool] = field(default_factory=lambda: {False})


@dataclass(frozen=True)
class Step:
    """`during` loosens what must hold while the step is under way, `after` settles it."""

    name: str
    act: Callable[[EngineLab], object]
    during: Callable[[World], object]
    after: Callable[[World], object]


def _set(world: dict[str, set[str]], name: str, *statuses: str) -> None:
    world[name] = set(statuses)


def _layout() -> bytes:
    """A `docker save` archive of one image with one layer, made here."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("loaded")
        entry.size = 6
        archive.addfile(entry, io.BytesIO(b"loaded"))
    diff_id = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/loaded"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
    ).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["loaded:latest"], "Layers": ["l.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (
            ("c.json", config),
            ("l.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _load(lab: EngineLab) -> None:
    answer = lab.call("POST", "/images/load?quiet=1", raw=_layout())
    if b'"error"' in answer:
        raise ApiError(500, answer.decode())


def _web(lab: EngineLab) -> None:
    lab.create(
        "sleep",
        "600",
        name=WEB,
        ExposedPorts={"80/tcp": {}},
        HostConfig={
            "Binds": ["story-data:/data", "/anonymous"],
            "PortBindings": {"80/tcp": [{"HostPort": str(lab.port)}]},
        },
    )


def _brief(lab: EngineLab) -> None:
    container = lab.create("true", name=BRIEF, HostConfig={"AutoRemove": True})
    lab.call("POST", f"/containers/{container}/start")
    with contextlib.suppress(ApiError):
        lab.call("POST", f"/containers/{container}/wait?condition=removed")


def _mapped(lab: EngineLab) -> None:
    """A container with ids of its own on the host."""
    lab.directory.chmod(0o711)
    host = {"UsernsMode": "private", "Binds": ["/anonymous"], "IpcMode": "shareable"}
    lab.wait(lab.run("touch", "/anonymous/file", name=MAPPED, HostConfig=host))


def _chatty(lab: EngineLab) -> None:
    """Writes more than its log may hold, slowly enough that it is rotated meanwhile."""
    script = "for i in 1 2 3 4 5 6; do seq 1000 1100; usleep 60000; done"
    limits = {"Type": "json-file", "Config": {"max-size": "4k", "max-file": "2"}}
    lab.wait(lab.run("sh", "-c", script, name=CHATTY, HostConfig={"LogConfig": limits}))


def _import(lab: EngineLab) -> None:
    archive = lab.call("GET", "/volumes/story-data/naru/export?compression=zstd")
    lab.call("POST", "/volumes/story-copy/naru/import?replace=1", raw=archive)


def _back_up(lab: EngineLab) -> None:
    lab.call("PUT", "/volumes/story-copy/naru/schedule", {"Every": "8h", "Keep": 1})
    for _ in range(2):
        lab.call("POST", "/volumes/story-copy/naru/backup")
    (item,) = lab.json("GET", "/volumes/naru/schedules")["Schedules"]
    for name in item["Files"]:
        assert (Path(item["To"]) / name).stat().st_size > 100
    lab.call("DELETE", "/volumes/story-copy/naru/schedule")
    shutil.rmtree(item["To"])


STORY = (
    Step(
        "tag",
        lambda lab: lab.call("POST", "/images/busybox/tag?repo=story&tag=two"),
        lambda world: world.images.update({"story:two": {True, False}}),
        lambda world: world.images.update({"story:two": {True}}),
    ),
    Step(
        "load",
        _load,
        lambda world: world.images.update({"loaded:latest": {True, False}}),
        lambda world: world.images.update({"loaded:latest": {True}}),
    ),
    Step(
        "create",
        _web,
        lambda world: (
            _set(world.containers, WEB, "absent", "created"),
            world.volumes.update({"story-data": {True, False}}),
        ),
        lambda world: (
            _set(world.containers, WEB, "created"),
            world.volumes.update({"story-data": {True}}),
        ),
    ),
    Step(
        "start",
        lambda lab: lab.call("POST", f"/containers/{WEB}/start"),
        lambda world: _set(world.containers, WEB, "created", "running"),
        lambda world: _set(world.containers, WEB, "running"),
    ),
    Step(
        "network",
        lambda lab: lab.call("POST", "/networks/create", {"Name": NET}),
        lambda world: world.networks.update({NET: {True, False}}),
        lambda world: world.networks.update({NET: {True}}),
    ),
    Step(
        "connect",
        lambda lab: lab.call(
            "POST",
            f"/networks/{NET}/connect",
            {"Container": WEB, "EndpointConfig": {"GwPriority": 1, "Aliases": ["story"]}},
        ),
        lambda world: world.members.add(True),
        lambda world: world.members.discard(False),
    ),
    Step(
        "disconnect",
        lambda lab: lab.call("POST", f"/networks/{NET}/disconnect", {"Container": WEB}),
        lambda world: world.members.add(False),
        lambda world: world.members.discard(True),
    ),
    Step(
        "unnetwork",
        lambda lab: lab.call("DELETE", f"/networks/{NET}"),
        lambda world: world.networks.update({NET: {True, False}}),
        lambda world: world.networks.update({NET: {False}}),
    ),
    Step(
        "commit",
        lambda lab: lab.call("POST", f"/commit?container={WEB}&repo=story&tag=kept"),
        lambda world: world.images.update({"story:kept": {True, False}}),
        lambda world: world.images.update({"story:kept": {True}}),
    ),
    Step(
        "stop",
        lambda lab: lab.call("POST", f"/containers/{WEB}/stop?t=0"),
        lambda world: _set(world.containers, WEB, "running", "exited"),
        lambda world: _set(world.containers, WEB, "exited"),
    ),
    Step(
        "remove",
        lambda lab: lab.call("DELETE", f"/containers/{WEB}?v=1"),
        lambda world: _set(world.containers, WEB, "exited", "absent", "dead"),
        lambda world: _set(world.containers, WEB, "absent"),
    ),
    Step(
        "brief",
        _brief,
        lambda world: _set(world.containers, BRIEF, "absent", "created", "exited", "running"),
        lambda world: _set(world.containers, BRIEF, "absent"),
    ),
    Step(
        "chatty",
        _chatty,
        lambda world: _set(world.containers, CHATTY, "absent", "created", "exited", "running"),
        lambda world: _set(world.containers, CHATTY, "created", "exited", "running"),
    ),
    Step(
        "mapped",
        _mapped,
        lambda world: _set(world.containers, MAPPED, "absent", "created", "exited", "running"),
        lambda world: _set(world.containers, MAPPED, "created", "exited", "running"),
    ),
    Step(
        "untag",
        lambda lab: lab.call("DELETE", "/images/story:two"),
        lambda world: world.images.update({"story:two": {True, False}}),
        lambda world: world.images.update({"story:two": {False}}),
    ),
    Step(
        "delete",
        lambda lab: lab.call("DELETE", "/images/loaded:latest"),
        lambda world: world.images.update({"loaded:latest": {True, False}}),
        lambda world: world.images.update({"loaded:latest": {False}}),
    ),
    Step(
        "volume-clone",
        lambda lab: lab.call("POST", "/volumes/story-data/naru/clone", {"Name": "story-copy"}),
        lambda world: world.volumes.update({"story-copy": {True, False}}),
        lambda world: world.volumes.update({"story-copy": {True}}),
    ),
    Step(
        "volume-import",
        _import,
        lambda world: None,
        lambda world: None,
    ),
    Step(
        "volume-backup",
        _back_up,
        lambda world: None,
        lambda world: None,
    ),
    Step(
        "volume-rename",
        lambda lab: lab.call("POST", "/volumes/story-copy/naru/rename?name=story-moved"),
        lambda world: world.volumes.update(
            {"story-copy": {True, False}, "story-moved": {True, False}}
        ),
        lambda world: world.volumes.update({"story-copy": {False}, "story-moved": {True}}),
    ),
    Step(
        "volume",
        lambda lab: lab.call("DELETE", "/volumes/story-data"),
        lambda world: world.volumes.update({"story-data": {True, False}}),
        lambda world: world.volumes.update({"story-data": {False}}),
    ),
)


def tell(lab: EngineLab, world: World, *, stop_at_error: bool) -> str | None:
    """Act the story; the name of the step that failed. With `stop_at_error` off it is tried again
    once and the story goes on."""
    for step in STORY:
        step.during(world)
        try:
            step.act(lab)
        except (OSError, ApiError):
            if stop_at_error:
                return step.name
            try:
                step.act(lab)
            except ApiError as error:
                if error.status not in (304, 403, 404, 409):
                    raise
        step.after(world)
    return None


def check(lab: EngineLab, world: World) -> None:
    """What clients were told holds. Raises: AssertionError."""
    found = {
        item["Names"][0].removeprefix("/"): item["State"]
        for item in lab.json("GET", "/containers/json?all=1")
    }
    for name, allowed in world.containers.items():
        status = found.get(name, "absent")
        assert status in allowed, f"container {name} is {status}, allowed {sorted(allowed)}"
    tags = {tag for item in lab.json("GET", "/images/json") for tag in item["RepoTags"] or ()}
    for name, allowed_image in world.images.items():
        assert (name in tags) in allowed_image, f"image {name}: {name in tags}"
    volumes = {item["Name"] for item in lab.json("GET", "/volumes")["Volumes"] or ()}
    for name, allowed_volume in world.volumes.items():
        assert (name in volumes) in allowed_volume, f"volume {name}: {name in volumes}"
    networks = {item["Name"] for item in lab.json("GET", "/networks")}
    for name, allowed_network in world.networks.items():
        assert (name in networks) in allowed_network, f"network {name}: {name in networks}"
    if found.get(WEB) == "running":
        on = NET in lab.inspect(WEB)["NetworkSettings"]["Networks"]
        assert on in world.members, f"{WEB} on {NET}: {on}"
        inside = lab.links_inside(WEB)
        wanted = {"lo", "eth0", "eth1"} if on else {"lo", "eth0"}
        assert inside in (wanted, None), inside


def clean_world(lab: EngineLab) -> None:
    """Back to the beginning: everything of the story is removed, and that must work."""
    lab.remove_all()
    for item in lab.json("GET", "/images/json"):
        for tag in item["RepoTags"] or ():
            if tag != "busybox:latest":
                lab.call("DELETE", f"/images/{tag}?force=1")
    lab.call("POST", '/images/prune?filters={"dangling":["true"]}')
    for item in lab.json("GET", "/volumes/naru/schedules")["Schedules"]:
        left = os.listdir(item["To"]) if os.path.isdir(item["To"]) else []
        assert sorted(left) == item["Files"], f"backups: {left}, known {item['Files']}"
        lab.call("DELETE", f"/volumes/{item['Volume']}/naru/schedule")
        shutil.rmtree(item["To"], ignore_errors=True)
    for item in lab.json("GET", "/volumes")["Volumes"] or ():
        lab.call("DELETE", f"/volumes/{item['Name']}?force=1")
    lab.remove_networks()
    container = lab.run("true")
    assert lab.wait(container) == 0
    lab.call("DELETE", f"/containers/{container}")
    try:
        until(lambda: not lab.leftovers(), "nothing is left", 5)
    except AssertionError as error:
        raise AssertionError(f"left: {lab.leftovers()}") from error


def passed_points(lab: EngineLab, directory: Path) -> tuple[list[str], list[str]]:
    """The failpoints up to the first image, and those of the story, each once and in order."""
    log = directory / "points"
    lab.start({"NARU_FAILPOINT_LOG": str(log)})
    lab.make_busybox()
    first = log.read_text().split()
    log.write_text("")
    world = World()
    assert tell(lab, world, stop_at_error=True) is None
    check(lab, world)
    clean_world(lab)
    assert lab.stop() == 0
    return list(dict.fromkeys(first)), list(dict.fromkeys(log.read_text().split()))


def fail_at_every_point(lab: EngineLab, directory: Path, action: str) -> None:
    """An error of the disk at each point: told clearly, rolled back, and the engine goes on."""
    _, story = passed_points(lab, directory)
    for point in story:
        lab.start({"NARU_FAILPOINTS": f"{point}={action}"})
        world = World()
        try:
            tell(lab, world, stop_at_error=False)
            check(lab, world)
            clean_world(lab)
            status = lab.stop()
        except (AssertionError, OSError, ApiError) as error:
            raise AssertionError(f"{action} at {point}: {error}") from error
        assert status == 0, f"{action} at {point}: narud ended with {status}"
