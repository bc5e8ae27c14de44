"""`naru network create`, `ls`, `rm`, `connect` and `disconnect`."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.base.text import visible, visible_line
from naru.cli.command import Command, CommandError
from naru.cli.confirm import confirmed
from naru.cli.create_network import endpoint, read_driver_option
from naru.cli.create_values import LABELS, LINKS, OPTIONS
from naru.cli.flags import BOOL, FILTER, INT, STRING, STRINGS, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped
from naru.cli.ipam import build_ipam
from naru.cli.natural import natural_key
from naru.cli.nouns_image import NETWORK
from naru.cli.render import View, show
from naru.client import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session


def create(session: Session, values: Values, arguments: list[str]) -> None:
    try:
        plan = build_ipam(values)
    except ValueError as error:
        raise CommandError(str(error)) from error
    body: dict[str, Any] = {
        "Name": arguments[0], "Driver": values["driver"], "Scope": values["scope"],
        "IPAM": plan, "Internal": values["internal"], "Attachable": values["attachable"],
        "Ingress": values["ingress"], "ConfigOnly": values["config-only"], "ConfigFrom": None,
        "Options": dict(values["opt"]),
        "Labels": dict(text.partition("=")[::2] for text in values["label"]),
    }  # fmt: skip
    if values["config-from"]:
        body["ConfigFrom"] = {"Network": values["config-from"]}
    for flag, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in values.given:
            body[key] = values[flag]
    identifier, warning = networks.create(session.engine, body)
    if warning:
        sys.stderr.write(visible_line(f"WARNING: {warning}") + "\n")
    sys.stdout.write(identifier + "\n")


def list_all(session: Session, values: Values, arguments: list[str]) -> None:
    found = networks.list_networks(session.engine, grouped(values["filter"]))
    found.sort(key=lambda item: natural_key(item["Name"]))
    full, quiet, form = values["no-trunc"], values["quiet"], values["format"]
    if not form and not quiet:
        form = session.config_text("networksFormat")
    if quiet and form in ("", "table"):
        ids = (item["Id"] if full else item["Id"][:12] for item in found)
        sys.stdout.write("".join(f"{identifier}\n" for identifier in ids))
    elif quiet and form == "raw":
        show(NETWORK, found, View(full), "network_id: {{.ID}}")
    else:
        show(NETWORK, found, View(full), form)


_INGRESS_WARNING = (
    "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run "
    "the same engine version. Otherwise, removal may not be effective and functionality of newly "
    "created ingress networks will be impaired."
)


def _is_kept(session: Session, name: str) -> bool:
    """Whether the network at `name` is the routing mesh's, and the user wants to keep it."""
    try:
        found = networks.inspect(session.engine, name)
    except NaruError:
        return False
    return bool(found.get("Ingress")) and not confirmed(_INGRESS_WARNING)


def remove(session: Session, values: Values, arguments: list[str]) -> None:
    failed = False
    for name in arguments:
        try:
            if _is_kept(session, name):
                continue
            networks.remove(session.engine, name)
            sys.stdout.write(visible_line(name) + "\n")
        except NaruError as error:
            if values["force"] and getattr(error, "status", 0) == 404:
                continue
            sys.stdout.flush()
            sys.stderr.write(visible(error.message) + "\n")
            failed = True
    if failed:
        raise CommandError("exit status 1")


def connect(session: Session, values: Values, arguments: list[str]) -> None:
    try:
        options = dict(read_driver_option(text, "key/value") for text in values["driver-opt"])
    except ValueError as error:
        raise CommandError(str(error)) from error
    addresses = {
        "IPv4Address": values["ip"], "IPv6Address": values["ip6"],
        "LinkLocalIPs": values["link-local-ip"],
    }  # fmt: skip
    settings = endpoint(
        IPAMConfig={name: value for name, value in addresses.items() if value},
        Links=values["link"] or None, Aliases=values["alias"], DriverOpts=options,
        GwPriority=values["gw-priority"],
    )  # fmt: skip
    networks.connect(session.engine, arguments[0], arguments[1], settings)


def disconnect(session: Session, values: Values, arguments: list[str]) -> None:
    networks.disconnect(session.engine, arguments[0], arguments[1], values["force"])


CREATE = Command(
    create,
    "[OPTIONS] NETWORK",
    "Create a network",
    Flags(
        Flag("attachable", "", BOOL, "Enable manual container attachment"),
        Flag("aux-address", "", OPTIONS, "Auxiliary addresses used by the network driver"),
        Flag("config-from", "", STRING, "The network from which to copy the configuration"),
        Flag("config-only", "", BOOL, "Create a configuration only network"),
        Flag("driver", "d", STRING, "Driver to manage the network", "bridge", shown="bridge"),
        Flag("gateway", "", STRINGS, "IPv4 or IPv6 gateway for the subnet"),
        Flag("ingress", "", BOOL, "Create swarm routing-mesh network"),
        Flag("internal", "", BOOL, "Restrict external access to the network"),
        Flag("ip-range", "", STRINGS, "Allocate container ip from a sub-range"),
        Flag("ipam-driver", "", STRING, "Address management driver", "default", shown="default"),
        Flag("ipam-opt", "", OPTIONS, "Set address management options"),
        Flag("ipv4", "", BOOL, "Enable or disable IPv4 address assignment", True),
        Flag("ipv6", "", BOOL, "Enable or disable IPv6 address assignment"),
        Flag("label", "", LABELS, "Set metadata on a network"),
        Flag("opt", "o", OPTIONS, "Set driver specific options"),
        Flag("scope", "", STRING, "Control the network's scope"),
        Flag("subnet", "", STRINGS, "Subnet in CIDR format"),
    ),
    1,
    1,
)
LS = Command(
    list_all,
    "[OPTIONS]",
    "List networks",
    Flags(
        Flag("filter", "f", FILTER, 'Provide filter values (e.g. "driver=bridge")'),
        Flag("format", "", STRING_FORMAT, FORMAT_HELP),
        Flag("no-trunc", "", BOOL, "Do not truncate the output"),
        Flag("quiet", "q", BOOL, "Only display network IDs"),
    ),
)
RM = Command(
    remove,
    "NETWORK [NETWORK...]",
    "Remove one or more networks",
    Flags(Flag("force", "f", BOOL, "Do not error if the network does not exist")),
    1,
    None,
)
CONNECT = Command(
    connect,
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container to a network",
    Flags(
        Flag("alias", "", STRINGS, "Add network-scoped alias for the container"),
        Flag("driver-opt", "", STRINGS, "Driver options for the network"),
        Flag(
            "gw-priority", "", INT,
            "Highest gw-priority provides the default gateway. Accepts positive and negative "
            "values.",
        ),
        Flag("ip", "", STRING, 'IPv4 address (e.g., "172.30.100.104")'),
        Flag("ip6", "", STRING, 'IPv6 address (e.g., "2001:db8::33")'),
        Flag("link", "", LINKS, "Add link to another container"),
        Flag("link-local-ip", "", STRINGS, "Add a link-local address for the container"),
    ),
    2,
    2,
)  # fmt: skip
DISCONNECT = Command(
    disconnect,
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network",
    Flags(Flag("force", "f", BOOL, "Force the container to disconnect from a network")),
    2,
    2,
)
