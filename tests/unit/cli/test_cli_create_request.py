"""What `run`, `create` and `update` ask the engine for: the body that docker's CLI sends."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from docker_cli import DOCKER, assert_same, cases

from naru.cli.main import main

FOLDER = Path(__file__).parent
CASES = cases(FOLDER / "create_cases.txt") + cases(FOLDER / "create_network_cases.txt")


def body_of(engine: Any) -> Any:
    return engine.requests[-1][2]


def test_the_plain_request(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "busybox", "echo", "-n", "hi"]) == 125
    assert capsys.readouterr().err == (
        "naru: Error response from daemon: recorded\n\nRun 'naru run --help' for more information\n"
    )
    body = body_of(engine)
    assert body["Image"] == "busybox"
    assert body["Cmd"] == ["echo", "-n", "hi"]
    assert body["AttachStdout"] and body["AttachStderr"] and not body["AttachStdin"]
    assert body["HostConfig"]["NetworkMode"] == "default"
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}


def test_many_flags(engine: Any) -> None:
    main(shlex.split(
        "create -it --name web -p 127.0.0.1:8080:80 -p 9000-9001:9000-9001/udp -e A=b -l x=y "
        "-v data:/data -v /anonymous --tmpfs /t:size=1m --mount type=bind,src=/a,dst=/b,ro "
        "--memory 1g --cpus 1.5 --restart on-failure:3 --health-cmd 'curl x' --health-interval 5s "
        "--ulimit nofile=1:2 --cap-add net_admin --network net --network-alias n busybox sh"
    ))  # fmt: skip
    assert "name=web" in engine.requests[-1][1]
    body, host = body_of(engine), body_of(engine)["HostConfig"]
    assert body["Tty"] and body["OpenStdin"] and body["StdinOnce"]
    assert body["ExposedPorts"] == {"80/tcp": {}, "9000/udp": {}, "9001/udp": {}}
    assert host["PortBindings"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    assert host["PortBindings"]["9001/udp"] == [{"HostIp": "", "HostPort": "9001"}]
    assert (host["Binds"], body["Volumes"]) == (["data:/data"], {"/anonymous": {}})
    assert host["Tmpfs"] == {"/t": "size=1m"}
    assert host["Mounts"] == [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}]
    assert (host["Memory"], host["NanoCpus"]) == (1 << 30, 1_500_000_000)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert body["Healthcheck"] == {"Test": ["CMD-SHELL", "curl x"], "Interval": 5_000_000_000}
    assert host["Ulimits"] == [{"Name": "nofile", "Hard": 2, "Soft": 1}]
    assert host["CapAdd"] == ["CAP_NET_ADMIN"]
    assert body["NetworkingConfig"]["EndpointsConfig"]["net"]["Aliases"] == ["n"]


def test_files_of_settings(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_US", "here")
    monkeypatch.delenv("NOT_SET", raising=False)
    settings = tmp_path / "env"
    settings.write_text("\ufeff# comment\n\nA=1\n  B= 2 \nFROM_US\nNOT_SET\n")
    labels = tmp_path / "labels"
    labels.write_text("k=v\nbare\n")
    main(["create", "--env-file", str(settings), "-e", "C=3", "--label-file", str(labels), "i"])
    assert body_of(engine)["Env"] == ["A=1", "B= 2 ", "FROM_US=here", "C=3"]
    assert body_of(engine)["Labels"] == {"k": "v", "bare": ""}


def test_a_seccomp_profile_is_sent_whole(engine: Any, tmp_path: Path) -> None:
    profile = tmp_path / "seccomp.json"
    profile.write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }')
    main(["create", "--security-opt", f"seccomp={profile}", "i"])
    (option,) = body_of(engine)["HostConfig"]["SecurityOpt"]
    assert json.loads(option.removeprefix("seccomp=")) == {"defaultAction": "SCMP_ACT_ALLOW"}


def test_the_id_file(engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "id"
    assert main(["create", "--cidfile", str(path), "i"]) == 1
    assert not path.exists()
    engine.answers["POST /containers/create"] = (201, {"Id": "abc", "Warnings": ["careful"]})
    assert main(["create", "--cidfile", str(path), "i"]) == 0
    assert path.read_text() == "abc"
    assert "WARNING: careful\n" in capsys.readouterr().err
    assert main(["create", "--cidfile", str(path), "i"]) == 125
    assert "container ID file found" in capsys.readouterr().err


def test_a_detached_run_prints_the_id(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answers["POST /containers/create"] = (201, {"Id": "abc", "Warnings": []})
    engine.answers["POST /containers/abc/start"] = (204, {})
    assert main(["run", "-d", "i"]) == 0
    assert capsys.readouterr().out == "abc\n"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("exec: permission denied", 126),
        ("something else", 125),
    ],
)
def test_a_failed_start_has_its_own_status(engine: Any, reason: str, code: int) -> None:
    engine.answers["POST /containers/create"] = (201, {"Id": "abc", "Warnings": []})
    engine.answers["POST /containers/abc/start"] = (400, {"message": reason})
    assert main(["run", "-d", "i"]) == code


@pytest.mark.skipif(DOCKER is None, reason="no docker CLI here")
@pytest.mark.parametrize("words", CASES)
def test_the_same_as_docker(
    words: str,
    engine: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_same(words, engine, capsys)
