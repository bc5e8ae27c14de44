"""`--network`, `--ip`, `--link` and ports as the Engine API's EndpointsConfig and PortBindings.

Pure. Readers and builders raise ValueError with docker's words.
"""

from __future__ import annotations

from naru.cli.create_values import is_ip
from naru.cli.csv_line import split_fields
from naru.cli.flags import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values

MAX_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


def read_network(text: str) -> dict[str, Any]:
    """A network's name, or `name=…,alias=…,ip=…,ip6=…,link-local-ip=…,mac-address=…,
    driver-opt=K=V,gw-priority=N`."""
    wanted: dict[str, Any] = {"name": text, "aliases": [], "link_local": [], "options": {}}
    if not _is_long_form(text):
        return wanted
    wanted["name"] = ""
    for item in split_fields(text):
        key, equals, value = item.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            raise ValueError(f"invalid field {item}")
        if key == "name":
            wanted["name"] = value
        elif key == "alias":
            wanted["aliases"].append(value)
        elif key == "link-local-ip":
            wanted["link_local"].append(value)
        elif key in ("ip", "ip6", "mac-address"):
            wanted[key] = value
        elif key == "driver-opt":
            name, option = read_driver_option(value)
            wanted["options"][name] = option
        elif key == "gw-priority":
            wanted[key] = _priority(value)
        else:
            raise ValueError(f"invalid field key {key}")
    if not wanted["name"]:
        raise ValueError("network name/id is not specified")
    return wanted


def _is_long_form(text: str) -> bool:
    """Whether an `=` stands between letters, digits or underscores somewhere in `text`."""
    for at in range(1, len(text) - 1):
        if text[at] == "=" and _is_word(text[at - 1]) and _is_word(text[at + 1]):
            return True
    return False


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def read_driver_option(text: str, what: str = "key value") -> tuple[str, str]:
    """A driver's option of an endpoint. Raises: ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"invalid {what} pair format in driver options")
    return name.strip(), value.strip()


def _priority(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"invalid gw-priority ({text}): invalid syntax")
    if not -(1 << 63) <= (value := int(text)) < 1 << 63:
        raise ValueError(f"invalid gw-priority ({text}): value out of range")
    return value


NETWORK = Kind("network", read_network, repeats=True)


def is_user_defined(mode: str) -> bool:
    return mode not in ("default", "bridge", "host", "none", "") and not is_container(mode)


def is_container(mode: str) -> bool:
    return mode.startswith("container:") or mode == "container"


_FLAGS_OF_FIRST = (
    ("network-alias", "aliases", "conflicting options: cannot specify both --network-alias and "
     "per-network alias"),
    ("link", "links", "conflicting options: cannot specify both --link and per-network links"),
    ("ip", "ip", "conflicting options: cannot specify both --ip and per-network IPv4 address"),
    ("ip6", "ip6", "conflicting options: cannot specify both --ip6 and per-network IPv6 address"),
    ("link-local-ip", "link_local", "conflicting options: cannot specify both --link-local-ip and "
     "per-network link-local IP addresses"),
    ("mac-address", "mac-address", "conflicting options: cannot specify both --mac-address and "
     "per-network MAC address"),
)  # fmt: skip


def build_endpoints(values: Values) -> tuple[str, dict[str, Any]]:
    """The network mode and EndpointsConfig that the flags ask for."""
    wanted: list[dict[str, Any]] = values["network"] or [read_network("default")]
    endpoints: dict[str, Any] = {}
    kinds = set()
    for at, network in enumerate(wanted):
        name = network["name"]
        if not name:
            raise ValueError("no name set for network")
        kinds.add(is_user_defined(name))
        if at == 0:
            network = _with_flags(network, values)
        if name in endpoints:
            raise ValueError(f'network "{name}" is specified multiple times')
        endpoints[name] = _endpoint(network, name)
    if len(kinds) > 1:
        raise ValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    first = wanted[0]["name"]
    alone = len(values["network"]) == 1
    if alone and not any(endpoints[first].values()):
        return first, {}
    return first, endpoints


def _with_flags(network: dict[str, Any], values: Values) -> dict[str, Any]:
    merged = dict(network)
    for flag, key, conflict in _FLAGS_OF_FIRST:
        if not values[flag]:
            continue
        if merged.get(key):
            raise ValueError(conflict)
        merged[key] = values[flag]
    return merged


def _endpoint(network: dict[str, Any], name: str) -> dict[str, Any]:
    if not is_user_defined(name) and network["aliases"]:
        raise ValueError("network-scoped aliases are only supported for user-defined networks")
    ipam = {
        key: network[source]
        for key, source in (
            ("IPv4Address", "ip"), ("IPv6Address", "ip6"), ("LinkLocalIPs", "link_local"),
        )
        if network.get(source)
    }  # fmt: skip
    mac = network.get("mac-address", "")
    if mac and not _is_mac(mac):
        raise ValueError(f"{mac} is not a valid mac address")
    links = network.get("links") if is_user_defined(name) else None
    return endpoint(
        IPAMConfig=ipam or None, Links=links or None, Aliases=network["aliases"] or None,
        MacAddress=mac, DriverOpts=network["options"] or None,
        GwPriority=network.get("gw-priority", 0),
    )  # fmt: skip


def endpoint(**wanted: Any) -> dict[str, Any]:
    """EndpointSettings with every field that docker's CLI sends: `wanted`, and empty ones."""
    empty: dict[str, Any] = {
        "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "DriverOpts": None,
        "GwPriority": 0, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }  # fmt: skip
    return empty | wanted


def _is_mac(text: str) -> bool:
    """Pairs of digits parted by colons or dashes, or fours by dots; of 6, 8 or 20 bytes."""
    mark, width = (text[4:5], 4) if text[4:5] == "." else (text[2:3], 2)
    if mark not in (":", "-", "."):
        return False
    parts = text.split(mark)
    hexadecimal = frozenset("0123456789abcdefABCDEF")
    fine = all(len(part) == width and hexadecimal.issuperset(part) for part in parts)
    return fine and len(parts) * width in (12, 16, 40)


def _range(text: str) -> tuple[int, int] | None:
    """First and last port of `80` or `80-90`; None when it is no such thing."""
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        return None
    low, high = int(first), int(last if dash else first)
    return (low, high) if low <= high <= MAX_PORT else None


def _long_form(spec: str) -> str:
    """`published=80,target=80,protocol=tcp` as `80:80/tcp`."""
    if "=" not in spec:
        return spec
    fields = {"published": "", "target": "", "protocol": "tcp"}
    for item in spec.split(","):
        key, _, value = item.partition("=")
        if not value:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{item}')")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def parse_port(spec: str) -> list[tuple[str, dict[str, str]]]:
    """Every `port/protocol` with its binding that one `--publish` asks for."""
    address, _, container = spec.rpartition(":")
    ports, slash, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    host_ip, _, host_port = address.rpartition(":") if address else ("", "", "")
    if host_ip.startswith("[") and host_ip.endswith("]"):
        host_ip = host_ip[1:-1]
    if host_ip and not is_ip(host_ip):
        raise ValueError(f"invalid IP address: {host_ip}")
    if not ports:
        raise ValueError(f"no port specified: {spec}<empty>")
    inside = _range(ports)
    if inside is None:
        raise ValueError(f"invalid containerPort: {ports}")
    outside = _range(host_port) if host_port else None
    if host_port and outside is None:
        raise ValueError(f"invalid hostPort: {host_port}")
    if slash and protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    count = inside[1] - inside[0]
    if outside is not None and outside[1] - outside[0] != count:
        if count:
            raise ValueError(
                f"invalid ranges specified for container and host Ports: {ports} and {host_port}"
            )
        both = {"HostIp": host_ip, "HostPort": f"{outside[0]}-{outside[1]}"}
        return [(f"{inside[0]}/{protocol}", both)]
    found = []
    for at in range(count + 1):
        published = str(outside[0] + at) if outside is not None else ""
        binding = {"HostIp": host_ip, "HostPort": published}
        found.append((f"{inside[0] + at}/{protocol}", binding))
    return found


def build_ports(published: list[str], exposed: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """ExposedPorts and PortBindings."""
    ports: dict[str, Any] = {}
    bindings: dict[str, Any] = {}
    for spec in published:
        for port, binding in parse_port(_long_form(spec)):
            ports[port] = {}
            bindings.setdefault(port, []).append(binding)
    for spec in exposed:
        if ":" in spec:
            raise ValueError(f"invalid port format for --expose: {spec}")
        numbers, _, protocol = spec.partition("/")
        protocol = protocol.lower() or "tcp"
        inside = _range(numbers)
        if inside is None or protocol not in _PROTOCOLS:
            why = _wrong_range(numbers) if inside is None else f"invalid proto: {protocol}"
            raise ValueError(f"invalid range format for --expose: {spec}, error: {why}")
        for number in range(inside[0], inside[1] + 1):
            ports.setdefault(f"{number}/{protocol}", {})
    return ports, bindings


def _wrong_range(text: str) -> str:
    if not text:
        return "empty string specified for ports"
    for part in text.split("-", 1):
        if not (part.isascii() and part.isdigit()):
            return f'strconv.ParseUint: parsing "{part}": invalid syntax'
        if int(part) > MAX_PORT:
            return f'strconv.ParseUint: parsing "{part}": value out of range'
    return f"invalid range specified for port: {text}"
