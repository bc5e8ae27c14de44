"""`naru exec`: one more process in a running container."""

from __future__ import annotations

from naru.cli.command import Command, CommandError
from naru.cli.create_request import read_lines
from naru.cli.create_values import ENVIRONMENT
from naru.cli.flags import BOOL, LIST, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("detach", "d", BOOL, "Detached mode: run command in the background"),
    Flag("detach-keys", "", STRING, "Override the key sequence for detaching a container"),
    Flag("env", "e", ENVIRONMENT, "Set environment variables"),
    Flag("env-file", "", LIST, "Read in a file of environment variables"),
    Flag("interactive", "i", BOOL, "Keep STDIN open even if not attached"),
    Flag("privileged", "", BOOL, "Give extended privileges to the command"),
    Flag("tty", "t", BOOL, "Allocate a pseudo-TTY"),
    Flag("user", "u", STRING, 'Username or UID (format: "<name|uid>[:<group|gid>]")'),
    Flag("workdir", "w", STRING, "Working directory inside the container"),
)


def build(values: Values, command: list[str], keys: str) -> dict[str, Any]:
    """The body of the exec's creation. Raises: CommandError."""
    try:
        files = [line for path in values["env-file"] for line in read_lines(path, True)]
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CommandError(f"open {error.filename}: {reason}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    attached = not values["detach"]
    return {
        "User": values["user"], "Privileged": values["privileged"], "Tty": values["tty"],
        "AttachStdin": attached and values["interactive"], "AttachStderr": attached,
        "AttachStdout": attached, "DetachKeys": keys, "Env": files + values["env"],
        "WorkingDir": values["workdir"], "Cmd": command,
    }  # fmt: skip


def run(session: Session, values: Values, arguments: list[str]) -> int:
    from naru.cli.attached import Attached, check_terminal, detach_keys
    from naru.cli.terminal import size

    name, command = arguments[0], arguments[1:]
    if not name:
        raise CommandError("container ID cannot be empty")
    engine = session.engine
    keys = detach_keys(session, values["detach-keys"])
    body = build(values, command, keys)
    containers.inspect(engine, name)
    tty: bool = values["tty"]
    if values["detach"]:
        identifier = containers.exec_create(engine, name, body)
        containers.exec_start(engine, identifier, {"Detach": True, "Tty": tty})
        return 0
    check_terminal(values["interactive"], tty)
    start: dict[str, Any] = {"Detach": False, "Tty": tty}
    if tty:
        start["ConsoleSize"] = body["ConsoleSize"] = list(size())
    identifier = containers.exec_create(engine, name, body)

    def resize(height: int, width: int) -> None:
        containers.exec_resize(engine, identifier, height, width)

    with Attached(tty, values["interactive"], keys, resize, None) as streams:
        peer, _ = containers.exec_attach(engine, identifier, start)
        streams.tell_size()
        if streams.stream(peer):
            raise CommandError("read escape sequence")
    code: int = containers.exec_inspect(engine, identifier)["ExitCode"] or 0
    return code


EXEC = Command(
    run,
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    FLAGS,
    2,
    None,
    stop_early=True,
)
