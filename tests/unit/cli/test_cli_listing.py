"""Listings from canned answers: the same lines that docker's CLI prints for them."""

import time

import pytest

from naru.cli.main import main
from naru.cli.nouns_container import show_ports

NOW = 1_795_000_000
WEB = {
    "Id": "e4496d5f9bd5678cf7e4b57cd1223ccc741534cc751cb4f44be72ac3cf2f1f86",
    "Names": ["/web", "/other/web"], "Image": "nginx@sha256:" + "0" * 64, "ImageID": "sha256:1",
    "Command": "sh -c 'echo hello world'", "Created": NOW - 7300,
    "Ports": [
        {"PrivatePort": 7000, "Type": "tcp"}, {"PrivatePort": 7001, "Type": "tcp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ],
    "Labels": {"b": "2", "a": "1"}, "State": "running", "Status": "Up 2 hours",
    "Mounts": [
        {"Type": "volume", "Name": "a-name-that-is-too-long", "Driver": "local"},
        {"Type": "bind", "Source": "/tmp"},
    ],
    "NetworkSettings": {"Networks": {"b": {}, "a": {}}}, "SizeRw": 2048, "SizeRootFs": 1984174,
}  # fmt: skip


@pytest.fixture(autouse=True)
def frozen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (
            "ps",
            "CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       "
            "PORTS                                                    NAMES\n"
            "e4496d5f9bd5   nginx     \"sh -c 'echo hello w…\"   2 hours ago   Up 2 hours   "
            "7000-7001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp   web\n",
        ),
        ("ps -q", "e4496d5f9bd5\n"),
        ("ps -q --no-trunc", WEB["Id"] + "\n"),
        ("container ls --format {{.Names}}|{{.Size}}", "web|2.05kB (virtual 1.98MB)\n"),
        ("ps --no-trunc --format {{.Names}}|{{.Mounts}}",
         "web,other/web|a-name-that-is-too-long,/tmp\n"),
        ("ps --format {{.Labels}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}",
         "a=1,b=2|a-name-that-is…,/tmp|1|a,b\n"),
        ('ps --format {{.Label|printf}}', None),
        ("ps --format table{{.ID}}\\t{{.RunningFor}}",
         "CONTAINER ID   CREATED\ne4496d5f9bd5   2 hours ago\n"),
    ],
)  # fmt: skip
def test_ps(
    words: str, printed: str | None, engine: object, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.answers["GET /containers/json"] = (200, [WEB])
    code = main(words.split(" "))
    assert (code == 0) == (printed is not None)
    if printed is not None:
        assert capsys.readouterr().out == printed


def test_ps_as_json(engine: object, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["GET /containers/json"] = (200, [WEB])
    assert main(["ps", "--format", "json"]) == 0
    line = capsys.readouterr().out
    assert line.startswith('{"Command":"\\"sh -c \'echo hello w…\\"","CreatedAt":"')
    assert '"Platform":null,"Ports":"7000-7001/tcp, 0.0.0.0:8080-\\u003e80/tcp' in line


def test_what_is_asked_for(engine: object) -> None:
    engine.answers["GET /containers/json"] = (200, [])
    main(["ps", "-as", "-f", "name=x", "-f", "name=y", "-f", "status=running", "-n", "3"])
    method, target, _ = engine.requests[0]
    assert (method, target) == (
        "GET",
        "/v1.51/containers/json?all=1&limit=3&size=1&filters=%7B%22name%22%3A%7B%22x%22%3Atrue"
        "%2C%22y%22%3Atrue%7D%2C%22status%22%3A%7B%22running%22%3Atrue%7D%7D",
    )


def test_the_users_own_format(engine: object, tmp_path: object, capsys: object) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.json").write_text('{"psFormat": "{{.Names}}!"}')
    engine.answers["GET /containers/json"] = (200, [WEB])
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == "web!\n"


def test_ports_of_the_same_number_are_joined() -> None:
    same = [
        {"IP": "1.1.1.1", "PrivatePort": port, "PublicPort": port, "Type": "udp"}
        for port in (5, 6, 7, 9)
    ]
    assert show_ports(same) == "1.1.1.1:5-7->5-7/udp, 1.1.1.1:9->9/udp"


def test_images(engine: object, capsys: pytest.CaptureFixture[str]) -> None:
    image = {
        "Id": "sha256:" + "a" * 64, "RepoTags": ["b:1", "localhost:5000/c:2"], "RepoDigests": [],
        "Created": NOW - 90, "Size": 1984174, "SharedSize": -1, "Containers": -1,
    }  # fmt: skip
    bare = {**image, "RepoTags": [], "Id": "sha256:" + "b" * 64}
    engine.answers["GET /images/json"] = (200, [image, bare])
    assert main(["images"]) == 0
    assert capsys.readouterr().out == (
        "REPOSITORY         TAG       IMAGE ID       CREATED              SIZE\n"
        "b                  1         aaaaaaaaaaaa   About a minute ago   1.98MB\n"
        "localhost:5000/c   2         aaaaaaaaaaaa   About a minute ago   1.98MB\n"
        "<none>             <none>    bbbbbbbbbbbb   About a minute ago   1.98MB\n"
    )
    assert main(["image", "ls", "-q", "b"]) == 0
    assert "filters=%7B%22reference%22" in engine.requests[-1][1]
