"""A container's network sandbox outlives its own run for those who live in it."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

SERVE = "mkdir -p /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w"


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(57) as made:
        made.start()
        made.make_busybox()
        yield made


def fetch(lab: EngineLab) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def serves(lab: EngineLab) -> bool:
    try:
        return fetch(lab) == "served"
    except OSError:
        return False


@pytest.fixture
def pair(lab: EngineLab) -> Iterator[tuple[str, str]]:
    """`owner`, whose port is published, and `guest`, which serves in its sandbox."""
    lab.json("POST", "/networks/create", {"Name": "shared"})
    host: dict[str, Any] = {
        "NetworkMode": "shared",
        "PortBindings": {"80/tcp": [{"HostPort": str(lab.port)}]},
    }
    owner = lab.run("sleep", "1000", name="owner", HostConfig=host)
    guest = lab.run(
        "sh", "-c", SERVE, name="guest", HostConfig={"NetworkMode": f"container:{owner}"}
    )
    until(lambda: serves(lab), "the guest serves")
    try:
        yield owner, guest
    finally:
        lab.remove_all()
        lab.call("DELETE", "/networks/shared")
        until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def address(lab: EngineLab, container: str) -> str:
    return str(lab.inspect(container)["NetworkSettings"]["Networks"]["shared"]["IPAddress"])


def test_a_guest_serves_on_while_its_host_restarts(lab: EngineLab, pair: tuple[str, str]) -> None:
    owner, _ = pair
    before = address(lab, owner)
    lab.call("POST", f"/containers/{owner}/restart?t=0")
    assert fetch(lab) == "served"
    assert address(lab, owner) == before
    lab.call("POST", f"/containers/{owner}/stop?t=0")
    assert fetch(lab) == "served"
    shown = lab.inspect(owner)["NetworkSettings"]
    assert (shown["Ports"], shown["SandboxKey"]) == ({}, "")
    assert list(lab.json("GET", "/networks/shared")["Containers"]) == [owner]


def test_a_killed_engine_finds_the_sandbox_of_a_stopped_container(
    lab: EngineLab, pair: tuple[str, str]
) -> None:
    owner, _ = pair
    before = address(lab, owner)
    lab.call("POST", f"/containers/{owner}/stop?t=0")
    lab.kill()
    assert fetch(lab) == "served"
    lab.start()
    assert fetch(lab) == "served"
    with pytest.raises(ApiError, match="active endpoints"):
        lab.call("DELETE", "/networks/shared")
    lab.call("POST", f"/containers/{owner}/start")
    assert fetch(lab) == "served"
    assert address(lab, owner) == before


def test_the_sandbox_goes_with_the_last_guest(lab: EngineLab, pair: tuple[str, str]) -> None:
    owner, guest = pair
    lab.call("POST", f"/containers/{owner}/stop?t=0")
    lab.call("DELETE", f"/containers/{guest}?force=1")
    assert not serves(lab)
    assert lab.json("GET", "/networks/shared")["Containers"] == {}
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


def test_a_removed_host_takes_its_sandbox_along(lab: EngineLab, pair: tuple[str, str]) -> None:
    owner, guest = pair
    lab.call("DELETE", f"/containers/{owner}?force=1")
    assert lab.json("GET", "/networks/shared")["Containers"] == {}
    assert not serves(lab)
    assert lab.status(guest) == "running"
    assert json.loads(lab.call("GET", f"/containers/{guest}/json"))["State"]["Running"]
