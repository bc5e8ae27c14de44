"""Bad input about networks, as raw bodies: a clear 400, 403, 404 or 409, and nothing left."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from engine_lab import ApiError, EngineLab, engine_lab

pytestmark = pytest.mark.root

SUBNET = {"Subnet": "10.232.1.0/24", "Gateway": "10.232.1.1"}


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(16) as engine:
        engine.start()
        engine.make_busybox()
        engine.call("POST", "/networks/create", named("taken", SUBNET))
        yield engine


def named(name: str, *configs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"Name": name, "IPAM": {"Config": list(configs)}, **fields}


def traces(lab: EngineLab) -> set[str]:
    """Networks, containers, links and the engine's elements in the firewall."""
    found = {f"network {item['Name']}" for item in lab.json("GET", "/networks")}
    found |= {f"container {item['Names']}" for item in lab.json("GET", "/containers/json?all=1")}
    prefix = lab.bridge().replace("naru-", "naru_")
    table = subprocess.run(
        ["nft", "-j", "list", "table", "inet", prefix], capture_output=True, check=True
    )
    for entry in json.loads(table.stdout)["nftables"]:
        item = entry.get("map") or entry.get("set") or {}
        found |= {f"{item['name']} {one}" for one in item.get("elem", ())}
    networks = {item["Id"][:6] for item in lab.json("GET", "/networks")}
    found |= {
        f"bridge {path.name}"
        for path in Path("/sys/class/net").glob("narub*")
        if path.name[-6:] in networks
    }
    return found


def refused(lab: EngineLab, method: str, url: str, body: Any = None, raw: bytes = b"") -> ApiError:
    before = traces(lab)
    with pytest.raises(ApiError) as caught:
        lab.call(method, url, body, raw or None)
    assert caught.value.status in (400, 403, 404, 409), caught.value
    assert traces(lab) == before
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["..", "../../etc", "a/b", "a\0b", "a\nb", "-a", ".a", "а", "ｂridge", "é", "n" * 300, " ",
     "a b ", "taken\u200b", "$(id)", "'", "%2e%2e"],
)  # fmt: skip
def test_names(lab: EngineLab, name: str) -> None:
    assert refused(lab, "POST", "/networks/create", named(name)).status == 400
    refused(lab, "GET", f"/networks/{quote(name, safe='')}")
    refused(lab, "DELETE", f"/networks/{quote(name, safe='')}")


@pytest.mark.parametrize("name", ["bridge", "host", "none", "default"])
def test_names_of_the_engine(lab: EngineLab, name: str) -> None:
    said = refused(lab, "POST", "/networks/create", named(name))
    assert (said.status, name in said.message) == (403, True)


def test_a_name_that_is_taken(lab: EngineLab) -> None:
    said = refused(lab, "POST", "/networks/create", named("taken", {"Subnet": "10.232.9.0/24"}))
    assert (said.status, said.message) == (409, "network with name taken already exists")


@pytest.mark.parametrize(
    ("config", "status", "text"),
    [
        (SUBNET, 403, "10.232.1.0/24 is network taken's"),
        ({"Subnet": "10.232.0.0/16"}, 403, "Pool overlaps"),
        ({"Subnet": "10.232.1.128/25"}, 403, "Pool overlaps"),
        ({"Subnet": "127.0.0.0/8"}, 400, "addresses that no host can have"),
        ({"Subnet": "0.0.0.0/0"}, 400, "addresses that no host can have"),
        ({"Subnet": "224.0.0.0/8"}, 400, "addresses that no host can have"),
        ({"Subnet": "10.232.2.0/31"}, 400, "no room"),
        ({"Subnet": "10.232.2.0/99"}, 400, "CIDR"),
        ({"Subnet": "10.232.2.0/-1"}, 400, "CIDR"),
        ({"Subnet": "10.232.2.0/24; drop"}, 400, "CIDR"),
        ({"Subnet": "١٠.1.1.0/24"}, 400, "CIDR"),
        ({"Subnet": "10.232.2.7/24"}, 400, "it should be 10.232.2.0/24"),
        ({"Subnet": "10.232.2.0/24", "Gateway": "10.232.3.1"}, 400, "doesn't contain"),
        ({"Subnet": "10.232.2.0/24", "Gateway": "10.232.2.255"}, 400, "no host's address"),
        (
            {
                "Subnet": "10.232.2.0/24",
                "Gateway": "10.232.2.5",
                "AuxiliaryAddresses": {"r": "10.232.2.5"},
            },
            403,
            "secondary ip address (r:10.232.2.5): Address already in use",
        ),
        ({"Subnet": "10.232.2.0/24", "AuxiliaryAddresses": {"r": "10.232.3.5"}}, 400, "doesn't"),
        ({"Gateway": "10.232.2.1"}, 400, "CIDR"),
    ],
)
def test_subnets(lab: EngineLab, config: dict[str, Any], status: int, text: str) -> None:
    fields = {"EnableIPv6": ":" in config.get("Subnet", "")}
    said = refused(lab, "POST", "/networks/create", named("bad", config, **fields))
    assert said.status == status, said
    assert text in said.message


def test_a_subnet_of_this_host(lab: EngineLab) -> None:
    """The default bridge of the engine itself stands for any link of the host."""
    subnet = lab.json("GET", "/networks/bridge")["IPAM"]["Config"][0]["Subnet"]
    said = refused(lab, "POST", "/networks/create", named("bad", {"Subnet": subnet}))
    assert said.status == 403


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ("10.232.1.1", 403, "Address already in use"),
        ("10.232.1.0", 403, "Address already in use"),
        ("10.232.1.255", 403, "Address already in use"),
        ("10.232.9.9", 400, "no configured subnet or ip-range contain the IP address 10.232.9.9"),
        ("x", 400, "invalid IPv4 address: x"),
        ("fd00::1", 400, "invalid IPv4 address: fd00::1"),
    ],
)
def test_addresses(lab: EngineLab, asked: str, status: int, text: str) -> None:
    container = lab.run("sleep", "600", StopSignal="SIGKILL")
    try:
        body = {
            "Container": container,
            "EndpointConfig": {"IPAMConfig": {"IPv4Address": asked}},
        }
        said = refused(lab, "POST", "/networks/taken/connect", body)
        assert said.status == status, said
        assert text in said.message
        assert list(lab.inspect(container)["NetworkSettings"]["Networks"]) == ["bridge"]
    finally:
        lab.call("DELETE", f"/containers/{container}?force=1")


@pytest.mark.parametrize(
    ("port", "host_port"),
    [
        ("0/tcp", "80"), ("65536/tcp", "80"), ("-1/tcp", "80"), ("90-80/tcp", "80"),
        ("80/icmp", "80"), ("80/tcp", "65536"), ("80/tcp", "-1"), ("80/tcp", "90-80"),
        ("80/tcp", "0-5"), ("80/tcp", "8o"), ("80/tcp", "80-80-80"), ("1-60000/tcp", "1-60000"),
    ],
)  # fmt: skip
def test_ports(lab: EngineLab, port: str, host_port: str) -> None:
    body = {
        "Image": "busybox",
        "HostConfig": {
            "NetworkMode": "taken",
            "PortBindings": {port: [{"HostPort": host_port}]},
        },
    }
    assert refused(lab, "POST", "/containers/create?name=bad", body).status == 400


@pytest.mark.parametrize(
    "body",
    [
        {"Container": ""},
        {"Container": "nosuch"},
        {"Container": "../x"},
        {"Container": "x", "EndpointConfig": {"DriverOpts": {"a": "b"}}},
    ],
)
def test_connecting_what_is_not_there(lab: EngineLab, body: dict[str, Any]) -> None:
    refused(lab, "POST", "/networks/taken/connect", body)
    refused(lab, "POST", "/networks/taken/disconnect", body)
    refused(lab, "POST", "/networks/nosuch/connect", body)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b'"x"', b'{"Name": 7}', b'{"Name": "x", "IPAM": []}', b'{"Name": "x\xff"}',
     b'{"Name": "x", "Options": {"a": 1}}', b'{"Name":"x","IPAM":{"Config":[{"Subnet":7}]}}'],
)  # fmt: skip
def test_bodies(lab: EngineLab, raw: bytes) -> None:
    assert refused(lab, "POST", "/networks/create", raw=raw).status == 400


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"com.docker.network.bridge.name": "../x"}, 400),
        ({"com.docker.network.bridge.name": "lo"}, 403),
        ({"com.docker.network.bridge.name": 'a"b'}, 400),
        ({"com.docker.network.driver.mtu": "99999999999999999999"}, 400),
        ({"com.docker.network.driver.mtu": "1"}, 400),
        ({"com.docker.network.container_iface_prefix": "a/b"}, 400),
    ],
)
def test_options(lab: EngineLab, options: dict[str, str], status: int) -> None:
    said = refused(lab, "POST", "/networks/create", {"Name": "bad", "Options": options})
    assert said.status == status, said


@pytest.mark.parametrize(
    "label", ["x", "80/tcp=", "80/tcp=10.0.0.1/8", "99999=10.0.0.0/8", "80=a;drop"]
)
def test_sources(lab: EngineLab, label: str) -> None:
    body = {"Image": "busybox", "Labels": {"io.naru.publish.sources": label}}
    assert refused(lab, "POST", "/containers/create?name=bad", body).status == 400
