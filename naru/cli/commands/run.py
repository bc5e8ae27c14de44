"""`naru run`: create a container, attach to it, start it, and end with its exit status.

Order matters: streams are attached and the wait begins before the start, so that no byte and no
status of a short-lived container is missed.
"""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError, RunError
from naru.cli.commands.create import create
from naru.cli.create_flags import CONTAINER_FLAGS
from naru.cli.create_request import build, check_pull
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.http.client import Response

FLAGS = Flags(
    *CONTAINER_FLAGS,
    Flag("detach", "d", BOOL, "Run container in background and print container ID"),
    Flag("detach-keys", "", STRING, "Override the key sequence for detaching a container"),
    Flag("sig-proxy", "", BOOL, "Proxy received signals to the process", True),
)
NOT_FOUND = ("executable file not found", "no such file or directory", "cannot find the file")
NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")


def start_failure(error: NaruError) -> int:
    """The exit status for a container that could not be started."""
    text = error.message
    if any(part in text for part in NOT_FOUND):
        return 127
    return 126 if any(part in text for part in NOT_EXECUTABLE) else 125


def _prepare(values: Values, arguments: list[str]) -> dict[str, Any]:
    try:
        check_pull(values["pull"])
        body = build(values, arguments[0], arguments[1:])
    except CommandError as error:
        raise RunError(error.message, 125) from error
    if values["detach"]:
        if values["attach"]:
            raise CommandError("conflicting options: cannot specify both --attach and --detach")
        body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
        return body
    if body["Tty"]:
        from naru.cli.attached import check_terminal
        from naru.cli.terminal import size

        check_terminal(body["AttachStdin"], True)
        body["HostConfig"]["ConsoleSize"] = list(size())
    return body


def run(session: Session, values: Values, arguments: list[str]) -> int:
    body = _prepare(values, arguments)
    keys = ""
    attached = body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]
    if attached:
        from naru.cli.attached import detach_keys

        keys = detach_keys(session, values["detach-keys"])
    try:
        identifier = create(session, values, body)
    except NaruError as error:
        raise RunError(error.message, 125) from error
    if not attached:
        return _run_apart(session, values, identifier)
    return _run_attached(session, values, body, identifier, keys)


def _run_apart(session: Session, values: Values, identifier: str) -> int:
    try:
        containers.start(session.engine, identifier)
    except NaruError as error:
        sys.stdout.write(identifier + "\n")
        raise RunError(error.message, start_failure(error)) from error
    sys.stdout.write(identifier + "\n")
    return 0


def _wait(session: Session, values: Values, identifier: str) -> Response:
    return containers.wait(session.engine, identifier, "removed" if values["rm"] else "next-exit")


def _run_attached(
    session: Session, values: Values, body: dict[str, Any], identifier: str, keys: str
) -> int:
    from naru.cli.attached import attach_parameters, of_container

    engine = session.engine
    stdin: bool = body["AttachStdin"]
    streams = of_container(engine, identifier, body["Tty"], stdin, keys, values["sig-proxy"])
    with streams:
        try:
            peer, _ = containers.attach(
                engine,
                identifier,
                attach_parameters(stdin, body["AttachStdout"], body["AttachStderr"], keys),
            )
            waiting = _wait(session, values, identifier)
        except NaruError as error:
            raise RunError(error.message, 125) from error
        try:
            containers.start(engine, identifier)
        except NaruError as error:
            peer.close()
            if values["rm"]:
                waiting.read()
            raise RunError(error.message, start_failure(error)) from error
        streams.tell_size()
        if streams.stream(peer):
            return 0
        return streams.exit_code(waiting)


RUN = Command(
    run,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    FLAGS,
    least=1,
    most=None,
    stop_early=True,
)
