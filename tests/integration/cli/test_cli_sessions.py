"""`naru` as a process against a narud of our own: terminals, streams, signals, exit statuses."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_lab import EngineLab, engine_lab

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 20.0
Step = tuple[bytes, bytes | Callable[[int, int], None]]


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(61) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(scope="module")
def naru(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("bin") / "naru"
    subprocess.run([sys.executable, str(ROOT / "tools/launcher.py"), str(target)], check=True)
    return str(target)


@pytest.fixture
def env(lab: EngineLab, tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {
        "PATH": os.environ["PATH"], "NARU_HOST": lab.host, "HOME": str(tmp_path), "TERM": "xterm",
    }  # fmt: skip
    lab.remove_all()


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def run(naru: str, env: dict[str, str]) -> Run:
    def call(*words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [naru, *words], input=stdin, capture_output=True, env=env, timeout=60, check=False
        )

    return call


def on_terminal(argv: list[str], env: dict[str, str], *steps: Step) -> tuple[int, bytes, bool]:
    """Run `argv` on a terminal of 33x99; each step waits for its text and then acts.

    The exit status (negative: a signal), what was shown, and whether the terminal was restored.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    before = termios.tcgetattr(follower)
    process = subprocess.Popen(
        argv, env=env, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    shown, left, until = b"", list(steps), time.monotonic() + DEADLINE_S
    try:
        while process.poll() is None or select.select([leader], [], [], 0)[0]:
            assert time.monotonic() < until, f"still there after {shown!r}"
            if select.select([leader], [], [], 0.05)[0]:
                shown += os.read(leader, 65536)
            if left and left[0][0] in shown:
                action = left.pop(0)[1]
                if isinstance(action, bytes):
                    os.write(leader, action)
                else:
                    action(process.pid, leader)
        return process.returncode, shown, termios.tcgetattr(follower) == before
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(leader)
        os.close(follower)


def test_output_and_status_come_through(run: Run) -> None:
    done = run("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_input_reaches_the_container_and_ends(run: Run) -> None:
    data = os.urandom(3_000_000)
    done = run("run", "-i", "--rm", "busybox", "cat", stdin=data)
    assert done.returncode == 0
    assert done.stdout == data


@pytest.mark.parametrize(
    ("command", "code"), [("nosuch", 127), ("/etc", 126), ("false", 1), ("true", 0)]
)
def test_exit_statuses(run: Run, command: str, code: int) -> None:
    assert run("run", "--rm", "busybox", command).returncode == code


def test_a_missing_image_is_125(run: Run) -> None:
    done = run("run", "--pull", "never", "nosuch:x")
    assert done.returncode == 125
    assert done.stderr.startswith(b"naru: Error response from daemon: No such image: nosuch:x")


def test_death_by_a_signal_is_128_and_more(run: Run) -> None:
    run("run", "-d", "--name", "web", "busybox", "sleep", "100")
    assert run("kill", "web").stdout == b"web\n"
    assert run("wait", "web").stdout == b"137\n"
    assert run("start", "-a", "web", "web").returncode == 1


def test_exec(run: Run) -> None:
    run("run", "-d", "--name", "web", "busybox", "sleep", "100")
    script = "pwd; echo $A; cat; exit 3"
    done = run("exec", "-i", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", script, stdin=b"typed")
    assert (done.returncode, done.stdout) == (3, b"/tmp\nb\ntyped")
    assert run("exec", "web", "nosuch").returncode == 127
    assert run("exec", "-d", "web", "touch", "/made").returncode == 0


def test_words_of_a_life(run: Run) -> None:
    assert (
        run("create", "--name", "one", "busybox", "sh", "-c", "echo hi; sleep 100").returncode == 0
    )
    assert run("start", "one").stdout == b"one\n"
    assert run("ps", "--format", "{{.Names}} {{.State}}").stdout == b"one running\n"
    assert run("pause", "one").stdout == b"one\n"
    assert run("unpause", "one").stdout == b"one\n"
    assert run("rename", "one", "two").returncode == 0
    assert run("exec", "two", "sh", "-c", "echo new > /file").returncode == 0
    assert b"A /file\n" in run("diff", "two").stdout
    assert run("cp", "two:/file", "-").stdout[257:262] == b"ustar"
    assert b"sleep 100" in run("top", "two").stdout
    assert b"two\n" in run("stats", "--no-stream", "--format", "{{.Name}}", "two").stdout
    assert run("logs", "two").stdout == b"hi\n"
    assert run("commit", "-m", "x", "two", "mine:1").stdout.startswith(b"sha256:")
    assert run("images", "mine", "--format", "{{.Tag}}").stdout == b"1\n"
    assert run("rmi", "mine:1").stdout.startswith(b"Untagged: mine:1\nDeleted: sha256:")
    assert run("stop", "-t", "0", "two").stdout == b"two\n"
    assert run("wait", "two").stdout == b"137\n"
    assert run("rm", "two").stdout == b"two\n"
    assert run("rm", "two").returncode == 1
    assert run("rm", "-f", "two").returncode == 0


def test_save_load_import(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "image.tar")
    assert run("save", "-o", path, "busybox").returncode == 0
    assert run("load", "-i", path).stdout == b"Loaded image: busybox:latest\n"
    run("create", "--name", "one", "busybox")
    exported = run("export", "one").stdout
    assert run("import", "-", "again:1", stdin=exported).stdout.startswith(b"sha256:")
    assert run("rmi", "again:1").returncode == 0


def test_a_terminal_with_its_size(naru: str, env: dict[str, str]) -> None:
    def shrink(pid: int, leader: int) -> None:
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))

    script = 'stty size; until [ "$(stty size)" = "20 50" ]; do sleep 0.05; done; exit 5'
    code, shown, restored = on_terminal(
        [naru, "run", "--rm", "-it", "busybox", "sh", "-c", script], env, (b"33 99", shrink)
    )
    assert (code, restored, shown) == (5, True, b"33 99\r\n")


def test_detach_keys(naru: str, env: dict[str, str], run: Run) -> None:
    code, shown, restored = on_terminal(
        [naru, "run", "-it", "--name", "sh", "busybox", "sh"], env, (b"# ", b"\x10\x11")
    )
    assert (code, restored) == (0, True)
    assert run("ps", "-q").stdout != b""
    code, shown, restored = on_terminal(
        [naru, "attach", "--detach-keys", "a,b", "sh"], env, (b"", b"\n"), (b"# ", b"ab")
    )
    assert (code, restored) == (1, True)
    assert b"read escape sequence" in shown


def test_a_killed_client_leaves_the_terminal_as_it_was(
    naru: str, env: dict[str, str], run: Run
) -> None:
    run("run", "-d", "--name", "web", "busybox", "sleep", "100")
    code, _, restored = on_terminal(
        [naru, "exec", "-it", "web", "sh"], env,
        (b"# ", lambda pid, leader: os.kill(pid, signal.SIGTERM)),
    )  # fmt: skip
    assert (code, restored) == (-signal.SIGTERM, True)


def test_signals_are_passed_on(naru: str, env: dict[str, str]) -> None:
    script = "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    code, shown, _ = on_terminal(
        [naru, "run", "--rm", "busybox", "sh", "-c", script], env,
        (b"up", lambda pid, leader: os.kill(pid, signal.SIGTERM)),
    )  # fmt: skip
    assert (code, shown) == (3, b"up\r\ngot\r\n")


def test_no_terminal_for_a_terminal(run: Run) -> None:
    done = run("run", "-it", "busybox", "sh")
    assert (done.returncode, done.stderr) == (1, b"the input device is not a TTY\n")
    assert run("ps", "-aq").stdout == b""


def test_doctor_with_and_without_an_engine(run: Run, lab: EngineLab) -> None:
    with_engine = run("system", "doctor").stdout
    assert lab.host.encode() in with_engine
    without = run("-H", "unix:///nowhere.sock", "system", "doctor").stdout
    assert b"Cannot connect" in without
    assert b"crun" in without
