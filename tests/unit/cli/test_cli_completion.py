"""Completion scripts: made from the tables, and working in the shell that is there."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from naru.cli.commands.completion import bash_script, commands, fish_script, zsh_script


def complete(*words: str) -> set[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"{bash_script()}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
        'naru() { :; }\n_naru\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
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
    ],
)
def test_bash_completes(words: list[str], found: set[str]) -> None:
    assert complete(*words) == found


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
