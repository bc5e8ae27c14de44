"""The `network` words beside the unmodified docker CLI, and where they differ on purpose."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docker_cli import DOCKER, assert_same, cases

from naru.cli.csv_line import split_fields
from naru.cli.ipam import contains
from naru.cli.main import main
from naru.cli.natural import natural_key

CASES = cases(Path(__file__).with_name("network_cases.txt"))


def network(letter: str, name: str) -> dict[str, Any]:
    return {
        "Id": letter * 64, "Name": name, "Driver": "bridge", "Scope": "local",
        "Created": "2026-11-01T01:02:03.000400Z", "EnableIPv4": True, "EnableIPv6": False,
        "Internal": False, "Labels": {"a": "1"},
    }  # fmt: skip


@pytest.fixture
def networks(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOME", str(tmp_path))
    zeta, ten, nine = network("a", "zeta"), network("b", "alpha10"), network("c", "alpha9")
    gone = (404, {"message": "network gone not found"})
    engine.answers.update({
        "GET /networks": (200, [zeta, ten, nine]), "GET /networks/zeta": (200, zeta),
        "GET /networks/alpha9": (200, nine), "GET /networks/gone": gone,
        "GET /networks/empty": (200, {
            **zeta, "Labels": {"b": "2", "a": "1"}, "Options": None,
            "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "10.0.0.0/24"}]},
        }),
        "DELETE /networks/padded": (403, {"message": " told with blanks \n"}),
        "GET /networks/mesh": (200, {**zeta, "Ingress": True}),
        "DELETE /networks/zeta": (204, {}), "DELETE /networks/alpha9": (204, {}),
        "DELETE /networks/mesh": (204, {}), "DELETE /networks/gone": gone,
        "DELETE /networks/busy": (403, {"message": "busy has active endpoints"}),
        "POST /networks/prune": (200, {"NetworksDeleted": ["n1", "n2"]}),
        "POST /networks/zeta/connect": (200, {}), "POST /networks/zeta/disconnect": (200, {}),
        "POST /networks/create": (201, {"Id": "d" * 64, "Warning": ""}),
    })  # fmt: skip
    return engine


@pytest.mark.skipif(DOCKER is None, reason="no docker CLI here")
@pytest.mark.parametrize("words", CASES)
def test_network_words_are_dockers(
    words: str, networks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_same(words, networks, capsys)


OLD = [
    "network create --ipv6 foo", "network connect --gw-priority 5 zeta c",
    "create --network a --network b i", "create --network a --mac-address 02:42:ac:11:00:02 i",
    "create --network name=a,mac-address=02:42:ac:11:00:02 i", "run --mac-address 0242.ac11.0002 i",
]  # fmt: skip


@pytest.mark.skipif(DOCKER is None, reason="no docker CLI here")
@pytest.mark.parametrize("version", ["1.40", "1.43", "1.44"])
@pytest.mark.parametrize("words", OLD)
def test_older_engines_are_asked_as_docker_does(
    words: str,
    version: str,
    networks: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", version)
    assert_same(words, networks, capsys)


def test_what_an_older_engine_would_ignore(
    networks: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.43")
    assert main(["create", "--mac-address", "02:42:ac:11:00:02", "i"]) == 1
    assert capsys.readouterr().err == (
        '"specify mac-address per network" requires API version 1.44, but the Docker daemon API '
        "version is 1.43\n"
    )
    assert networks.requests == []
    assert main(["network", "create", "n"]) == 0
    assert networks.requests[-1][2]["CheckDuplicate"] is True


def test_an_interrupted_question_ends_its_line(engine: Any) -> None:
    """Ctrl-C before anything is removed."""
    script = "from naru.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "network", "prune"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    shown = b""
    while not shown.endswith(b"[y/N] "):
        shown += (byte := process.stdout.read(1))
        assert byte, shown
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest, errors) == (130, b"\n", b"")
    assert engine.requests == []


def test_a_network_with_everything(networks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "network create -d macvlan --attachable --internal --ipv6 --ipv4=false --ingress "
        "--scope local --config-only --config-from c --label a=b -o parent=eth0 "
        "--ipam-driver i --ipam-opt k=v --subnet 10.0.0.0/24,fd00::/64 --gateway fd00::1 "
        "--ip-range 10.0.0.128/25 --aux-address x=10.0.0.9 --aux-address y=fd00::9 net"
    )
    assert main(line.split()) == 0
    assert capsys.readouterr().out == "d" * 64 + "\n"
    assert networks.requests[-1][2] == {
        "Name": "net", "Driver": "macvlan", "Scope": "local", "Internal": True,
        "Attachable": True, "Ingress": True, "ConfigOnly": True, "ConfigFrom": {"Network": "c"},
        "Options": {"parent": "eth0"}, "Labels": {"a": "b"}, "EnableIPv4": False,
        "EnableIPv6": True,
        "IPAM": {
            "Driver": "i", "Options": {"k": "v"},
            "Config": [
                {"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.128/25",
                 "AuxiliaryAddresses": {"x": "10.0.0.9"}},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1",
                 "AuxiliaryAddresses": {"y": "fd00::9"}},
            ],
        },
    }  # fmt: skip


def test_the_engines_warning_is_shown(networks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    networks.answers["POST /networks/create"] = (201, {"Id": "x", "Warning": "careful\x1b"})
    assert main(["network", "create", "n"]) == 0
    assert capsys.readouterr() == ("x\n", "WARNING: careful\\x1b\n")


def test_control_characters_are_shown(networks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    networks.answers["GET /networks"] = (200, [network("a", "evil\x1b[2J")])
    networks.answers["DELETE /networks/evil%1B"] = (403, {"message": "no\x1b[2J"})
    assert main(["network", "ls"]) == 0
    assert main(["network", "rm", "evil\x1b"]) == 1
    printed = capsys.readouterr()
    assert "evil\\x1b[2J" in printed.out
    assert printed.err == "Error response from daemon: no\\x1b[2J\nexit status 1\n"


def test_the_routing_mesh_is_asked_about(
    networks: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter((False, True))
    monkeypatch.setattr("naru.cli.commands.network.confirmed", lambda text: next(answers))
    assert main(["network", "rm", "mesh", "zeta", "mesh"]) == 0
    assert capsys.readouterr().out == "zeta\nmesh\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("network conect", "naru: unknown command: naru network conect\n\n"
         "Did you mean 'naru network connect'?\n"),
        ("netwrok", "naru: unknown command: naru netwrok\n\nDid you mean 'naru network'?\n"),
    ],
)  # fmt: skip
def test_typing_errors(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 1
    assert capsys.readouterr().err.startswith(text)


def test_case_of_an_endpoints_options_is_kept(engine: Any) -> None:
    """Docker's CLI makes the long form's options lower case, `network connect` does not."""
    main(["create", "--network", "name=n,driver-opt=a.IFNAME=B", "i"])
    endpoints = engine.requests[-1][2]["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints["n"]["DriverOpts"] == {"a.IFNAME": "B"}


@pytest.mark.parametrize("words", ["rm ../x", "inspect ../x", "connect ../x c"])
def test_an_engine_that_sends_us_elsewhere(
    words: str, networks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/connect")):
        networks.answers[f"{method} /networks/..%2Fx{rest}"] = (301, b"")
    assert main(["network", *words.split()]) == 1
    assert "Error response from daemon: unexpected redirect" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["-p 80:80/tcp/udp", "--expose 80/foo", "--expose 80-90-95"])
def test_ports_that_are_none(flag: str, engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", *flag.split(), "i"]) == 125
    assert engine.requests == []
    assert capsys.readouterr().err.startswith("naru: invalid ")


@pytest.mark.parametrize(
    ("subnet", "other", "inside"),
    [
        ("10.0.0.0/24", "10.0.0.255", True), ("10.0.0.0/24", "10.0.1.0", False),
        ("10.0.0.9/24", "10.0.0.1/8", True), ("fd00::/64", "fd00::1", True),
        ("fd00::/64", "10.0.0.1", False), ("0.0.0.0/0", "::1", False),
        ("::ffff:10.0.0.0/120", "10.0.0.9", True), ("10.0.0.0/24", "banana", False),
        ("fe80::/64", "fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_containment(subnet: str, other: str, inside: bool) -> None:
    assert contains(subnet, other) is inside


@pytest.mark.parametrize(
    ("subnet", "other", "text"),
    [
        ("banana", "1.1.1.1", "invalid subnet: invalid CIDR address: banana"),
        ("10.0.0.0", "1.1.1.1", "invalid subnet: invalid CIDR address: 10.0.0.0"),
        ("10.0.0.0/8.0", "1.1.1.1", "invalid subnet: invalid CIDR address: 10.0.0.0/8.0"),
        ("10.0.0.0/24", "10.0.0.1/33", "invalid CIDR address: 10.0.0.1/33"),
    ],
)  # fmt: skip
def test_containment_of_what_is_no_subnet(subnet: str, other: str, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        contains(subnet, other)
    assert str(caught.value) == text


def test_natural_order() -> None:
    names = ["a10", "a9", "b", "a", "A", "a09", "a9b", "1", "10", "9"]
    assert sorted(names, key=natural_key) == [
        "1", "9", "10", "A", "a", "a9", "a9b", "a09", "a10", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", [""]), ("a,b", ["a", "b"]), ('"a,b",c', ["a,b", "c"]), ('"a""b"', ['a"b']),
        ('a,""', ["a", ""]), ("a,", ["a", ""]), ("\na\nb", ["a"]), ('"a\nb"', ["a\nb"]),
    ],
)  # fmt: skip
def test_fields(text: str, fields: list[str]) -> None:
    assert split_fields(text) == fields


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a"b', 'parse error on line 1, column 2: bare " in non-quoted-field'),
        ('"a', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('x,"a"b', 'parse error on line 1, column 5: extraneous or missing " in quoted-field'),
        ('"a\nb"c', "record on line 1; parse error on line 2, column 2: extraneous or missing \" "
         "in quoted-field"),
        ("\n", "EOF"),
    ],
)  # fmt: skip
def test_fields_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_fields(text)
    assert str(caught.value) == why
