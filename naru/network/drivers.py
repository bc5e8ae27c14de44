"""What the drivers' options mean: text of the user's in, settings out. Pure.

Spec: Docker's bridge, macvlan and ipvlan drivers. An option that is not in these tables is refused
by name: an unknown word that is accepted is found when it hurts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from naru.base.errors import InvalidParameter, Unsupported
from naru.network.model import Network

BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
IFACE_PREFIX = "com.docker.network.container_iface_prefix"
HOST_V4, HOST_V6 = "com.docker.network.host_ipv4", "com.docker.network.host_ipv6"
GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")
SUBLINKS = ("macvlan", "ipvlan")
DRIVERS = ("bridge", "macvlan", "ipvlan")
MODES = {
    "macvlan": ("bridge", "private", "vepa", "passthru"),
    "ipvlan": ("l2", "l3", "l3s"),
}
_MODE_OPTION = {"macvlan": "macvlan_mode", "ipvlan": "ipvlan_mode"}
_IPV4_MTU_MIN, _IPV6_MTU_MIN, _MTU_MAX = 68, 1280, 65535
_INTERFACE_MAX = 15

_BRIDGE_OPTIONS = frozenset(
    {
        BRIDGE + "name",
        BRIDGE + "enable_icc",
        BRIDGE + "enable_ip_masquerade",
        BRIDGE + "host_binding_ipv4",
        BRIDGE + "gateway_mode_ipv4",
        BRIDGE + "gateway_mode_ipv6",
        BRIDGE + "default_bridge",
        HOST_V4,
        HOST_V6,
        MTU,
        IFACE_PREFIX,
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """A network's options, parsed. Those of other drivers keep their defaults.

    `mode4`, `mode6`: nat, routed or isolated. `snat4`, `snat6`: the address that outgoing
    connections get, "" for the outgoing interface's. `sublink_mode`: of macvlan and ipvlan.
    """

    link: str = ""
    mtu: int = 0
    icc: bool = True
    masquerade: bool = True
    host_binding: str = ""
    mode4: str = "nat"
    mode6: str = "nat"
    snat4: str = ""
    snat6: str = ""
    prefix: str = "eth"
    sublink_mode: str = ""


def settings_of(network: Network) -> Settings:
    """The settings of a stored network: its options were checked when it was made."""
    return parse(network.driver, network.options, internal=network.internal, ipv6=network.ipv6)


def parse(
    driver: str, options: Mapping[str, str], *, internal: bool = False, ipv6: bool = False
) -> Settings:
    """Raises: InvalidParameter naming the option, Unsupported for one that is not offered."""
    if driver in SUBLINKS:
        return _sublink(driver, options)
    if driver != "bridge":
        for name in options:
            raise InvalidParameter(f"network driver {driver} has no options, not {name!r}")
        return Settings()
    for name in sorted(set(options) - _BRIDGE_OPTIONS):
        raise Unsupported(f"network option {name!r} is not supported by the bridge driver of Naru")
    mode4 = _gateway_mode(options, BRIDGE + "gateway_mode_ipv4", internal=internal)
    mode6 = _gateway_mode(options, BRIDGE + "gateway_mode_ipv6", internal=internal)
    return Settings(
        link=_interface(options, BRIDGE + "name"),
        mtu=_mtu(options, ipv6=ipv6),
        icc=_flag(options, BRIDGE + "enable_icc"),
        masquerade=_flag(options, BRIDGE + "enable_ip_masquerade"),
        host_binding=_address(options, BRIDGE + "host_binding_ipv4", 4),
        mode4=mode4,
        mode6=mode6,
        snat4=_address(options, HOST_V4, 4),
        snat6=_address(options, HOST_V6, 6),
        prefix=_interface(options, IFACE_PREFIX) or "eth",
    )


def _sublink(driver: str, options: Mapping[str, str]) -> Settings:
    known = {"parent", _MODE_OPTION[driver], MTU}
    for name in sorted(set(options) - known):
        raise Unsupported(f"network option {name!r} is not supported by the {driver} driver")
    mode = options.get(_MODE_OPTION[driver]) or MODES[driver][0]
    if mode not in MODES[driver]:
        raise InvalidParameter(
            f"requested {driver} mode '{mode}' is not valid, wanted one of "
            + ", ".join(MODES[driver])
        )
    parent = _interface(options, "parent")
    if not parent:
        raise Unsupported(
            f"a {driver} network without a parent interface is not supported: name one with "
            "-o parent=INTERFACE"
        )
    return Settings(link=parent, mtu=_mtu(options, ipv6=False), sublink_mode=mode)


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "true")
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise InvalidParameter(
        f"failed to parse {name} value: {text} (strconv.ParseBool: parsing "
        f'"{text}": invalid syntax)'
    )


def _mtu(options: Mapping[str, str], *, ipv6: bool) -> int:
    text = options.get(MTU, "")
    if not text:
        return 0
    try:
        number = int(text)
    except ValueError as error:
        raise InvalidParameter(
            f'failed to parse {MTU} value: {text} (strconv.Atoi: parsing "{text}": invalid syntax)'
        ) from error
    least = _IPV6_MTU_MIN if ipv6 else _IPV4_MTU_MIN
    if number and not least <= number <= _MTU_MAX:
        raise InvalidParameter(f"invalid MTU number: {number}: wanted {least} to {_MTU_MAX}")
    return number


def _gateway_mode(options: Mapping[str, str], name: str, *, internal: bool) -> str:
    mode = options.get(name, "") or "nat"
    if mode not in GATEWAY_MODES:
        raise InvalidParameter(
            f"failed to parse {name} value: {mode} (unknown gateway mode {mode})"
        )
    if mode == "nat-unprotected":
        raise Unsupported(
            f"gateway mode {mode!r} ({name}) is not supported: Naru never opens ports that were "
            "not published"
        )
    if mode == "isolated" and not internal:
        raise InvalidParameter("gateway mode 'isolated' can only be used for an internal network")
    return mode


def _address(options: Mapping[str, str], name: str, version: int) -> str:
    text = options.get(name, "")
    if not text:
        return ""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidParameter(f"failed to parse {name} value: {text} (nil ip)") from error
    if address.version != version:
        raise InvalidParameter(f"failed to parse {name} value: {text} (wanted IPv{version})")
    return str(address)


def _interface(options: Mapping[str, str], name: str) -> str:
    text = options.get(name, "")
    if text and not is_interface_name(text):
        raise InvalidParameter(
            f"invalid interface name {text!r} ({name}): wanted at most {_INTERFACE_MAX} letters, "
            "digits and '.', '_', '-'"
        )
    return text


def is_interface_name(text: str) -> bool:
    """Whether it may name an interface: what the kernel takes, less what would need quoting."""
    return (
        0 < len(text) <= _INTERFACE_MAX
        and text not in (".", "..")
        and text.isascii()
        and all(letter.isalnum() or letter in "._-" for letter in text)
    )
