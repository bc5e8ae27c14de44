"""`naru port`: where a container's ports are published."""

from __future__ import annotations

import sys

from naru.cli.command import Command, CommandError
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session


def _host(binding: dict[str, str]) -> str:
    ip = binding["HostIp"]
    return f"[{ip}]:{binding['HostPort']}" if ":" in ip else f"{ip}:{binding['HostPort']}"


def run(session: Session, values: Values, arguments: list[str]) -> None:
    name = arguments[0]
    found = containers.inspect(session.engine, name)
    ports: dict[str, list[dict[str, str]] | None] = found["NetworkSettings"]["Ports"] or {}
    if len(arguments) > 1:
        number, slash, protocol = arguments[1].partition("/")
        wanted = f"{number}/{protocol if slash else 'tcp'}"
        if not number.isdigit():
            raise CommandError(f"Error: invalid port ({number}): it is not a number")
        bindings = ports.get(wanted)
        if not bindings:
            raise CommandError(f"Error: No public port '{arguments[1]}' published for {name}")
        lines = [_host(binding) for binding in bindings]
    else:
        lines = [
            f"{port} -> {_host(binding)}"
            for port, bindings in sorted(ports.items(), key=_order)
            for binding in bindings or ()
        ]
    sys.stdout.write("".join(line + "\n" for line in lines))


def _order(item: tuple[str, object]) -> tuple[int, str]:
    number, _, protocol = item[0].partition("/")
    return int(number), protocol


PORT = Command(
    run,
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    None,
    1,
    2,
)
