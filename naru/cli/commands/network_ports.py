"""`naru network ports`: every published port, who reaches it, and the rule that lets them.

An audit that Naru's engine serves and others do not.
"""

from __future__ import annotations

import sys

from naru.base.text import visible_line
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, FILTER, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped, warn_ignored_format
from naru.cli.render import Noun, View, show
from naru.client import networks
from naru.client.engine import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

_FILTERS = ("container", "network", "port")
_SHORT_ID = 12
_NOT_FOUND = 404


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _outside(item: Any) -> str:
    """Where the port is met: at the host, or at the container when the host forwards none."""
    if item["HostPort"]:
        return _at(item["HostIP"], item["HostPort"])
    return _at(item["TargetIP"], item["ContainerPort"])


def _published(item: Any, view: View) -> str:
    inside = f"->{item['ContainerPort']}" if item["HostPort"] else ""
    return f"{_outside(item)}{inside}/{item['Proto']}"


def _id(item: Any, view: View) -> str:
    identifier: str = item["ContainerID"]
    return identifier if view.full else identifier[:_SHORT_ID]


PORT = Noun(
    "*network.portContext",
    {
        "Container": lambda item, view: item["Container"],
        "ContainerID": _id,
        "ContainerPort": lambda item, view: str(item["ContainerPort"]),
        "HostFirewall": lambda item, view: item["HostFirewall"],
        "HostIP": lambda item, view: item["HostIP"],
        "HostPort": lambda item, view: str(item["HostPort"]),
        "Network": lambda item, view: item["Network"],
        "Proto": lambda item, view: item["Proto"],
        "Published": _published,
        "Reach": lambda item, view: item["Reach"],
        "Rule": lambda item, view: item["Rule"],
        "Sources": lambda item, view: ",".join(item.get("Sources") or ()),
        "TargetIP": lambda item, view: item["TargetIP"],
    },
    {
        "ContainerID": "CONTAINER ID", "ContainerPort": "CONTAINER PORT",
        "HostFirewall": "HOST FIREWALL", "HostIP": "HOST IP", "HostPort": "HOST PORT",
        "TargetIP": "TARGET IP",
    },
    ("Container", "Network", "Published", "Reach", "HostFirewall", "Rule"),
)  # fmt: skip


def _checked(chosen: dict[str, list[str]]) -> dict[str, list[str]]:
    """The filters, when they are ones. Raises: CommandError."""
    for name, values in chosen.items():
        if name not in _FILTERS:
            raise CommandError(f"invalid filter '{name}': it is one of {', '.join(_FILTERS)}")
        for value in values if name == "port" else ():
            number, slash, proto = value.partition("/")
            if not (number.isascii() and number.isdigit()) or (slash and not proto):
                raise CommandError(f"invalid filter 'port={value}': it is PORT or PORT/PROTOCOL")
    return chosen


def _is_wanted(item: Any, chosen: dict[str, list[str]]) -> bool:
    for name, values in chosen.items():
        if name == "container":
            fits = any(
                value == item["Container"] or (value and item["ContainerID"].startswith(value))
                for value in values
            )
        elif name == "network":
            fits = item["Network"] in values
        else:
            fits = any(_is_port(item, value) for value in values)
        if not fits:
            return False
    return True


def _is_port(item: Any, text: str) -> bool:
    number, _, proto = text.partition("/")
    return int(number) == item["HostPort"] and proto in ("", item["Proto"])


def run(session: Session, values: Values, arguments: list[str]) -> None:
    chosen = _checked(grouped(values["filter"]))
    try:
        every = networks.ports(session.engine)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        raise CommandError(
            f"the engine at {session.engine.host} has no audit of published ports: "
            "it is not Naru's, or an older one"
        ) from error
    found = [item for item in every if _is_wanted(item, chosen)]
    if values["quiet"]:
        warn_ignored_format(values)
        lines = (visible_line(f"{_outside(item)}/{item['Proto']}") for item in found)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return
    show(PORT, found, View(values["no-trunc"]), values["format"])


PORTS = Command(
    run,
    "[OPTIONS]",
    "Show published ports, who can reach them, and by which rule",
    Flags(
        Flag(
            "filter", "f", FILTER,
            'Provide filter values ("container=NAME", "network=NAME", "port=8080/tcp")',
        ),
        Flag("format", "", STRING_FORMAT, FORMAT_HELP),
        Flag("no-trunc", "", BOOL, "Do not truncate the output"),
        Flag("quiet", "q", BOOL, "Only display addresses and ports"),
    ),
)  # fmt: skip
