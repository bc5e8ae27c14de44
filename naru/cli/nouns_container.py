"""How a container's line in a listing reads: docker's placeholder names for `ps`."""

from __future__ import annotations

from naru.base.units import human_duration, human_size
from naru.cli.render import Noun, View, ellipsis, utc_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHORT_ID = 12
COMMAND_WIDTH = 20
MOUNT_WIDTH = 15


def _id(item: Any, view: View) -> str:
    full: str = item["Id"]
    return full if view.full else full[:SHORT_ID]


def _names(item: Any, view: View) -> str:
    names = [name.removeprefix("/") for name in item.get("Names") or ()]
    if not view.full:
        names = [name for name in names if "/" not in name][:1] or names[:1]
    return ",".join(names)


def _image(item: Any, view: View) -> str:
    image: str = item.get("Image") or ""
    if not image:
        return "<no image>"
    if view.full:
        return image
    image_id = item.get("ImageID", "")
    if image_id and image_id.removeprefix("sha256:") == image.removeprefix("sha256:"):
        short: str = image_id.removeprefix("sha256:")[:SHORT_ID]
        return short
    name, at, _ = image.partition("@sha256:")
    return name if at else image


def _command(item: Any, view: View) -> str:
    command: str = item.get("Command") or ""
    if not view.full:
        command = ellipsis(command, COMMAND_WIDTH)
    if command.isprintable() and '"' not in command and "\\" not in command:
        return f'"{command}"'
    from naru.cli.template.functions import go_quote

    return go_quote(command)


def _running_for(item: Any, view: View) -> str:
    return human_duration(view.now - item["Created"]) + " ago"


def _size(item: Any, view: View) -> str:
    text = human_size(item.get("SizeRw") or 0, 3)
    virtual = item.get("SizeRootFs") or 0
    return f"{text} (virtual {human_size(virtual, 3)})" if virtual > 0 else text


def _mounts(item: Any, view: View) -> str:
    names = []
    for mount in item.get("Mounts") or ():
        name = mount.get("Name") or mount.get("Source") or ""
        names.append(name if view.full else ellipsis(name, MOUNT_WIDTH))
    return ",".join(names)


def _local_volumes(item: Any, view: View) -> str:
    return str(sum(mount.get("Driver") == "local" for mount in item.get("Mounts") or ()))


def _networks(item: Any, view: View) -> str:
    return ",".join(sorted((item.get("NetworkSettings") or {}).get("Networks") or ()))


def _labels(item: Any, view: View) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((item.get("Labels") or {}).items()))


def _ports(item: Any, view: View) -> str:
    ports = item.get("Ports")
    return show_ports(ports) if ports else ""


def show_ports(ports: list[Any]) -> str:
    """The published and exposed ports in docker's order, neighbours joined to ranges."""
    groups: dict[str, tuple[int, int]] = {}
    out: list[str] = []
    hosted: list[str] = []

    def order(port: Any) -> tuple[Any, ...]:
        ip = port.get("IP") or ""
        return (port["PrivatePort"], ip, port.get("PublicPort") or 0, port["Type"])

    for port in sorted(ports, key=order):
        private, public = port["PrivatePort"], port.get("PublicPort") or 0
        ip, protocol = port.get("IP") or "", port["Type"]
        key = protocol
        if ip:
            if public != private:
                host = f"[{ip}]" if ":" in ip else ip
                hosted.append(f"{host}:{public}->{private}/{protocol}")
                continue
            key = f"{ip} {protocol}"
        first, last = groups.get(key, (private, private))
        if private in (last, last + 1):
            groups[key] = first, private
        else:
            out.append(_port_group(key, first, last))
            groups[key] = private, private
    out += [_port_group(key, *groups[key]) for key in sorted(groups)]
    return ", ".join(out + hosted)


def _port_group(key: str, first: int, last: int) -> str:
    ip, _, protocol = key.rpartition(" ")
    shown = str(first) if first == last else f"{first}-{last}"
    if not ip:
        return f"{shown}/{protocol}"
    host = f"[{ip}]" if ":" in ip else ip
    return f"{host}:{shown}->{shown}/{protocol}"


CONTAINER = Noun(
    "*formatter.ContainerContext",
    {
        "Command": _command,
        "CreatedAt": lambda item, view: utc_text(item["Created"]),
        "ID": _id,
        "Image": _image,
        "Labels": _labels,
        "LocalVolumes": _local_volumes,
        "Mounts": _mounts,
        "Names": _names,
        "Networks": _networks,
        "Platform": lambda item, view: None,
        "Ports": _ports,
        "RunningFor": _running_for,
        "Size": _size,
        "State": lambda item, view: item.get("State") or "",
        "Status": lambda item, view: item.get("Status") or "",
    },
    {
        "CreatedAt": "CREATED AT",
        "ID": "CONTAINER ID",
        "LocalVolumes": "LOCAL VOLUMES",
        "RunningFor": "CREATED",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
    label=lambda item, key: (item.get("Labels") or {}).get(key, ""),
    raw=(
        "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\n"
        "created_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n"
        "status: {{- pad .Status 1 0}}\nnames: {{.Names}}\n"
        "labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
    ),
    failures=("failed to parse template", "failed to execute template"),
)
