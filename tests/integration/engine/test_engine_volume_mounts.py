"""What containers see of volumes, images and tmpfs that are mounted in them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(51) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def clean(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    for item in lab.json("GET", "/volumes")["Volumes"]:
        lab.call("DELETE", f"/volumes/{item['Name']}")
    with contextlib.suppress(ApiError):
        lab.call("DELETE", "/images/second?force=1")
    until(lambda: not lab.leftovers(), "nothing is left")


def said(lab: EngineLab, *command: str, **host_config: Any) -> str:
    container = lab.run(*command, HostConfig=host_config)
    lab.wait(container)
    return lab.logs(container).decode()


def second_image(lab: EngineLab) -> str:
    box = lab.run("sh", "-c", "mkdir /only; echo second > /only/file; ln -s only /link")
    lab.wait(box)
    image = lab.json("POST", f"/commit?container={box}&repo=second", {})["Id"]
    lab.call("DELETE", f"/containers/{box}")
    return str(image)


def image_mount(source: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "image", "Source": source, "Target": "/img", **fields}


def test_an_image_is_mounted_read_only(lab: EngineLab) -> None:
    image = second_image(lab)
    script = "cat /img/only/file; touch /img/x 2>&1; test -e /img/etc/hosts || echo none"
    box = lab.run("sh", "-c", script, HostConfig={"Mounts": [image_mount("second")]})
    lab.wait(box)
    assert lab.logs(box) == b"second\ntouch: /img/x: Read-only file system\nnone\n"
    shown = lab.inspect(box)
    assert shown["HostConfig"]["Mounts"] == [image_mount("second")]
    (mount,) = shown["Mounts"]
    source = mount.pop("Source")
    assert source.startswith(f"{lab.exec_root}/images/{box}")
    assert mount == {
        "Type": "image", "Name": "second", "Destination": "/img", "Mode": "", "RW": False,
        "Propagation": "rprivate",
    }  # fmt: skip
    with pytest.raises(ApiError) as caught:
        lab.call("DELETE", "/images/second")
    assert caught.value.status == 409 and box[:12] in caught.value.message
    assert b"second\n" in lab.call("GET", f"/containers/{box}/archive?path=/img/only/file")
    lab.call("DELETE", "/images/second?force=1")
    lab.kill()
    lab.start()
    lab.call("POST", f"/containers/{box}/start")
    lab.wait(box)
    assert lab.logs(box).endswith(b"second\ntouch: /img/x: Read-only file system\nnone\n")
    lab.call("DELETE", f"/containers/{box}")
    assert image not in {item["Id"] for item in lab.json("GET", "/images/json")}
    assert not [name for name in os.listdir(lab.data_root / "snapshots/snapshots") if "." in name]


def test_parts_of_images_and_what_is_missing(lab: EngineLab) -> None:
    second_image(lab)
    for subpath in ("only", "link", "link/../only"):
        mount = image_mount("second", ImageOptions={"Subpath": subpath})
        assert said(lab, "cat", "/img/file", Mounts=[mount]) == "second\n"
    mount = image_mount("second", ImageOptions={"Subpath": "only/file"})
    assert said(lab, "cat", "/img", Mounts=[mount]) == "second\n"
    missing = lab.create(
        "true", HostConfig={"Mounts": [image_mount("second", ImageOptions={"Subpath": "no"})]}
    )
    with pytest.raises(ApiError) as caught:
        lab.call("POST", f"/containers/{missing}/start")
    assert caught.value.status == 404 and "subpath 'no' of image second" in caught.value.message
    for source, status, text in (
        ("nowhere:1", 404, "No such image: nowhere:1"),
        ("", 400, "field Source must not be empty"),
    ):
        with pytest.raises(ApiError) as caught:
            lab.create("true", HostConfig={"Mounts": [image_mount(source)]})
        assert (caught.value.status, text in caught.value.message) == (status, True)


def test_image_mounts_survive_the_engine_and_go_with_the_container(lab: EngineLab) -> None:
    second_image(lab)
    script = "trap exit TERM; while ! test -e /go; do sleep 0.05; done; cat /img/only/file"
    box = lab.run("sh", "-c", script, HostConfig={"Mounts": [image_mount("second")]})
    other = lab.run("cat", "/img/only/file", HostConfig={"VolumesFrom": [box]})
    lab.wait(other)
    assert lab.logs(other) == b"second\n"
    lab.kill()
    lab.start()
    pid = lab.inspect(box)["State"]["Pid"]
    Path(f"/proc/{pid}/root/go").touch()
    lab.wait(box)
    assert lab.logs(box) == b"second\n"
    until(lambda: not lab.leftovers(), "the mounts are gone with the run")


def test_volumes_from_a_data_volume_container(lab: EngineLab) -> None:
    data = lab.create("true", Volumes={"/data": {}, "/more": {}})
    write = "echo kept > /data/file; touch /more/x; ls /data /more"
    assert said(lab, "sh", "-c", write, VolumesFrom=[data]) == "/data:\nfile\n\n/more:\nx\n"
    script = "cat /data/file; touch /data/y 2>&1"
    answer = said(lab, "sh", "-c", script, VolumesFrom=[f"{data}:ro"])
    assert answer == "kept\ntouch: /data/y: Read-only file system\n"
    reader = lab.create("cat", "/data/file", HostConfig={"VolumesFrom": [data]})
    lab.call("DELETE", f"/containers/{data}")
    lab.call("POST", f"/containers/{reader}/start")
    assert lab.wait(reader) == 0
    assert len(lab.json("GET", "/volumes")["Volumes"]) == 2


def test_tmpfs_has_its_size_and_mode(lab: EngineLab) -> None:
    script = "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/t/x bs=1M"
    for fields in (
        {"Tmpfs": {"/t": "size=2m,mode=1750"}},
        {"Mounts": [{"Type": "tmpfs", "Target": "/t",
                     "TmpfsOptions": {"SizeBytes": 2 << 20, "Mode": 0o1750}}]},
    ):  # fmt: skip
        answer = said(lab, "sh", "-c", script, **fields)
        assert answer.startswith("1750\n2048\n") and "No space left" in answer


def test_a_fresh_volume_takes_after_the_image(lab: EngineLab) -> None:
    box = lab.run(
        "sh", "-c", "mkdir -m 2750 /srv; chown 33:44 /srv; echo x > /srv/f; ln /srv/f /srv/g"
    )
    lab.wait(box)
    upper = next(lab.data_root.glob(f"snapshots/snapshots/{box}/upper"))
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(upper / "srv/f", "security.capability", capability)
    os.setxattr(upper / "srv", "user.note", b"dir")
    lab.call("POST", f"/commit?container={box}&repo=second", {})
    script = "stat -c '%a %u %g' /srv; stat -c %h /srv/f"
    binds = {"Binds": ["fresh:/srv"], "AutoRemove": False}
    made = lab.run("sh", "-c", script, HostConfig=binds, Image="second")
    lab.wait(made)
    assert lab.logs(made) == b"2750 33 44\n2\n"
    data = lab.data_root / "volumes/fresh/_data"
    assert os.getxattr(data / "f", "security.capability") == capability
    assert os.getxattr(data, "user.note") == b"dir"
    mount = {
        "Type": "volume",
        "Source": "bare",
        "Target": "/srv",
        "VolumeOptions": {"NoCopy": True},
    }
    body = {"Image": "second", "HostConfig": {"Mounts": [mount]}}
    lab.run("ls", "/srv", **body)
    assert os.listdir(lab.data_root / "volumes/bare/_data") == []


def test_the_command_line_mounts_images(lab: EngineLab) -> None:
    second_image(lab)
    words = ("run", "--rm", "--mount", "type=image,source=second,target=/i,image-subpath=only")
    for program in (("docker",), (str(Path(sys.executable).parent / "naru"),)):
        done = subprocess.run(
            [*program, "-H", lab.host, *words, "busybox", "cat", "/i/file"],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "second\n"), done.stderr
