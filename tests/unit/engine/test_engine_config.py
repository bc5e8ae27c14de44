"""Flags, daemon.json, sockets, locks and logs of narud."""

import json
import logging
import os
import socket
import stat
from pathlib import Path

import pytest

from naru.engine import audit, logs, systemd
from naru.engine.claim import Claim
from naru.engine.config import ConfigError, help_text, load, split_tcp
from naru.engine.listeners import open_listeners, tcp_sockets, unix_socket
from naru.engine.options import OPTIONS
from naru.engine.reload import reload_config
from naru.http.message import Peer


def _file(folder: Path, body: object) -> str:
    path = folder / "daemon.json"
    path.write_text(json.dumps(body))
    return str(path)


def test_flags_in_all_their_forms(tmp_path: Path) -> None:
    empty = _file(tmp_path, {})
    config = load(
        ["--config-file", empty, "-H", "unix:///a", "--host=unix:///b", "-Hunix:///c", "-D",
         "--data-root", "/d", "--default-address-pool", "base=10.0.0.0/8,size=24",
         "--default-ulimit", "nofile=1:2", "--log-opt", "max-size=1m", "--mtu=1400", "--init=false"]
    )  # fmt: skip
    assert config.hosts == ("unix:///a", "unix:///b", "unix:///c")
    assert config.debug and config.log_level == "debug" and config.data_root == "/d"
    assert config.default_address_pools == (("10.0.0.0/8", 24),)
    assert config.default_ulimits == {"nofile": (1, 2)} and config.log_opts == {"max-size": "1m"}
    assert config.mtu == 1400 and config.init is False and config.shm_bytes == 64 << 20


def test_the_file_speaks_as_dockers_does(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        {
            "hosts": ["unix:///x"], "bip": "10.1.0.1/16", "log-opts": {"max-file": "2"},
            "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 5, "Hard": 6}},
            "live-restore": True, "storage-driver": "overlay2", "userland-proxy": False,
        },
    )  # fmt: skip
    config = load(["--config-file", path])
    assert config.bip == "10.1.0.1/16" and config.default_ulimits == {"nofile": (5, 6)}
    assert config.default_address_pools == (("10.0.0.0/8", 24),)


@pytest.mark.parametrize(
    ("body", "argv", "text"),
    [
        ({"nope": 1, "also": 2}, [], "also, nope"),
        ({"metrics-addr": "x", "runtimes": {}}, [], "not offered by Naru: metrics-addr, runtimes"),
        ({"iptables": False}, [], "iptables: Naru offers only true"),
        ({"userland-proxy": 0}, [], "userland-proxy: Naru offers only false"),
        ({"debug": "yes"}, [], "debug has a wrong type"),
        ({"mtu": True}, [], "mtu has a wrong type"),
        ({"hosts": [1]}, [], "hosts has a wrong type"),
        (
            {"bip": "1.2.3.4/8"},
            ["--bip", "4.3.2.1/8"],
            "from flag: 4.3.2.1/8, from file: 1.2.3.4/8",
        ),
        ({"live-restore": False}, [], "live-restore"),
        ({}, ["--nope"], "unknown flag: --nope"),
        ({}, ["--bip"], "flag needs a value: --bip"),
        ({}, ["--mtu", "x"], "--mtu"),
        ({}, ["--debug=maybe"], "--debug"),
        ({}, ["--log-format", "xml"], "log-format"),
        ({}, ["--log-driver", "syslog"], "log-driver"),
        ({}, ["-H", "http://x"], "invalid host"),
        ({}, ["-H", "unix://relative"], "absolute"),
        ({}, ["-H", "tcp://0.0.0.0:2375"], "--insecure"),
        ({}, ["--tlsverify"], "tlscacert"),
        ({}, ["--default-shm-size", "much"], "default-shm-size"),
        ({}, ["--default-ulimit", "nofile"], "NAME=SOFT"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, body: object, argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["--config-file", _file(tmp_path, body), *argv])
    assert text in caught.value.message


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unable to configure"):
        load(["--config-file", str(tmp_path / "missing")])


def test_tcp_addresses() -> None:
    assert split_tcp("127.0.0.1:2375") == ("127.0.0.1", 2375)
    assert split_tcp("[::1]:99") == ("::1", 99)
    assert split_tcp("") == ("127.0.0.1", 2375)
    for bad in ("a:b", "1.2.3.4:99999", "x:1/path"):
        with pytest.raises(ConfigError):
            split_tcp(bad)


def test_help_names_every_flag() -> None:
    text = help_text()
    assert all(option.flag in text for option in OPTIONS if option.flag)


def test_reload_takes_only_what_may_change(tmp_path: Path) -> None:
    path = _file(tmp_path, {"bip": "10.1.0.1/16", "labels": ["a=b"]})
    before = load(["--config-file", path])
    _file(tmp_path, {"bip": "10.2.0.1/16", "labels": ["c=d"], "log-level": "debug"})
    after = reload_config(before, ["--config-file", path])
    assert after.bip == "10.1.0.1/16"
    assert after.labels == ("c=d",) and after.log_level == "debug"


def test_unix_socket_is_private_and_replaces_only_dead_ones(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    first = unix_socket(path, os.getgid())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    with pytest.raises(ConfigError, match="another process listens"):
        unix_socket(path, os.getgid())
    first.close()
    unix_socket(path, os.getgid()).close()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="something else"):
        unix_socket(str(tmp_path / "file"), os.getgid())


def test_a_port_in_use_is_an_error_that_leaves_nothing_open() -> None:
    (sock,) = tcp_sockets("127.0.0.1", 0)
    with sock, pytest.raises(ConfigError, match="cannot listen on tcp://127.0.0.1"):
        tcp_sockets("127.0.0.1", sock.getsockname()[1])


def test_fd_without_systemd_is_refused(tmp_path: Path) -> None:
    config = load(["--config-file", _file(tmp_path, {}), "-H", "fd://"])
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        open_listeners(config, {})


def test_notify_reaches_the_service_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "n")})
        assert manager.recv(100) == b"READY=1"
    systemd.notify("READY=1", {})
    systemd.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_one_engine_per_root(tmp_path: Path) -> None:
    data, run, pidfile = (str(tmp_path / name) for name in ("data", "run", "pid"))
    claim = Claim(data, run, pidfile)
    assert Path(pidfile).read_text() == str(os.getpid())
    for other in ((data, str(tmp_path / "run2")), (str(tmp_path / "data2"), run)):
        with pytest.raises(ConfigError, match=f"another narud \\(process {os.getpid()}\\)"):
            Claim(*other, str(tmp_path / "pid2"))
    claim.release()
    assert not os.path.exists(pidfile)
    Claim(data, run, pidfile).release()


def test_secrets_are_blanked() -> None:
    query = "name=x&password=hunter2&API_KEY=k&changes=ENV DB_PASSWORD=p&tokenish"
    shown = audit.blank(query)
    assert "hunter2" not in shown and "=k" not in shown and "=p&" not in shown
    assert "name=x" in shown
    assert audit.caller(Peer("unix", pid=1, uid=2, gid=3)) == "uid=2 gid=3 pid=1"


def test_log_lines() -> None:
    record = logging.LogRecord("naru.api", logging.WARNING, "", 0, 'say "%s"', ("x",), None)
    record.fields = {"request": "a-1", "call": "GET /x"}
    text = logs.TextFormatter().format(record)
    assert 'level=warn area=api msg="say \\"x\\"" request=a-1 call="GET /x"' in text
    body = json.loads(logs.JsonFormatter().format(record))
    assert body["msg"] == 'say "x"' and body["request"] == "a-1" and body["level"] == "warn"


@pytest.mark.parametrize("flag", ["--data-root", "--exec-root"])
@pytest.mark.parametrize("path", ["/srv/a:b", "/srv/a\nb"])
def test_roots_that_the_monitor_cannot_use_are_refused(flag: str, path: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)invalid {flag[2:]} .*name another"):
        load([flag, path, "--config-file", "/dev/null"])
