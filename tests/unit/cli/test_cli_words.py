"""The program as a whole: words, usage, help, exit codes, and what `naru ps` may import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from naru.cli.flags import Flags
from naru.cli.main import load_command, main
from naru.cli.suggest import close_words
from naru.cli.words import COMMANDS, GROUPS

ROOT = Path(__file__).resolve().parents[3]
PS_MAY_IMPORT = {
    "naru", "naru.base", "naru.base.errors", "naru.base.text", "naru.base.units", "naru.cli",
    "naru.cli.command",
    "naru.cli.commands", "naru.cli.commands.ps", "naru.cli.flags", "naru.cli.formats",
    "naru.cli.main", "naru.cli.nouns_container", "naru.cli.render", "naru.cli.session",
    "naru.cli.table", "naru.cli.words", "naru.client", "naru.client.containers",
    "naru.client.engine", "naru.client.wire", "naru.http", "naru.http.client",
    "__future__", "_json", "_socket", "binascii", "time",
}  # fmt: skip


def entries() -> list[str]:
    every = list(COMMANDS.values())
    for _, words in GROUPS.values():
        every += [entry for entry in words.values() if not entry.startswith("=")]
    return sorted(set(every))


@pytest.mark.parametrize("entry", entries())
def test_every_word_has_a_command_with_help(entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command(entry)
    assert command.summary
    assert isinstance(command.flags, Flags)
    letters = [flag.short for flag in command.flags.all if flag.short]
    names = [flag.name for flag in command.flags.all]
    assert len(set(letters)) == len(letters)
    assert len(set(names)) == len(names)
    assert all(flag.alias_of in names for flag in command.flags.all if flag.alias_of)


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["ps", "--help"], ["container"], ["help", "run"], ["cp", "--help"]]
)
def test_help_goes_to_standard_output(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Usage:  naru")
    assert printed.err == ""
    assert all(len(line) <= 100 for line in printed.out.splitlines())


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("ps --foo", 125, "unknown flag: --foo\n\nUsage:  naru ps [OPTIONS]\n\n"
         "Run 'naru ps --help' for more information\n"),
        ("ps extra", 1, "naru: 'naru ps' accepts no arguments\n\nUsage:  naru ps [OPTIONS]\n\n"
         "Run 'naru ps --help' for more information\n"),
        ("rm", 1, "naru: 'naru rm' requires at least 1 argument\n\n"
         "Usage:  naru rm [OPTIONS] CONTAINER [CONTAINER...]\n\n"
         "See 'naru rm --help' for more information\n"),
        ("rename a", 1, "naru: 'naru rename' requires 2 arguments\n\n"
         "Usage:  naru rename CONTAINER NEW_NAME\n\n"
         "Run 'naru rename --help' for more information\n"),
        ("--foo ps", 125, "unknown flag: --foo\n\nUsage:  naru [OPTIONS] COMMAND [ARG...]\n\n"
         "Run 'naru --help' for more information\n"),
        ("psx", 1, "naru: unknown command: naru psx\n\nDid you mean 'naru ps'?\n\n"
         "Run 'naru --help' for more information\n"),
        ("swarm init", 1, "naru: unknown command: naru swarm\n\n"
         "Swarm mode is not in this release of Naru.\n\nRun 'naru --help' for more information\n"),
        ("qqqqqq", 1, "naru: unknown command: naru qqqqqq\n\n"
         "Run 'naru --help' for more information\n"),
        ("container foo", 1, "naru: unknown command: naru container foo\n\n"
         "Usage:  naru container\n\nRun 'naru container --help' for more information\n"),
        ("pull x", 1, "'naru pull' is not in this release: images come in with 'naru load' and "
         "'naru import'\n"),
        ("-H unix:///nowhere.sock ps", 1, "Cannot connect to the Docker daemon at "
         "unix:///nowhere.sock. Is narud running?\n"),
        ("-H ssh://x ps", 1, "unable to parse the host `ssh://x`: naru speaks unix:// and tcp:// "
         "only\n"),
        ("-c x -H y ps", 1, "conflicting options: cannot specify both --host and --context\n"),
        ("run", 1, "naru: 'naru run' requires at least 1 argument\n\n"
         "Usage:  naru run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
         "See 'naru run --help' for more information\n"),
        ("run --pull=x i", 125, "naru: invalid pull option: 'x': must be one of \"always\", "
         "\"missing\" or \"never\"\n\nRun 'naru run --help' for more information\n"),
        ("-l loud ps", 125, "Unable to parse logging level: loud\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_goes_to_standard_error(
    words: str, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == code
    printed = capsys.readouterr()
    assert (printed.err, printed.out) == (text, "")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("rn", ["rm", "run"]),
        ("imges", ["images", "image"]),
        ("contianer", ["container"]),
        ("xyzzy", []),
    ],
)
def test_suggestions(word: str, near: list[str]) -> None:
    assert close_words(word, [*COMMANDS, *GROUPS]) == near


def test_ps_imports_only_what_it_needs(engine: object) -> None:
    engine.answers["GET /containers/json"] = (200, [])
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "before = set(sys.modules) | {'os', 'stat', 'posixpath', 'genericpath', "
        "'_collections_abc', 'os.path', '_stat', 'abc', '_abc'}\n"
        "from naru.cli.main import main\n"
        "main(['ps'])\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", script],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    imported = set(done.stdout.splitlines()[-1].split())
    assert imported - PS_MAY_IMPORT == set()
    assert "naru.cli.commands.ps" in imported


def test_the_launcher_starts_without_site(tmp_path: Path) -> None:
    target = tmp_path / "naru"
    subprocess.run([sys.executable, str(ROOT / "tools/launcher.py"), str(target)], check=True)
    done = subprocess.run([str(target), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Naru version ")
    assert "-IS" in target.read_text()


def test_a_launcher_below_a_path_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    target = folder / "naru"
    subprocess.run(
        [str(folder / "python"), str(ROOT / "tools/launcher.py"), str(target)], check=True
    )
    done = subprocess.run([str(target), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Naru version ")
