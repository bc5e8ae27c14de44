"""`--link` on the default bridge: names, variables and hosts, while the linked ones change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from engine_traffic import execute

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(29) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def no_containers(lab: EngineLab) -> Iterator[None]:
    yield
    lab.remove_all()
    until(lambda: not lab.leftovers(), f"nothing is left: {lab.leftovers()}")


@pytest.fixture
def db(lab: EngineLab) -> str:
    exposed = {f"{port}/tcp": {} for port in (80, 81)}
    return lab.run("sleep", "600", name="db", ExposedPorts=exposed, Env=["FOO=a b"])


@pytest.fixture
def web(lab: EngineLab, db: str) -> str:
    return lab.run("sleep", "600", name="web", HostConfig={"Links": ["db:store", "db"]})


def names(lab: EngineLab, container: str) -> list[str]:
    listed = lab.json("GET", "/containers/json?all=1")
    return next(item["Names"] for item in listed if item["Id"] == container)


def address(lab: EngineLab, container: str) -> str:
    return str(lab.inspect(container)["NetworkSettings"]["IPAddress"])


def hosts(lab: EngineLab, container: str) -> dict[str, str]:
    """First name of each line → its address."""
    code, text = execute(lab, container, "cat", "/etc/hosts")
    assert code == 0
    return {words[1]: words[0] for line in text.decode().splitlines() if (words := line.split())}


def test_names_follow_both_containers(lab: EngineLab, db: str, web: str) -> None:
    assert names(lab, db) == ["/db", "/web/db", "/web/store"]
    assert names(lab, web) == ["/web"]
    assert lab.inspect(web)["HostConfig"]["Links"] == ["/db:/web/store", "/db:/web/db"]
    lab.call("POST", f"/containers/{db}/rename?name=db2")
    assert lab.inspect(web)["HostConfig"]["Links"] == ["/db2:/web/store", "/db2:/web/db"]
    lab.call("POST", f"/containers/{web}/rename?name=web2")
    assert names(lab, db) == ["/db2", "/web2/db", "/web2/store"]
    lab.kill()
    lab.start()
    assert names(lab, db) == ["/db2", "/web2/db", "/web2/store"]
    lab.call("POST", f"/containers/{web}/restart?t=0")
    assert hosts(lab, web)["store"] == address(lab, db)
    lab.call("DELETE", f"/containers/{web}?force=1")
    assert names(lab, db) == ["/db2"]


def test_a_link_is_a_name_of_the_linked_one(lab: EngineLab, db: str, web: str) -> None:
    assert lab.inspect("web/store")["Id"] == db
    lab.call("POST", "/containers/web/store/stop?t=0")
    assert lab.status(db) == "exited"
    lab.call("POST", "/containers/web/store/start")
    assert execute(lab, "web/store", "echo", "hi") == (0, b"hi\n")
    for unknown in ("web/nothing", "nobody/store"):
        with pytest.raises(ApiError, match=f"No such container: {unknown}"):
            lab.inspect(unknown)


def test_variables_are_in_every_process(lab: EngineLab, db: str, web: str) -> None:
    told = f"tcp://{address(lab, db)}"
    environ = Path(f"/proc/{lab.inspect(web)['State']['Pid']}/environ")
    text = until(lambda: (read := environ.read_text()) and "HOME=" in read and read, "it executes")
    first = set(text.split("\0"))
    second = set(execute(lab, web, "env")[1].decode().splitlines())
    for found in (first, second):
        assert {
            "STORE_NAME=/web/store",
            f"STORE_PORT={told}:80",
            f"STORE_PORT_81_TCP={told}:81",
            f"STORE_PORT_80_TCP_END={told}:81",
            "STORE_ENV_FOO=a b",
            "DB_NAME=/web/db",
        } <= found


def test_hosts_follow_a_changed_address(lab: EngineLab, db: str, web: str) -> None:
    """In place: the file is mounted, and what the container wrote into it stays."""
    before = address(lab, db)
    assert execute(lab, web, "sh", "-c", "echo 192.0.2.1 own >> /etc/hosts")[0] == 0
    lab.call("POST", f"/containers/{db}/stop?t=0")
    lab.run("sleep", "600")  # whichever comes next, it is another's
    assert execute(lab, web, "true")[0] == 0
    lab.call("POST", f"/containers/{db}/start")
    after = address(lab, db)
    assert after != before
    found = hosts(lab, web)
    assert (found["store"], found["db"], found["own"]) == (after, after, "192.0.2.1")


def test_a_link_that_is_removed_is_forgotten(lab: EngineLab, db: str, web: str) -> None:
    lab.call("DELETE", "/containers/web/store?link=1")
    assert names(lab, db) == ["/db", "/web/db"]
    assert lab.inspect(web)["HostConfig"]["Links"] == ["/db:/web/db"]
    assert "store" not in hosts(lab, web)
    assert "db" in hosts(lab, web)
    with pytest.raises(ApiError, match="No such container: web/store"):
        lab.call("DELETE", "/containers/web/store?link=1")
    with pytest.raises(ApiError, match="cannot remove the default link name"):
        lab.call("DELETE", "/containers/web?link=1")
    lab.call("POST", f"/containers/{web}/restart?t=0")
    assert "STORE_NAME" not in execute(lab, web, "env")[1].decode()


def test_a_link_leads_to_one_container(lab: EngineLab, db: str, web: str) -> None:
    """Another one that takes its name is not it."""
    lab.call("DELETE", f"/containers/{db}?force=1")
    lab.run("sleep", "600", name="db")
    lab.call("POST", f"/containers/{web}/stop?t=0")
    with pytest.raises(ApiError, match="Cannot link to a non running container: /db AS /web/store"):
        lab.call("POST", f"/containers/{web}/start")
