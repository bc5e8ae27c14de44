"""Completion scripts: made from the tables, and working in the shell that is there."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from naru.cli.commands.completion import bash_script, commands, fish_script, zsh_script

# What the scripts ask of naru itself.
NARU = """naru() {
    case "$1 $2" in
        "network ls") echo net1 net2 ;;
        "ps -a") echo web ;;
        "images --format") echo i ;;
    esac
}"""


def complete(*words: str) -> set[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"{bash_script()}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
        f"{NARU}\n"
        '_naru\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["naru", "conta"], {"container"}),
        (["naru", "container", "l"], {"logs", "ls", "list"}),
        (["naru", "-H", "x", "ima"], {"image", "images"}),
        (["naru", "run", "--health-c"], {"--health-cmd"}),
        (["naru", "container", "run", "--health-c"], {"--health-cmd"}),
        (["naru", "--tlsv"], {"--tlsverify"}),
        (["naru", "network", "p"], {"ports", "prune"}),
        (["naru", "network", "ports", "--no"], {"--no-trunc"}),
        (["naru", "network", "rm", ""], {"net1", "net2"}),
        (["naru", "network", "remove", "net1", "net2"], {"net2"}),
        (["naru", "network", "connect", ""], {"net1", "net2"}),
        (["naru", "network", "connect", "net1", ""], {"web"}),
        (["naru", "network", "connect", "--ip", "1.2.3.4", "net1", ""], {"web"}),
        (["naru", "network", "connect", "--ip", "=", "1.2.3.4", "net1", ""], {"web"}),
        (["naru", "-H", "x", "network", "disconnect", "-f", "net1", "w"], {"web"}),
        (["naru", "network", "create", "-d", "m"], {"macvlan"}),
        (["naru", "network", "create", "--driver", "="], {"bridge", "ipvlan", "macvlan"}),
        (["naru", "network", "create", "--driver", "=", "b"], {"bridge"}),
        (["naru", "network", "ls", "--filter", "d"], {"dangling=", "driver="}),
        (["naru", "network", "ports", "--filter", "c"], {"container="}),
        (["naru", "run", "--network", ""], {"net1", "net2"}),
        (["naru", "run", "--link", ""], {"web"}),
        (["naru", "container", "create", "--network", "net2", "i"], {"i"}),
        (["naru", "run", "--publish-s"], {"--publish-source"}),
    ],
)
def test_bash_completes(words: list[str], found: set[str]) -> None:
    assert complete(*words) == found


def test_fish_asks_for_networks() -> None:
    asked = r"(naru network ls --format \'{{.Name}}\' 2>/dev/null)"
    lines = fish_script().splitlines()
    flags = [line for line in lines if "'__naru_at run' -l network " in line]
    assert len(flags) == 1
    assert f" -x -a '{asked}' -d " in flags[0]
    assert f"complete -c naru -n '__naru_at network connect' -a '{asked}'" in lines


def test_every_command_is_there() -> None:
    for script in (bash_script(), zsh_script()):
        for path, _ in commands():
            assert f'"{path}")' in script
    for path, _ in commands():
        assert f" -a {path.rpartition(' ')[2]} " in fish_script()


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_reads_its_script() -> None:
    subprocess.run(["fish", "--no-execute"], input=fish_script(), text=True, check=True)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_reads_its_script() -> None:
    subprocess.run(["zsh", "-n"], input=zsh_script(), text=True, check=True)


@pytest.mark.parametrize(
    ("name", "script"),
    [("naru.bash", bash_script), ("_naru", zsh_script), ("naru.fish", fish_script)],
)
def test_the_packaged_scripts_are_the_generated_ones(name: str, script: Callable[[], str]) -> None:
    """When this fails: write them anew with `naru completion SHELL` into packaging/completions."""
    packaged = Path(__file__).resolve().parents[3] / "packaging/completions" / name
    assert packaged.read_text() == script()
