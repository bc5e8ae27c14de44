"""The unmodified docker CLI against a narud of our own: words in, columns and statuses out."""

import contextlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_lab import EngineLab, engine_lab, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("docker") is None, reason="the docker CLI is not installed"),
]

DEADLINE_S = 60
ID = re.compile(r"[0-9a-f]{64}\Z")
Done = subprocess.CompletedProcess[bytes]
Docker = Callable[..., Done]


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(12) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture
def env(lab: EngineLab, tmp_path: Path) -> Iterator[dict[str, str]]:
    yield {"PATH": os.environ["PATH"], "DOCKER_HOST": lab.host, "HOME": str(tmp_path)}
    lab.remove_all()


@pytest.fixture
def docker(env: dict[str, str]) -> Docker:
    def call(*words: str, stdin: bytes = b"", status: int = 0) -> Done:
        done = subprocess.run(
            ["docker", *words],
            input=stdin,
            capture_output=True,
            env=env,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == status, (words, done)
        return done

    return call


def text(done: Done) -> str:
    return done.stdout.decode().strip()


# --- run


def test_run(docker: Docker) -> None:
    done = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert (
        docker("run", "--rm", "-i", "busybox", "cat", stdin=b"x" * 300000).stdout == b"x" * 300000
    )
    assert docker("ps", "-aq").stdout == b""


def test_exit_statuses(docker: Docker) -> None:
    docker("run", "--rm", "busybox", "sh", "-c", "exit 9", status=9)
    docker("run", "--rm", "busybox", "/etc/passwd", status=126)
    said = docker("run", "--rm", "busybox", "nope", status=127).stderr
    assert b'exec: "nope": executable file not found in $PATH' in said
    docker("run", "--rm", "--memory", "1k", "busybox", "true", status=125)
    docker("run", "--rm", "--volumes-from", "nobody", "busybox", "true", status=125)


def test_run_detached_and_logs(docker: Docker) -> None:
    identifier = text(
        docker("run", "-d", "--name", "one", "busybox", "sh", "-c", "echo a; echo b >&2")
    )
    assert ID.match(identifier)
    assert text(docker("wait", "one")) == "0"
    done = docker("logs", "one")
    assert (done.stdout, done.stderr) == (b"a\n", b"b\n")
    stamped = docker("logs", "-t", "one").stdout
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:.]+Z a\n", stamped)


def test_cidfile_env_and_labels(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n# no\nB=two words\n")
    files = ("--cidfile", str(tmp_path / "cid"), "--env-file", str(tmp_path / "env"))
    out = docker("run", *files, "-e", "C=3", "-l", "x=y", "busybox", "env").stdout
    assert {b"A=1", b"B=two words", b"C=3"} <= set(out.splitlines())
    identifier = (tmp_path / "cid").read_text()
    label = '{{index .Config.Labels "x"}}'
    assert text(docker("inspect", "-f", label, identifier)) == "y"


def test_a_terminal(lab: EngineLab, env: dict[str, str]) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        ["docker", "run", "-it", "--rm", "busybox", "sh"],
        stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(slave)
        expect(master, b"/ # ")
        os.write(master, b"tty; exit 5\n")
        expect(master, b"/dev/pts/0")
        drain(master)
        assert process.wait(DEADLINE_S) == 5
    os.close(master)


def test_detach_keys_leave_it_running(docker: Docker, env: dict[str, str]) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        ["docker", "run", "-it", "--name", "left", "busybox", "sh"],
        stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(slave)
        expect(master, b"/ # ")
        os.write(master, b"\x10\x11")
        drain(master)
        assert process.wait(DEADLINE_S) == 0
    os.close(master)
    assert text(docker("inspect", "-f", "{{.State.Status}}", "left")) == "running"


def test_signals_are_passed_on(docker: Docker, env: dict[str, str]) -> None:
    script = "trap 'echo told; exit 8' TERM; echo up; while :; do sleep 0.1; done"
    with subprocess.Popen(
        ["docker", "run", "--rm", "busybox", "sh", "-c", script], stdout=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"told\n"
        assert process.wait(DEADLINE_S) == 8


def expect(master: int, wanted: bytes) -> bytes:
    """Read from a terminal until `wanted` has come."""
    said, end = b"", time.monotonic() + DEADLINE_S
    while wanted not in said:
        ready, _, _ = select.select([master], [], [], max(0, end - time.monotonic()))
        assert ready, said
        said += os.read(master, 65536)
    return said


def drain(master: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass


# --- looking


def test_ps(docker: Docker) -> None:
    docker("run", "-d", "--name", "up", "-p", "80", "busybox", "top")
    docker("run", "--name", "over", "busybox", "sh", "-c", "exit 2", status=2)
    head, row = docker("ps").stdout.decode().splitlines()
    assert head.split() == [
        "CONTAINER",
        "ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    assert re.search(r'busybox\s+"top".*Up .*0\.0\.0\.0:\d+->80/tcp.*up\Z', row)
    assert (
        text(docker("ps", "-a", "--format", "{{.Names}} {{.State}}")) == "over exited\nup running"
    )
    assert text(docker("ps", "-aq", "-f", "exited=2", "--no-trunc")) == text(
        docker("inspect", "-f", "{{.Id}}", "over")
    )
    assert "Exited (2)" in text(docker("ps", "-a", "-f", "name=over", "--format", "{{.Status}}"))
    assert re.fullmatch(
        r"80/tcp -> 0\.0\.0\.0:\d+(\n80/tcp -> \[::\]:\d+)?", text(docker("port", "up"))
    )


def test_inspect(docker: Docker) -> None:
    docker("create", "--name", "seen", "-v", "/data", "busybox", "true")
    shown = json.loads(docker("inspect", "-s", "seen").stdout)[0]
    assert shown["Name"] == "/seen" and shown["State"]["Status"] == "created"
    assert shown["SizeRootFs"] > 0 and shown["Mounts"][0]["Destination"] == "/data"
    done = docker("inspect", "nobody", status=1)
    assert done.stdout == b"[]\n" and b"No such object: nobody" in done.stderr


def test_errors_read_as_always(docker: Docker) -> None:
    said = docker("logs", "nobody", status=1).stderr
    assert said == b"Error response from daemon: No such container: nobody\n"
    docker("create", "--name", "twice", "busybox")
    said = docker("create", "--name", "twice", "busybox", status=1).stderr
    assert b'Conflict. The container name "/twice" is already in use by container' in said
    said = docker("swarm", "leave", status=1).stderr
    assert said == b"Error response from daemon: This node is not part of a swarm\n"
    assert b"not a swarm manager" in docker("service", "ls", status=1).stderr


def test_top_stats_diff_port(docker: Docker) -> None:
    docker("run", "-d", "--name", "busy", "busybox", "sh", "-c", "echo > /made; exec sleep 600")
    until(lambda: b"A /made" in docker("diff", "busy").stdout, "the file shows")
    assert docker("top", "busy", "-o", "pid,args").stdout.splitlines()[1].endswith(b"sleep 600")
    form = "{{.Name}} {{.PIDs}} {{.MemUsage}}"
    name, pids, used, *_ = text(docker("stats", "--no-stream", "--format", form, "busy")).split()
    assert (name, pids) == ("busy", "1") and re.match(r"[\d.]+[KM]iB", used)


def test_events(docker: Docker, env: dict[str, str]) -> None:
    form = "{{.Action}} {{.Actor.Attributes.name}}"
    with subprocess.Popen(
        ["docker", "events", "-f", "container=told", "--format", form, "--since", "1"],
        stdout=subprocess.PIPE, env=env,
    ) as process:  # fmt: skip
        docker("run", "--rm", "--name", "told", "busybox", "true")
        assert process.stdout is not None
        seen = []
        while not seen or seen[-1] != b"destroy told\n":
            seen.append(process.stdout.readline())
        process.kill()
    actions = [line.split()[0] for line in seen]
    assert actions == [b"create", b"attach", b"start", b"die", b"destroy"]


def test_version_and_info(docker: Docker) -> None:
    assert text(docker("version", "-f", "{{.Server.APIVersion}}")) == "1.51"
    info = docker("info").stdout.decode()
    assert "Server Version:" in info and "Storage Driver: overlay2" in info
    assert docker("system", "df").stdout.split()[:2] == [b"TYPE", b"TOTAL"]
    docker("system", "df", "-v")


# --- changing


def test_exec(docker: Docker) -> None:
    docker("run", "-d", "--name", "host", "busybox", "top")
    done = docker(
        "exec", "-e", "V=w", "-w", "/tmp", "-u", "1000", "host", "sh", "-c", "echo $V; pwd; id -u"
    )
    assert done.stdout == b"w\n/tmp\n1000\n"
    assert docker("exec", "-i", "host", "wc", "-c", stdin=b"12345").stdout.strip() == b"5"
    docker("exec", "host", "sh", "-c", "exit 3", status=3)
    assert b"executable file not found" in docker("exec", "host", "nope", status=127).stdout
    docker("exec", "-d", "host", "touch", "/done")
    until(lambda: b"A /done" in docker("diff", "host").stdout, "the detached exec ran")
    docker("pause", "host")
    said = docker("exec", "host", "true", status=1).stderr
    assert b"is paused, unpause the container before exec" in said
    docker("unpause", "host")


def test_attach(docker: Docker, env: dict[str, str]) -> None:
    docker("run", "-d", "-i", "--name", "talk", "busybox", "sh", "-c", "read x; echo $x; exit 4")
    assert docker("attach", "talk", stdin=b"hello\n", status=4).stdout == b"hello\n"
    docker("create", "-i", "--name", "later", "busybox", "cat")
    assert docker("start", "-ai", "later", stdin=b"piped").stdout == b"piped"


def test_lifecycle(docker: Docker) -> None:
    docker("run", "-d", "--name", "old", "busybox", "top")
    assert text(docker("restart", "-t", "0", "old")) == "old"
    docker("rename", "old", "new")
    docker("update", "--memory", "64m", "--memory-swap", "-1", "new")
    assert text(docker("inspect", "-f", "{{.HostConfig.Memory}}", "new")) == str(64 << 20)
    assert text(docker("stop", "-t", "0", "new")) == "new"
    assert text(docker("start", "new")) == "new"
    said = docker("rm", "new", status=1).stderr
    assert said.endswith(
        b'cannot remove container "new": container is running: stop the container before removing '
        b"or force remove\n"
    )
    assert text(docker("kill", "-s", "KILL", "new")) == "new"
    assert text(docker("wait", "new")) == "137"
    assert text(docker("rm", "new")) == "new"
    assert b"Deleted Containers" not in docker("container", "prune", "-f").stdout


def test_restart_policy_and_health(docker: Docker) -> None:
    docker("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "false")
    form = "{{.RestartCount}} {{.State.Status}}"
    until(lambda: text(docker("inspect", "-f", form, "again")) == "2 exited", "two restarts")
    check = ("--health-cmd", "test -e /ok || exit 1", "--health-interval", "200ms")
    docker("run", "-d", "--name", "well", *check, "--health-retries", "1", "busybox", "top")
    health = ("inspect", "-f", "{{.State.Health.Status}}", "well")
    until(lambda: text(docker(*health)) == "unhealthy", "it is unhealthy")
    docker("exec", "well", "touch", "/ok")
    until(lambda: text(docker(*health)) == "healthy", "it is healthy")
    assert "(healthy)" in text(docker("ps", "-f", "health=healthy", "--format", "{{.Status}}"))


# --- files, images, volumes


def test_cp(docker: Docker, tmp_path: Path) -> None:
    docker("create", "--name", "box", "busybox", "true")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("text")
    docker("cp", str(tmp_path / "dir"), "box:/tmp/")
    docker("cp", f"{tmp_path}/dir/.", "box:/opt")
    docker("cp", "box:/tmp/dir/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "text"
    streamed = docker("cp", "box:/opt", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(streamed)) as archive:
        assert "opt/file" in archive.getnames()
    docker("cp", "-", "box:/var", stdin=streamed)
    docker("run", "-d", "--name", "live", "-h", "named", "busybox", "top")
    docker("cp", "live:/etc/hostname", str(tmp_path / "hostname"))
    assert (tmp_path / "hostname").read_text() == "named\n"
    said = docker("cp", "box:/missing", str(tmp_path), status=1).stderr
    assert b"Could not find the file /missing in container box" in said


def test_commit_save_load_export_import(docker: Docker, tmp_path: Path) -> None:
    docker("run", "--name", "src", "busybox", "sh", "-c", "echo kept > /kept")
    image = text(docker("commit", "-a", "me", "-c", 'CMD ["cat", "/kept"]', "src", "made:1"))
    assert image.startswith("sha256:")
    docker("tag", "made:1", "made:2")
    docker("save", "-o", str(tmp_path / "made.tar"), "made:1", "made:2")
    docker("rm", "src")
    said = docker("rmi", "made:1", "made:2").stdout.decode()
    assert "Untagged: made:1" in said and f"Deleted: {image}" in said
    assert docker("load", "-i", str(tmp_path / "made.tar")).stdout.splitlines() == [
        b"Loaded image: made:1",
        b"Loaded image: made:2",
    ]
    assert docker("run", "--name", "use", "made:2").stdout == b"kept\n"
    flat = docker("export", "use").stdout
    docker("rm", "use")
    docker("import", "-c", "CMD cat /kept", "-", "flat:1", stdin=flat)
    assert docker("run", "--rm", "flat:1").stdout == b"kept\n"
    rows = text(docker("images", "--format", "{{.Repository}}:{{.Tag}}")).splitlines()
    assert {"made:1", "made:2", "flat:1", "busybox:latest"} <= set(rows)
    assert len(docker("history", "-q", "made:1").stdout.splitlines()) == 2
    form = "{{json .Config.Labels}} {{json .Config.Entrypoint}} {{json .Config.Cmd}}"
    assert text(docker("image", "inspect", "-f", form, "made:1")) == 'null null ["cat","/kept"]'
    docker("rmi", "-f", "made:1", "made:2", "flat:1")
    said = docker("load", stdin=b"nothing", status=1).stderr
    assert b"unexpected" in said
    assert (
        b"No such image: none:latest"
        in docker("inspect", "--type=image", "none:latest", status=1).stderr
    )


def test_volumes(docker: Docker) -> None:
    assert text(docker("volume", "create", "--label", "l=1", "keep")) == "keep"
    docker("run", "--rm", "-v", "keep:/d", "busybox", "sh", "-c", "echo v > /d/f")
    mount = ("--mount", "type=volume,src=keep,dst=/d,readonly")
    assert docker("run", "--rm", *mount, "busybox", "cat", "/d/f").stdout == b"v\n"
    docker("run", "--rm", *mount, "busybox", "touch", "/d/g", status=1)
    docker("create", "--name", "user", "-v", "keep:/d", "busybox")
    assert b"volume is in use" in docker("volume", "rm", "keep", status=1).stderr
    docker("rm", "user")
    assert text(docker("volume", "ls", "-q", "-f", "label=l=1")) == "keep"
    assert text(docker("volume", "rm", "keep")) == "keep"
    assert b"no such volume" in docker("volume", "inspect", "keep", status=1).stderr


def test_networks_and_namespaces(docker: Docker) -> None:
    assert set(text(docker("network", "ls", "--format", "{{.Name}}")).split()) == {
        "bridge",
        "host",
        "none",
    }
    docker("run", "-d", "--name", "first", "-h", "shared", "busybox", "top")
    join = ("--network", "container:first", "--pid", "container:first")
    out = docker("run", "--rm", *join, "busybox", "sh", "-c", "hostname; ps").stdout
    assert out.startswith(b"shared\n") and b"top" in out
    out = docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").stdout
    assert out.split() == [b"lo"]
