"""Removal while narud dies, and while somebody still looks."""

import contextlib
from collections.abc import Iterator

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import connect

pytestmark = pytest.mark.root

STEPS = (
    "remove.marked",
    "remove.cleared",
    "remove.snapshot-gone",
    "remove.files-gone",
    "volumes.moved-aside",
    "volumes.record-removed",
    "remove.record-gone",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(28) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def nothing_is_left(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def volumes(lab: EngineLab) -> list[str]:
    return [item["Name"] for item in lab.json("GET", "/volumes")["Volumes"] or ()]


@pytest.mark.parametrize("point", STEPS)
def test_anonymous_volumes_go_though_narud_is_killed(lab: EngineLab, point: str) -> None:
    """What was begun with `v=1` is finished with it."""
    container = lab.create("true", HostConfig={"Binds": ["/one", "/two"]})
    assert len(volumes(lab)) == 2
    assert lab.stop() == 0
    lab.start({"NARU_FAILPOINTS": f"{point}=kill"})
    with pytest.raises(ConnectionError):
        lab.call("DELETE", f"/containers/{container}?v=1")
    assert lab.process is not None
    lab.process.wait(30)
    lab.start()
    with contextlib.suppress(ApiError):
        lab.call("DELETE", f"/containers/{container}?v=1")
    assert lab.json("GET", "/containers/json?all=1") == []
    assert volumes(lab) == []


def test_a_reader_does_not_keep_an_anonymous_volume(lab: EngineLab) -> None:
    """`cp` out of a container that is removed with its volumes meanwhile."""
    container = lab.run(
        "sh", "-c", "dd if=/dev/zero of=/data/big bs=1M count=8; exec sleep 600",
        HostConfig={"Binds": ["/data"]},
    )  # fmt: skip
    until(lambda: b"8+0 records out" in lab.logs(container), "the file is there")
    with connect(lab) as reader:
        words = f"GET /containers/{container}/archive?path=/data/big HTTP/1.1\r\nHost: d\r\n\r\n"
        reader.sendall(words.encode())
        assert reader.recv(16).startswith(b"HTTP/1.1 200")
        lab.call("DELETE", f"/containers/{container}?force=1&v=1")
        assert volumes(lab) == []
