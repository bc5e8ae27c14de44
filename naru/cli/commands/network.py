"""`naru network create`, `ls`, `rm`, `connect` and `disconnect`."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.create_values import LABELS, LINKS, PAIRS
from naru.cli.flags import BOOL, FILTER, INT, STRING, STRINGS, Flag, Flags
from naru.cli.formats import FORMAT_HELP, STRING_FORMAT, grouped, warn_ignored_format
from naru.cli.nouns_image import NETWORK
from naru.cli.render import View, show
from naru.client import networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session


def _inside(address: str, subnet: str) -> bool:
    import ipaddress

    try:
        network = ipaddress.ip_network(subnet, strict=False)
        inner = ipaddress.ip_network(address, strict=False)
    except ValueError as error:
        raise CommandError(f"invalid CIDR address: {error}") from error
    return inner.version == network.version and inner[0] in network


def ipam(values: Values) -> dict[str, Any]:
    """The address plan that the flags describe. Raises: CommandError."""
    plan: dict[str, dict[str, Any]] = {subnet: {"Subnet": subnet} for subnet in values["subnet"]}
    for flag, key in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for address in values[flag]:
            home = next((subnet for subnet in plan if _inside(address, subnet)), "")
            if not home:
                raise CommandError(f"no matching subnet for {flag.replace('ip-', '')} {address}")
            if key in plan[home]:
                raise CommandError(f"cannot configure multiple {flag}s on the same subnet")
            plan[home][key] = address
    for name, address in values["aux-address"]:
        home = next((subnet for subnet in plan if _inside(address, subnet)), "")
        if not home:
            raise CommandError(f"no matching subnet for aux-address {address}")
        plan[home].setdefault("AuxiliaryAddresses", {})[name] = address
    return {
        "Driver": values["ipam-driver"], "Options": dict(values["ipam-opt"]),
        "Config": list(plan.values()),
    }  # fmt: skip


def create(session: Session, values: Values, arguments: list[str]) -> None:
    body: dict[str, Any] = {
        "Name": arguments[0], "Driver": values["driver"], "Scope": values["scope"],
        "IPAM": ipam(values), "Internal": values["internal"], "Attachable": values["attachable"],
        "Ingress": False, "ConfigOnly": values["config-only"], "ConfigFrom": None,
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
        sys.stderr.write(f"WARNING: {warning}\n")
    sys.stdout.write(identifier + "\n")


def list_all(session: Session, values: Values, arguments: list[str]) -> None:
    found = networks.list_networks(session.engine, grouped(values["filter"]))
    found.sort(key=lambda item: str(item["Name"]))
    full: bool = values["no-trunc"]
    if values["quiet"]:
        warn_ignored_format(values)
        ids = (item["Id"] if full else item["Id"][:12] for item in found)
        sys.stdout.write("".join(f"{identifier}\n" for identifier in ids))
        return
    form = values["format"] or session.config_text("networksFormat")
    show(NETWORK, found, View(full), form)


def remove(session: Session, values: Values, arguments: list[str]) -> None:
    failed = False
    for name in arguments:
        try:
            networks.remove(session.engine, name)
            sys.stdout.write(name + "\n")
        except NaruError as error:
            if values["force"] and getattr(error, "status", 0) == 404:
                continue
            sys.stderr.write(error.message + "\n")
            failed = True
    if failed:
        raise CommandError("exit status 1")


def connect(session: Session, values: Values, arguments: list[str]) -> None:
    addresses = {
        "IPv4Address": values["ip"], "IPv6Address": values["ip6"],
        "LinkLocalIPs": values["link-local-ip"],
    }  # fmt: skip
    endpoint = {
        "IPAMConfig": {name: value for name, value in addresses.items() if value},
        "Links": values["link"] or None, "Aliases": values["alias"] or None,
        "DriverOpts": dict(text.partition("=")[::2] for text in values["driver-opt"]),
        "GwPriority": values["gw-priority"],
    }  # fmt: skip
    body = {"Container": arguments[1], "EndpointConfig": endpoint}
    networks.connect(session.engine, arguments[0], body)


def disconnect(session: Session, values: Values, arguments: list[str]) -> None:
    body = {"Container": arguments[1], "Force": values["force"]}
    networks.disconnect(session.engine, arguments[0], body)


CREATE = Command(
    create,
    "[OPTIONS] NETWORK",
    "Create a network",
    Flags(
        Flag("attachable", "", BOOL, "Enable manual container attachment"),
        Flag("aux-address", "", PAIRS, "Auxiliary addresses used by the network driver"),
        Flag("config-from", "", STRING, "The network from which to copy the configuration"),
        Flag("config-only", "", BOOL, "Create a configuration only network"),
        Flag("driver", "d", STRING, "Driver to manage the network", "bridge", shown="bridge"),
        Flag("gateway", "", STRINGS, "IPv4 or IPv6 gateway for the subnet"),
        Flag("internal", "", BOOL, "Restrict external access to the network"),
        Flag("ip-range", "", STRINGS, "Allocate container ip from a sub-range"),
        Flag("ipam-driver", "", STRING, "Address management driver", "default", shown="default"),
        Flag("ipam-opt", "", PAIRS, "Set address management options"),
        Flag("ipv4", "", BOOL, "Enable or disable IPv4 address assignment", True),
        Flag("ipv6", "", BOOL, "Enable or disable IPv6 address assignment"),
        Flag("label", "", LABELS, "Set metadata on a network"),
        Flag("opt", "o", PAIRS, "Set driver specific options"),
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
        Flag("gw-priority", "", INT, "The highest one's network gives the default gateway"),
        Flag("ip", "", STRING, 'IPv4 address (e.g., "172.30.100.104")'),
        Flag("ip6", "", STRING, 'IPv6 address (e.g., "2001:db8::33")'),
        Flag("link", "", LINKS, "Add link to another container"),
        Flag("link-local-ip", "", STRINGS, "Add a link-local address for the container"),
    ),
    2,
    2,
)
DISCONNECT = Command(
    disconnect,
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network",
    Flags(Flag("force", "f", BOOL, "Force the container to disconnect from a network")),
    2,
    2,
)
