"""Names, labels, files, processes and messages that try to steer the terminal of who lists them."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import REG, archive, execute, make_image, system
from engine_lab import ROOT, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

EVIL = "x\x1b]0;owned\x07\x1b[2J\x9b31m\u202ey\r"
STEERING = ("\x1b", "\x07", "\x9b", "\u202e", "\0")


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(38) as engine:
        engine.start()
        engine.make_busybox()
        make_image(engine, "evil", system(), f'LABEL evil="{EVIL[:9]}"', f"CMD echo {EVIL[:9]}")
        engine.call("POST", "/volumes/create", {"Name": "evil", "Labels": {"evil": EVIL}})
        engine.run(
            "sh",
            "-c",
            "sleep 1000; exit",
            EVIL,
            name="box",
            Labels={"evil": EVIL},
            Env=[f"A={EVIL}"],
        )
        name = f"tmp/{EVIL}"
        engine.call("PUT", "/containers/box/archive?path=/", raw=archive((name, REG, b"")))
        yield engine


def naru(lab: EngineLab, *words: str, terminal: bool = False) -> tuple[int, str]:
    """Run the command line; both streams together, as a person sees them."""
    command = [sys.executable, "-c", "from naru.cli.main import run; run()", "-H", lab.host, *words]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": "/nonexistent"}
    if not terminal:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=30,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.decode()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:
        pass
    finally:
        os.close(ours)
    return process.wait(30), said.decode().replace("\r\n", "\n")


LISTINGS = (
    ("ps", "-a", "--no-trunc"), ("ps", "-a"), ("images",), ("volume", "ls"), ("diff", "box"),
    ("top", "box"), ("history", "evil"), ("history", "--no-trunc", "evil"), ("inspect", "box"),
    ("inspect", "evil"), ("events", "--since", "10m", "--until", "0s"), ("system", "df", "-v"),
    ("port", "box"), ("info",), ("stats", "--no-stream", "box"),
)  # fmt: skip


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_listings_never_steer(lab: EngineLab, words: tuple[str, ...]) -> None:
    code, text = naru(lab, *words)
    assert code == 0, text
    assert not [mark for mark in STEERING if mark in text], text


TEMPLATES = (
    ("ps", "-a", "--format", '{{.Names}} {{.Label "evil"}} {{.Command}}'),
    ("ps", "-a", "--format", "table {{.Labels}}"),
    ("volume", "ls", "--format", "{{.Labels}}"),
    ("inspect", "box", "--format", "{{.Config.Labels}} {{.Config.Env}} {{.Args}}"),
    ("inspect", "box", "--format", "{{range .Config.Env}}{{println .}}{{end}}"),
    ("image", "inspect", "evil", "--format", "{{.Config.Labels.evil}}"),
    ("events", "--since", "10m", "--until", "0s", "--format", "{{.Actor.Attributes}}"),
)


@pytest.mark.parametrize("words", TEMPLATES, ids=" ".join)
def test_templates_steer_no_terminal(lab: EngineLab, words: tuple[str, ...]) -> None:
    """On a terminal values are shown, into a pipe they go as they are, as scripts expect."""
    code, text = naru(lab, *words, terminal=True)
    assert code == 0, text
    assert not [mark for mark in STEERING if mark in text], text
    assert "owned" in text or "image" in words or "evil" in text
    assert naru(lab, *words)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", EVIL), ("start", EVIL), ("rm", EVIL), ("rmi", EVIL), ("logs", EVIL),
        ("run", EVIL), ("run", "--rm", "--name", EVIL, "busybox"), ("volume", "rm", EVIL),
        ("exec", "box", EVIL), ("run", "--rm", "busybox", EVIL), ("cp", f"box:/{EVIL}", "/tmp/x"),
        ("kill", "-s", EVIL, "box"), ("network", "inspect", EVIL), (EVIL,), ("ps", f"--{EVIL}"),
        ("ps", "--filter", EVIL), ("ps", "--format", "{{" + EVIL), ("tag", "busybox", EVIL),
        ("load", "-i", f"/nonexistent/{EVIL}"), ("-H", f"unix:///{EVIL}", "ps"),
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)  # fmt: skip
def test_messages_never_steer(lab: EngineLab, words: tuple[str, ...]) -> None:
    code, text = naru(lab, *words)
    assert code != 0
    assert not [mark for mark in STEERING if mark in text], text


def test_the_engines_log_takes_no_orders(lab: EngineLab) -> None:
    """Whatever is named in the engine's log stays on its line."""
    execute(lab, "box", EVIL, "\nlevel=error msg=forged")
    naru(lab, "run", "--rm", "busybox", f"{EVIL}\nlevel=error msg=forged")
    naru(lab, "rm", f"{EVIL}\nforged")
    text = lab.log.read_text()
    assert not [mark for mark in STEERING if mark in text]
    assert not [line for line in text.splitlines() if line.startswith(("level=", "forged"))]


def test_a_health_check_speaks_as_text(lab: EngineLab, tmp_path: Path) -> None:
    box = lab.run(
        "sleep", "1000",
        Healthcheck={"Test": ["CMD", "echo", EVIL], "Interval": 10**9, "StartInterval": 10**9},
    )  # fmt: skip
    until(lambda: lab.inspect(box)["State"]["Health"]["Log"], "a check was made")
    code, text = naru(lab, "inspect", box)
    assert code == 0 and not [mark for mark in STEERING if mark in text]
    assert "owned" in text
