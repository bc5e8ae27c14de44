"""`naru start`: start stopped containers, or one of them with its streams attached."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("attach", "a", BOOL, "Attach STDOUT/STDERR and forward signals"),
    Flag("detach-keys", "", STRING, "Override the key sequence for detaching a container"),
    Flag("interactive", "i", BOOL, "Attach container's STDIN"),
)


def run(session: Session, values: Values, arguments: list[str]) -> int:
    if values["attach"] or values["interactive"]:
        if len(arguments) > 1:
            raise CommandError("you cannot start and attach multiple containers at once")
        return _start_attached(session, values, arguments[0])
    failed = []
    for name in arguments:
        try:
            containers.start(session.engine, name)
            sys.stdout.write(name + "\n")
            sys.stdout.flush()
        except NaruError as error:
            sys.stderr.write(error.message + "\n")
            failed.append(name)
    if failed:
        raise CommandError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(session: Session, values: Values, name: str) -> int:
    from naru.cli.attached import attach_parameters, check_terminal, detach_keys, of_container

    engine = session.engine
    found = containers.inspect(engine, name)
    config, identifier = found["Config"], found["Id"]
    tty: bool = config["Tty"]
    stdin: bool = values["interactive"] and config["OpenStdin"]
    check_terminal(stdin, tty)
    keys = detach_keys(session, values["detach-keys"])
    with of_container(engine, identifier, tty, stdin, keys, proxy=not tty) as streams:
        peer, _ = containers.attach(engine, identifier, attach_parameters(stdin, True, True, keys))
        removes = (found.get("HostConfig") or {}).get("AutoRemove")
        waiting = containers.wait(engine, identifier, "removed" if removes else "next-exit")
        try:
            containers.start(engine, identifier)
        except NaruError:
            peer.close()
            waiting.close()
            raise
        streams.tell_size()
        if streams.stream(peer):
            return 0
        return streams.exit_code(waiting)


START = Command(
    run,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    FLAGS,
    1,
    None,
)
