"""How Go shows, weighs and compares the values in a template. Pure.

A `Row` is a listing's line with docker's placeholder names; a `GoMap` is a map whose missing keys
have no value, while a plain dict stands for a struct, whose missing fields are errors.
"""

from __future__ import annotations

from naru.cli.template.lex import TemplateError
from naru.client.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class GoMap(dict[str, "Any"]):
    """A map: a missing key is no error."""


class NilMap(GoMap):
    """A map that is not there: empty everywhere but in JSON."""


class NilList(list["Any"]):
    """A list that is not there: empty everywhere but in JSON."""


class _NoValue:
    """What a map gives for a key that it lacks."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = _NoValue()


class Row:
    """A line of a listing: placeholder names to what computes their text, when it is asked for.

    `type_name` is what Go would call it in errors. A callable that takes an argument
    (`.Label "x"`) is in `methods`.
    """

    __slots__ = ("_columns", "methods", "type_name")

    def __init__(
        self,
        type_name: str,
        columns: Mapping[str, Callable[[], Any]],
        methods: Mapping[str, Callable[[str], Any]] | None = None,
    ) -> None:
        self.type_name, self._columns, self.methods = type_name, columns, methods or {}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def get(self, name: str) -> Any:
        return self._columns[name]()

    def as_map(self) -> dict[str, Any]:
        return {name: column() for name, column in sorted(self._columns.items())}


MAP_FIELDS = frozenset((
    "Annotations", "AuxAddress", "AuxiliaryAddresses", "Data", "DriverOpts", "EndpointsConfig",
    "ExposedPorts", "Labels", "Metadata", "Networks", "Options", "PortBindings", "Ports",
    "Services", "Storage", "StorageOpt", "Sysctls", "Tmpfs", "Volumes", "Containers", "Endpoints",
    "Status",
))  # fmt: skip
LIST_FIELDS = frozenset((
    "Aliases", "Args", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeightDevice", "CapAdd", "CapDrop", "Cmd",
    "DNSNames", "DeviceCgroupRules", "DeviceRequests", "Devices", "Dns", "DnsOptions", "DnsSearch",
    "Entrypoint", "Env", "ExecIDs", "ExtraHosts", "GroupAdd", "Layers", "Links", "MaskedPaths",
    "Mounts", "OnBuild", "ReadonlyPaths", "RepoDigests", "RepoTags", "SecondaryIPAddresses",
    "SecondaryIPv6Addresses", "SecurityOpt", "Shell", "Ulimits", "VolumesFrom",
))  # fmt: skip
# Fields that the engine leaves out when they are empty, and docker's structs have all the same.
OMITTED_FIELDS: Mapping[str, Any] = {
    "Annotations": GoMap(), "ArgsEscaped": False, "ExposedPorts": GoMap(), "Health": None,
    "Healthcheck": None, "Init": None, "Mounts": [], "NetworkDisabled": False, "OnBuild": [],
    "Shell": [], "StopSignal": "", "StopTimeout": None, "StorageOpt": GoMap(), "Sysctls": GoMap(),
    "Tmpfs": GoMap(), "SizeRw": None, "SizeRootFs": None, "Variant": "", "OsVersion": "",
    "Parent": "", "Comment": "", "DockerVersion": "", "Author": "", "Status": GoMap(),
    "UsageData": None, "ClusterVolume": None, "Subnet": "", "Gateway": "", "IPRange": "",
    "AuxAddress": NilMap(), "AuxiliaryAddresses": NilMap(), "Peers": NilList(),
    "Services": NilMap(), "IPv4Address": "", "IPv6Address": "", "LinkLocalIPs": NilList(),
}  # fmt: skip
_SPELLINGS = {"ID": "Id", "HostIP": "HostIp", "ImageID": "Image", "Os": "OS", "OS": "Os",
              "AuxAddress": "AuxiliaryAddresses"}  # fmt: skip


def field(value: Any, name: str, strict: bool) -> Any:
    """`value.name`. `strict`: a dict is a struct unless it is a GoMap.

    Raises: KeyError when there is no such field.
    """
    if isinstance(value, Row):
        if name not in value:
            raise KeyError(name)
        return value.get(name)
    if not isinstance(value, dict):
        raise KeyError(name)
    if name in value:
        found = value[name]
    elif isinstance(value, GoMap):
        return NO_VALUE
    elif _SPELLINGS.get(name) in value:
        found = value[_SPELLINGS[name]]
    elif name in OMITTED_FIELDS:
        return OMITTED_FIELDS[name]
    elif strict:
        raise KeyError(name)
    else:
        return None
    if found is None:
        if name in MAP_FIELDS:
            return NilMap()
        return NilList() if name in LIST_FIELDS else None
    return GoMap(found) if name in MAP_FIELDS and type(found) is dict else found


def type_name(value: Any) -> str:
    """What Go calls the value's type."""
    if isinstance(value, Row):
        return value.type_name
    names = {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}
    if value is None:
        return "<nil>"
    return names.get(type(value), "map[string]interface {}")


def show(value: Any) -> str:
    """The value as Go's `fmt.Print` writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if value is NO_VALUE:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return show_float(value)
    if isinstance(value, dict):
        items = sorted(value.items())
        return "map[" + " ".join(f"{key}:{show(item)}" for key, item in items) + "]"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    if isinstance(value, Row):
        return show(value.as_map())
    return str(value)


def show_float(value: float) -> str:
    """A float64 as Go's %v: the shortest form, with an exponent from 1e+21 on."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return text.replace("e", "e+") if "e" in text and "e-" not in text else text


def truth(value: Any) -> bool:
    """Whether Go's `if` takes the value for true."""
    return True if isinstance(value, Row) else bool(value)


def escape_html(text: str) -> str:
    """JSON in the form that Go's `json.Marshal` gives it."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def to_json(value: Any) -> str:
    """`value` as docker's `json` writes it: a listing's line has <, > and & escaped."""
    try:
        if isinstance(value, Row):
            return escape_html(encode(value.as_map()))
        if value is NO_VALUE or isinstance(value, (NilMap, NilList)):
            return "null"
        return encode(dict(sorted(value.items())) if isinstance(value, GoMap) else value)
    except TypeError as error:
        raise TemplateError(str(error)) from error


def kind_of(value: Any) -> str:
    """The kind by which Go's comparisons sort values."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    return "nil" if value is None or value is NO_VALUE else "other"
