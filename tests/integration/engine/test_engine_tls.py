"""TLS carries both directions of a session, each to its own end."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from engine_lab import ROOT, EngineLab, engine_lab
from tls_files import certificates

pytestmark = pytest.mark.root

SENT = os.urandom(3_000_000)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def echoed(lab: EngineLab, folder: Path, port: int, program: str) -> bytes:
    """What `cat` in a container gives back of SENT, over TLS."""
    files = ("--tlscacert", "ca.pem", "--tlscert", "client.pem", "--tlskey", "key.pem")
    done = subprocess.run(
        [
            *(program, "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *files),
            *("run", "-i", "--rm", "--network", "none", "busybox", "cat"),
        ],
        cwd=folder,
        input=SENT,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_half_close_over_tls(tmp_path: Path) -> None:
    certificates(tmp_path)
    port = free_port()
    files = (("tlscacert", "ca"), ("tlscert", "server"), ("tlskey", "key"))
    secured = [f"--{name}={tmp_path}/{file}.pem" for name, file in files]
    with engine_lab(6, "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *secured) as lab:
        lab.start()
        lab.make_busybox()
        launcher = ROOT / ".venv" / "bin" / "naru"
        programs = [str(launcher), shutil.which("docker")]
        for program in filter(None, programs):
            assert echoed(lab, tmp_path, port, program) == SENT, program
