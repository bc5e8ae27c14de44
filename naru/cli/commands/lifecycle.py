"""The commands that do one thing to each container named: stop, restart, kill, rm, rename, pause,
unpause, wait."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.each import for_each
from naru.cli.flags import BOOL, INT, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.client.engine import Engine

CONTAINERS = "CONTAINER [CONTAINER...]"
WITH_OPTIONS = f"[OPTIONS] {CONTAINERS}"


def _ending_flags() -> Flags:
    return Flags(
        Flag("signal", "s", STRING, "Signal to send to the container"),
        Flag("timeout", "t", INT, "Seconds to wait before killing the container"),
        Flag("time", "", INT, "", alias_of="timeout"),
    )


def _timeout(values: Values) -> int | None:
    timeout: int = values["timeout"]
    return timeout if "timeout" in values.given else None


def stop(session: Session, values: Values, arguments: list[str]) -> None:
    timeout, signal = _timeout(values), values["signal"]
    for_each(session, arguments, lambda api, name: containers.stop(api, name, timeout, signal))


def restart(session: Session, values: Values, arguments: list[str]) -> None:
    timeout, signal = _timeout(values), values["signal"]
    for_each(
        session,
        arguments,
        lambda api, name: containers.restart(api, name, timeout, signal),
        parallel=False,
    )


def kill(session: Session, values: Values, arguments: list[str]) -> None:
    for_each(session, arguments, lambda api, name: containers.kill(api, name, values["signal"]))


def remove(session: Session, values: Values, arguments: list[str]) -> None:
    force, volumes, link = values["force"], values["volumes"], values["link"]

    def one(api: Engine, name: str) -> str | None:
        name = name.strip("/")
        if not name:
            raise CommandError("Container name cannot be empty")
        try:
            containers.remove(api, name, force, volumes, link)
        except NaruError as error:
            if force and getattr(error, "status", 0) == 404:
                sys.stderr.write(error.message + "\n")
                return ""
            raise
        return None

    for_each(session, arguments, one)


def rename(session: Session, values: Values, arguments: list[str]) -> None:
    old, new = (name.strip() for name in arguments)
    if not old or not new:
        raise CommandError("Error: Neither old nor new names may be empty")
    try:
        containers.rename(session.engine, old, new)
    except NaruError as error:
        raise CommandError(
            f"{error.message}\nError: failed to rename container named {old}"
        ) from error


def pause(session: Session, values: Values, arguments: list[str]) -> None:
    for_each(session, arguments, containers.pause)


def unpause(session: Session, values: Values, arguments: list[str]) -> None:
    for_each(session, arguments, containers.unpause)


def wait(session: Session, values: Values, arguments: list[str]) -> None:
    from naru.cli.attached import read_exit

    def one(api: Engine, name: str) -> str:
        return str(read_exit(containers.wait(api, name, "")))

    for_each(session, arguments, one, parallel=False)


STOP = Command(stop, WITH_OPTIONS, "Stop one or more running containers", _ending_flags(), 1, None)
RESTART = Command(restart, WITH_OPTIONS, "Restart one or more containers", _ending_flags(), 1, None)
KILL = Command(
    kill,
    WITH_OPTIONS,
    "Kill one or more running containers",
    Flags(Flag("signal", "s", STRING, "Signal to send to the container")),
    1,
    None,
)
RM = Command(
    remove,
    WITH_OPTIONS,
    "Remove one or more containers",
    Flags(
        Flag("force", "f", BOOL, "Force the removal of a running container (uses SIGKILL)"),
        Flag("link", "l", BOOL, "Remove the specified link"),
        Flag("volumes", "v", BOOL, "Remove anonymous volumes associated with the container"),
    ),
    1,
    None,
)
RENAME = Command(rename, "CONTAINER NEW_NAME", "Rename a container", None, 2, 2)
PAUSE = Command(
    pause, CONTAINERS, "Pause all processes within one or more containers", None, 1, None
)
UNPAUSE = Command(
    unpause, CONTAINERS, "Unpause all processes within one or more containers", None, 1, None
)
WAIT = Command(
    wait,
    CONTAINERS,
    "Block until one or more containers stop, then print their exit codes",
    None,
    1,
    None,
)
