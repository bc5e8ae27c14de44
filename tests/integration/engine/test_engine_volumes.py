"""Volumes through the API: what Docker answers, who may remove what, and what a restart leaves."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(50) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def clean(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    for item in lab.json("GET", "/volumes")["Volumes"]:
        lab.call("DELETE", f"/volumes/{item['Name']}")
    until(lambda: not lab.leftovers(), "nothing is left")


def refused(lab: EngineLab, method: str, url: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        lab.call(method, url, body)
    return caught.value.status, caught.value.message


def listed(lab: EngineLab, **filters: str) -> list[str]:
    text = quote(json.dumps({name: [value] for name, value in filters.items()}))
    return [item["Name"] for item in lab.json("GET", f"/volumes?filters={text}")["Volumes"]]


def test_names_that_are_none(lab: EngineLab) -> None:
    for name in ("..", "a", "a/../b", "a\0b", "\u0430bc", "x" * 300, "-a", "a b", "v\n", "\u202eb"):
        status, _ = refused(lab, "POST", "/volumes/create", {"Name": name})
        assert status == 400, name
        binds = {"Binds": [f"{name}:/x"]}
        body = {"Image": "busybox", "HostConfig": binds}
        assert refused(lab, "POST", "/containers/create", body)[0] == 400, name
        assert refused(lab, "GET", f"/volumes/{quote(name)}")[0] == 404
        assert refused(lab, "DELETE", f"/volumes/{quote(name)}")[0] == 404
    assert listed(lab) == []
    folders = {path.name for path in (lab.data_root / "volumes").iterdir()}
    assert folders == {".removed"}


def test_options_are_shown_as_given_and_a_body_is_not_needed(lab: EngineLab) -> None:
    for name, given in (("none", None), ("empty", {}), ("blank", {"type": "", "device": ""})):
        body = {"Name": name, "DriverOpts": given}
        assert lab.json("POST", "/volumes/create", body)["Options"] == given
    made = lab.json("POST", "/volumes/create")
    assert made["Labels"] == {"com.docker.volume.anonymous": ""}
    status, text = refused(lab, "PUT", "/volumes/none", {"Spec": {}})
    assert (status, text) == (
        503, "volume update only valid for cluster volumes, but swarm is unavailable",
    )  # fmt: skip


def test_use_is_told_with_the_users(lab: EngineLab) -> None:
    first = lab.create("true", HostConfig={"Binds": ["data:/d"]})
    second = lab.create("true", HostConfig={"Binds": ["data:/d:ro"]})
    status, text = refused(lab, "DELETE", "/volumes/data?force=1")
    assert status == 409
    assert text in (
        f"remove data: volume is in use - [{first}, {second}]",
        f"remove data: volume is in use - [{second}, {first}]",
    )
    assert listed(lab, dangling="false") == ["data"]
    assert listed(lab, dangling="true") == []
    usage = lab.json("GET", "/system/df?type=volume")["Volumes"]
    assert [item["UsageData"] for item in usage] == [{"RefCount": 2, "Size": 0}]


def test_a_driver_that_is_missing(lab: EngineLab) -> None:
    lab.call("POST", "/volumes/create", {"Name": "data"})
    told = 'error looking up volume plugin nope: plugin "nope" not found'
    for host_config in (
        {"VolumeDriver": "nope", "Binds": ["data:/x"]},
        {"VolumeDriver": "nope", "Binds": ["/x"]},
        {"Mounts": [{"Type": "volume", "Source": "data", "Target": "/x",
                     "VolumeOptions": {"DriverConfig": {"Name": "nope"}}}]},
    ):  # fmt: skip
        body = {"Image": "busybox", "HostConfig": host_config}
        status, text = refused(lab, "POST", "/containers/create", body)
        assert status == 404 and told in text
    assert listed(lab) == ["data"]


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        ({"Source": "d1", "BindOptions": {}}, "BindOptions must not be specified on mount type"),
        ({"VolumeOptions": {"Subpath": "x"}}, "must not set Subpath when using anonymous volumes"),
        ({"Source": "d1", "VolumeOptions": {"Subpath": "a/../../x"}}, "must be a relative path"),
        ({"Source": "d1", "VolumeOptions": {"Subpath": "/x"}}, "must be a relative path"),
        ({"Type": "tmpfs", "TmpfsOptions": {"Options": [["size", "1"]]}}, "invalid option: size"),
        ({"Type": "tmpfs", "VolumeOptions": {}}, "VolumeOptions must not be specified on mount"),
    ],
)
def test_mounts_that_contradict_themselves(
    lab: EngineLab, mount: dict[str, Any], text: str
) -> None:
    body = {
        "Image": "busybox",
        "HostConfig": {"Mounts": [{"Type": "volume", "Target": "/x", **mount}]},
    }
    status, told = refused(lab, "POST", "/containers/create", body)
    assert status == 400 and text in told
    assert listed(lab) == []


def test_created_at_once_by_many_containers(lab: EngineLab) -> None:
    def create(number: int) -> str:
        target = "/x" if number % 4 else "/x:bad"  # some of them fail
        try:
            return lab.create("true", HostConfig={"Binds": [f"shared:{target}"]})
        except ApiError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(16)))
    assert sum(map(bool, made)) == 12
    assert listed(lab) == ["shared"]


def test_a_tmpfs_volume_outlives_the_engine_with_its_containers(lab: EngineLab) -> None:
    options = {"type": "tmpfs", "device": "tmpfs"}
    lab.call("POST", "/volumes/create", {"Name": "quick", "DriverOpts": options})
    binds = {"Binds": ["quick:/q"]}
    first = lab.run("sh", "-c", "echo dear > /q/file; sleep 600", HostConfig=binds)
    second = lab.run("sleep", "600", HostConfig=binds)
    until(lambda: b"file" in lab.call("GET", f"/containers/{first}/archive?path=/q"), "written")
    lab.kill()
    lab.start()
    lab.call("POST", f"/containers/{first}/stop?t=0")
    third = lab.run("cat", "/q/file", HostConfig=binds)
    assert lab.wait(third) == 0
    assert lab.logs(third) == b"dear\n"
    lab.call("POST", f"/containers/{second}/stop?t=0")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{lab.exec_root}/volumes/quick" not in mounts
