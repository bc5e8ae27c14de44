"""`naru attach`: our standard streams on a running container's."""

from __future__ import annotations

from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("detach-keys", "", STRING, "Override the key sequence for detaching a container"),
    Flag("no-stdin", "", BOOL, "Do not attach STDIN"),
    Flag("sig-proxy", "", BOOL, "Proxy all received signals to the process", True),
)


def run(session: Session, values: Values, arguments: list[str]) -> int:
    from naru.cli.attached import attach_parameters, check_terminal, detach_keys, of_container

    engine, name = session.engine, arguments[0]
    found = containers.inspect(engine, name)
    state = found["State"]
    if not state["Running"]:
        raise CommandError("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CommandError("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CommandError("You cannot attach to a restarting container, wait until it is running")
    config = found["Config"]
    tty: bool = config["Tty"]
    stdin: bool = config["OpenStdin"] and not values["no-stdin"]
    check_terminal(stdin, tty)
    keys = detach_keys(session, values["detach-keys"])
    proxy = values["sig-proxy"] and not tty
    with of_container(engine, name, tty, stdin, keys, proxy) as streams:
        waiting = containers.wait(engine, name, "")
        peer, _ = containers.attach(engine, name, attach_parameters(stdin, True, True, keys))
        streams.redraw()
        if streams.stream(peer):
            raise CommandError("read escape sequence")
        return streams.exit_code(waiting)


ATTACH = Command(
    run,
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    FLAGS,
    1,
    1,
)
