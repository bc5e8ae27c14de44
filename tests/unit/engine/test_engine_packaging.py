"""The files under packaging/: what systemd and narud make of them."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from naru.engine.config import load

ROOT = Path(__file__).resolve().parents[3]
PACKAGING = ROOT / "packaging"
UNITS = PACKAGING / "systemd"

# Each of these reaches containers: by a mount namespace that ends with the unit, or by inheritance.
BREAKS_CONTAINERS = re.compile(
    r"(Protect|Private|Restrict|SystemCall|Bind|ReadOnly|ReadWrite|Inaccessible|TemporaryFile|"
    r"RootDirectory|RootImage|MountFlags|MountAPIVFS|NoNewPrivileges|LockPersonality|"
    r"CapabilityBoundingSet|MemoryDenyWriteExecute|SecureBits|DynamicUser|DevicePolicy|RemoveIPC)"
)


def unit(name: str) -> configparser.ConfigParser:
    # Keys may stand more than once (After=): the last one is enough for these questions.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys as they are written
    parser.read_string((UNITS / name).read_text())
    return parser


def test_a_stop_ends_narud_alone() -> None:
    service = unit("naru.service")["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process"
    assert service["OOMPolicy"] == "continue"
    assert service["Delegate"] == "yes"


def test_nothing_in_the_unit_reaches_containers() -> None:
    for key in unit("naru.service")["Service"]:
        assert not BREAKS_CONTAINERS.match(key), key


def test_the_command_is_one_that_narud_takes() -> None:
    program, *flags = unit("naru.service")["Service"]["ExecStart"].split()
    assert program == "/usr/bin/narud"
    assert load(flags, "fd://").hosts == ("fd://",)


def test_the_socket_is_where_clients_look_and_closed_to_others() -> None:
    sock = unit("naru.socket")["Socket"]
    assert f"unix://{sock['ListenStream']}" == load(["--config-file", os.devnull]).hosts[0]
    assert sock["SocketMode"] == "0660"
    group = (PACKAGING / "sysusers.d/naru.conf").read_text()
    assert f"\ng {sock['SocketGroup']} -" in group


def test_the_example_of_a_configuration_is_one() -> None:
    config = load(["--config-file", str(PACKAGING / "daemon.json")])
    assert config.hosts == ("fd://",)
    assert config.default_ulimits == {"nofile": (4096, 65536)}
    assert config.default_address_pools == (("172.18.0.0/15", 24),)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_pin_every_dependency_and_name_no_host(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    if "dev" in lock:
        wanted += project["optional-dependencies"]["dev"]
    text = (ROOT / lock).read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==.*?\n    # via (.*?)$", text, re.MULTILINE | re.DOTALL)
    names = {re.split(r"[<>=~! ]", item)[0] for item in wanted}
    assert names == {name for name, via in pinned if "naru-engine" in via}
    assert text.count("--hash=sha256:") >= len(pinned)
    assert not re.search(r"://|^--|^#.*index", text, re.MULTILINE)
    told = (ROOT / "docs/dependencies.md").read_text()
    assert [name for name in names if f"**{name}**" not in told] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    program = tmp_path / "narud"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/bin/narud", str(program))
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "naru.service")],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:/lib/systemd/system"},
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_launchers_of_both_programs_work(tmp_path: Path) -> None:
    """Below a path with a space too, which no `#!` line can name."""
    environment = tmp_path / "a b"
    environment.symlink_to(ROOT / ".venv" if (ROOT / ".venv").exists() else sys.prefix)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import launcher, pathlib; "
        "p = launcher.ENGINE if sys.argv[2] == 'narud' else launcher.CLIENT; "
        "launcher.write(pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4], p)"
    )
    for program, shown in (("naru", "Naru version "), ("narud", "narud version ")):
        subprocess.run(
            [
                *(sys.executable, "-c", script, str(ROOT / "tools"), program),
                *(str(environment / "bin/python"), str(ROOT)),
            ],
            check=True,
            cwd=tmp_path,
        )
        done = subprocess.run(
            [str(tmp_path / program), "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(shown)
