"""`naru network ports` from canned answers, and `--publish-source`."""

import json
from typing import Any

import pytest

from naru.cli.main import main
from naru.cli.publish_source import LABEL, sources_label

ID = "e4496d5f9bd5678cf7e4b57cd1223ccc741534cc751cb4f44be72ac3cf2f1f86"
WEB = {
    "Container": "web", "ContainerID": ID, "Network": "front", "Proto": "tcp",
    "HostIP": "0.0.0.0", "HostPort": 8080, "ContainerPort": 80, "TargetIP": "172.20.0.2",
    "Sources": [], "HostFirewall": "bypassed", "Reach": "everyone",
    "Rule": "inet naru published { 0.0.0.0 . tcp . 8080 : 172.20.0.2 . 80 }",
}  # fmt: skip
WEB6 = {**WEB, "HostIP": "::", "TargetIP": "fd00::2", "Rule": "inet naru published6 {}"}
DNS = {
    **WEB, "Container": "dns\x1b[2J", "ContainerID": "f" * 64, "Network": "back", "Proto": "udp",
    "HostPort": 53, "ContainerPort": 53, "HostFirewall": "honoured",
    "Sources": ["10.0.0.0/8", "192.168.1.0/24"], "Reach": "sources 10.0.0.0/8, 192.168.1.0/24",
}  # fmt: skip
ROUTED = {**WEB, "Container": "far", "ContainerID": "a" * 64, "HostPort": 0, "Network": "back"}


@pytest.fixture
def audited(engine: Any) -> Any:
    engine.answers["GET /networks/naru/ports"] = (200, [DNS, ROUTED, WEB, WEB6])
    return engine


def test_the_table(audited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "ports", "-f", "container=web", "-f", "container=ffff"]) == 0
    rule, dots = WEB["Rule"], " " * 3
    assert capsys.readouterr().out == (
        "CONTAINER    NETWORK   PUBLISHED              REACH                                "
        "HOST FIREWALL   RULE\n"
        "dns\\x1b[2J   back      0.0.0.0:53->53/udp     sources 10.0.0.0/8, 192.168.1.0/24   "
        f"honoured        {rule}\n"
        f"web          front     0.0.0.0:8080->80/tcp{dots}everyone                             "
        f"bypassed        {rule}\n"
        f"web          front     [::]:8080->80/tcp      everyone                             "
        "bypassed        inet naru published6 {}\n"
    )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", "53 0 8080 8080"), ("-f container=web", "8080 8080"), ("-f container=we", ""),
        (f"-f container={ID[:12]}", "8080 8080"), (f"--filter container={ID}", "8080 8080"),
        ("-f network=back", "53 0"), ("-f network=back -f network=front", "53 0 8080 8080"),
        ("-f network=back -f container=web", ""), ("-f port=53", "53"), ("-f port=53/tcp", ""),
        ("-f port=53/udp -f port=8080", "53 8080 8080"), ("-f container=", ""),
    ],
)  # fmt: skip
def test_filters(words: str, found: str, audited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "ports", "--format", "{{.HostPort}}", *words.split()]) == 0
    assert capsys.readouterr().out.split() == found.split()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("name=x", "invalid filter 'name': it is one of container, network, port\n"),
        ("port=x", "invalid filter 'port=x': it is PORT or PORT/PROTOCOL\n"),
        ("port=80/", "invalid filter 'port=80/': it is PORT or PORT/PROTOCOL\n"),
    ],
)
def test_filters_that_are_none(
    words: str, text: str, audited: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["network", "ports", "-f", words]) == 1
    assert capsys.readouterr() == ("", text)
    assert audited.requests == []


def test_quiet_shows_where_to_connect(audited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "ports", "-q"]) == 0
    assert capsys.readouterr().out == (
        "0.0.0.0:53/udp\n172.20.0.2:80/tcp\n0.0.0.0:8080/tcp\n[::]:8080/tcp\n"
    )


def test_formats(audited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "ports", "-f", "port=8080", "--format", "json"]) == 0
    line, _ = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "Container": "web", "ContainerID": ID[:12], "ContainerPort": "80",
        "HostFirewall": "bypassed", "HostIP": "0.0.0.0", "HostPort": "8080", "Network": "front",
        "Proto": "tcp", "Published": "0.0.0.0:8080->80/tcp", "Reach": "everyone",
        "Rule": WEB["Rule"], "Sources": "", "TargetIP": "172.20.0.2",
    }  # fmt: skip
    form = "table {{.ContainerID}}\t{{.Sources}}\t{{.TargetIP}}"
    assert main(["network", "ports", "--no-trunc", "-f", "port=53", "--format", form]) == 0
    assert capsys.readouterr().out == (
        f"{'CONTAINER ID':67}SOURCES                     TARGET IP\n"
        f"{'f' * 64}   10.0.0.0/8,192.168.1.0/24   172.20.0.2\n"
    )


def test_nothing_is_published(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["GET /networks/naru/ports"] = (200, [])
    assert main(["network", "ports"]) == 0
    assert capsys.readouterr().out.split() == [
        "CONTAINER", "NETWORK", "PUBLISHED", "REACH", "HOST", "FIREWALL", "RULE",
    ]  # fmt: skip


def test_an_engine_without_the_audit(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["GET /networks/naru/ports"] = (404, {"message": "page not found"})
    assert main(["network", "ports"]) == 1
    assert capsys.readouterr().err == (
        f"the engine at {engine.host} has no audit of published ports: it is not Naru's, or an "
        "older one\n"
    )


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("-p 8080:80 --publish-source 8080=10.0.0.0/8,192.168.1.0/24",
         "8080/tcp=10.0.0.0/8,192.168.1.0/24"),
        ("-p 80:80 --publish-source 10.0.0.0/8", "*=10.0.0.0/8"),
        ("-P --publish-source 10.1.2.3", "*=10.1.2.3/32"),
        ("-p 53:53/udp -p 80:80 --publish-source 53/UDP=fd00::/8 --publish-source *=::1",
         "53/udp=fd00::/8;*=::1/128"),
        ("-p 80:80 --publish-source 80=1.0.0.0/8 --publish-source 80/tcp=2.0.0.0/8,1.0.0.0/8",
         "80/tcp=1.0.0.0/8,2.0.0.0/8"),
        ("-p 8000-8010:80 --publish-source 8005=10.0.0.0/8", "8005/tcp=10.0.0.0/8"),
        ("-p 80-82:80-82 --publish-source 81=10.0.0.0/8", "81/tcp=10.0.0.0/8"),
    ],
)  # fmt: skip
def test_sources_become_the_label(words: str, value: str, audited: Any) -> None:
    audited.answers["POST /containers/create"] = (201, {"Id": "abc", "Warnings": []})
    assert main(["create", "--label", "a=b", *words.split(), "i"]) == 0
    assert audited.requests[-1][2]["Labels"] == {"a": "b", LABEL: value}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-p 80:80 --publish-source 80=", "no network is named: it is"),
        ("-p 80:80 --publish-source 10.0.0.1/8",
         "invalid CIDR address: 10.0.0.1/8: the network it lies in is 10.0.0.0/8"),
        ("-p 80:80 --publish-source banana", "invalid CIDR address: banana"),
        ("-p 80:80 --publish-source 80=10.0.0.0/8,", "no network is named"),
        ("-p 80:80 --publish-source 80=10.0.0.0/8,,::/0", "no network is named"),
        ("-p 80:80 --publish-source 10.0.0.0/33", "invalid CIDR address: 10.0.0.0/33"),
        ("-p 80:80 --publish-source 0=10.0.0.0/8", "0 is no port of the host"),
        ("-p 80:80 --publish-source 65536=10.0.0.0/8", "65536 is no port of the host"),
        ("-p 80:80 --publish-source =10.0.0.0/8", " is no port of the host"),
        ("-p 80:80 --publish-source 80/foo=10.0.0.0/8", "invalid proto: foo"),
        ("-p 80:80 --publish-source 80/=10.0.0.0/8", "invalid proto: "),
        ("-p 8080:80 --publish-source 80=10.0.0.0/8",
         "port 80/tcp of the host is not published, see --publish 80:PORT/tcp"),
        ("-p 80:80 --publish-source 80/udp=10.0.0.0/8", "port 80/udp of the host is not"),
        ("-p 80 --publish-source 80=10.0.0.0/8", "port 80/tcp of the host is not published"),
        ("--publish-source 10.0.0.0/8", "no port is published"),
        (f"-p 80:80 --label {LABEL}=x --publish-source 10.0.0.0/8",
         "cannot specify both --publish-source and the label"),
    ],
)  # fmt: skip
def test_sources_that_are_none(
    words: str, text: str, audited: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", *words.split(), "i"]) == 125
    assert text in capsys.readouterr().err
    assert audited.requests == []


@pytest.mark.parametrize("word", ["create", "run"])
def test_sources_need_an_engine_that_reads_them(
    word: str, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.answers["GET /networks/naru/ports"] = (404, {"message": "page not found"})
    assert main([word, "-p", "80:80", "--publish-source", "10.0.0.0/8", "i"]) == 125
    assert "it would leave the ports open to everyone" in capsys.readouterr().err
    assert [request[0] for request in engine.requests] == ["GET"]


def test_a_label_for_every_port_and_none() -> None:
    assert sources_label([("*", ("10.0.0.0/8",))], {}, every_port=True) == "*=10.0.0.0/8"
