"""How the values of `run`'s and `create`'s flags are written, each as docker's CLI reads it. Pure.

Every reader raises ValueError with docker's words.
"""

from __future__ import annotations

import os

from naru.base.errors import InvalidParameter
from naru.base.units import parse_size
from naru.cli.csv_line import split_fields
from naru.cli.flags import Kind, read_int

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STREAMS = ("stdin", "stdout", "stderr")
NS_PER_CPU = 1_000_000_000
_ALLOWED_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip
_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
_DURATION_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def read_size(text: str) -> int:
    try:
        return parse_size(text)
    except InvalidParameter as error:
        raise ValueError(error.message) from None


def read_swap(text: str) -> int:
    return -1 if text == "-1" else read_size(text)


def read_cpus(text: str) -> int:
    """CPUs as billionths."""
    whole, _, fraction = text.partition(".")
    digits = (whole + fraction).removeprefix("+").removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        raise ValueError(f"failed to parse {text} as a rational number")
    if len(fraction.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    nanos = int((whole or "0") + fraction[:9].ljust(9, "0"))
    if not -(1 << 63) <= nanos < 1 << 63:
        raise ValueError("value is too large")
    return nanos


def read_uint16(text: str) -> int:
    try:
        value = read_int(text)
    except ValueError:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax') from None
    if value < 0:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if value > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return value


def read_duration(text: str) -> int:
    """A Go duration in nanoseconds: `1h30m`, `1.5s`, `0`."""
    body = text.lstrip("+-")
    if body == "0":
        return 0
    total, at = 0.0, 0
    while at < len(body):
        start = at
        while at < len(body) and (body[at].isdigit() or body[at] == "."):
            at += 1
        number = body[start:at]
        start = at
        while at < len(body) and not (body[at].isdigit() or body[at] == "."):
            at += 1
        unit = body[start:at]
        if not number.strip(".") or number.count(".") > 1:
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _DURATION_NS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _DURATION_NS[unit]
    if not body:
        raise ValueError(f'time: invalid duration "{text}"')
    return round(total) * (-1 if text.startswith("-") else 1)


def read_env(text: str) -> str:
    """`K=V`; a bare `K` takes our own environment's value, or means that K is to be unset."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def read_label(text: str) -> str:
    name = text.partition("=")[0].lstrip(" \t")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if " " in name or "\t" in name:
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


def read_stream(text: str) -> str:
    if text.lower() not in STREAMS:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def is_ip(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    import _socket

    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text.partition("%")[0])
    except OSError:
        return False
    return True


def read_ip(text: str) -> str:
    if not is_ip(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def read_extra_host(text: str) -> str:
    """`name:ip` from `name:ip` or `name=ip`; `host-gateway` stands for an address."""
    marks = [mark for mark in (text.find("="), text.find(":")) if mark >= 0]
    if not marks or min(marks) == 0:
        raise ValueError(f'bad format for add-host: "{text}"')
    name, address = text[: min(marks)], text[min(marks) + 1 :]
    if address != "host-gateway":
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if not is_ip(address):
            raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def read_dns_search(text: str) -> str:
    domain = text.strip(" ")
    if domain == ".":
        return domain
    domain = domain.rstrip()
    labels = domain.removesuffix(".").split(".")
    allowed = all(
        label and label[0] != "-" != label[-1] and label.replace("-", "a").isalnum()
        for label in labels
    )
    if not (allowed and domain.isascii() and any(char.isalpha() for char in domain)):
        raise ValueError(f"{domain} is not a valid domain")
    return domain.removesuffix(".")


def read_link(text: str) -> str:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    name, colon, alias = text.partition(":")
    return f"{name}:{alias if colon else name}" if colon else text


def read_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name:
        raise ValueError(f"invalid argument: {text}")
    return name, value if equals else ""


def read_option(text: str) -> tuple[str, str]:
    """A driver's option; which names there are is the driver's to say."""
    name, _, value = text.partition("=")
    return name, value


def read_sysctl(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not (name in _ALLOWED_SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return name, value


def read_ulimit(text: str) -> dict[str, Any]:
    """`name=soft[:hard]`."""
    name, equals, limits = text.partition("=")
    if not equals or limits.count(":") > 1:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft, colon, hard = limits.partition(":")
    low = read_int(soft)
    high = low if not colon else read_int(hard)
    if low > high != -1 or (low == -1 and high != -1):
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}"
        )
    return {"Name": name, "Hard": high, "Soft": low}


def _device(text: str, shown: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    if not value or ":" in value:
        raise ValueError(f"bad format: {text}" if ":" in value else shown)
    return path, value


def read_weight_device(text: str) -> dict[str, Any]:
    path, value = _device(text, f"invalid weight for device: {text}")
    if not value.isdigit() or (int(value) and not 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def read_throttle_bytes(text: str) -> dict[str, Any]:
    wrong = (
        f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
        "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    )
    path, value = _device(text, wrong)
    try:
        return {"Path": path, "Rate": read_size(value)}
    except ValueError:
        raise ValueError(wrong) from None


def read_throttle_operations(text: str) -> dict[str, Any]:
    wrong = (
        f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
        "Number must be a positive integer"
    )
    path, value = _device(text, wrong)
    if not value.isdigit():
        raise ValueError(wrong)
    return {"Path": path, "Rate": int(value)}


def read_device_rule(text: str) -> str:
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    parts = numbers.split(":")
    fine = kind in ("a", "b", "c") and len(parts) == 2 and 0 < len(access) <= 3
    fine = fine and all(part == "*" or part.isdigit() for part in parts)
    if not fine or set(access) - set("rwm"):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def read_gpus(text: str) -> dict[str, Any]:
    """`all`, a number, or fields (count, device, driver, capabilities, options)."""
    request: dict[str, Any] = {
        "Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": None, "Options": {},
    }  # fmt: skip
    seen: set[str] = set()
    fields = split_fields(text)
    for item in fields:
        key, equals, value = item.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            key, value = "count", item
        if key == "count":
            request["Count"] = -1 if value == "all" else _count(value)
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = dict(read_pair(pair) for pair in split_fields(value))
        else:
            raise ValueError(f"unexpected key '{key}' in '{item}'")
    if "count" not in seen and request["Count"] == 0 and request["DeviceIDs"] is None:
        request["Count"] = 1
    if request["Capabilities"] is None:
        request["Capabilities"] = [["gpu"]]
    return request


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f'invalid count ({text}): value must be either "all" or an integer'
        ) from None


BYTES = Kind("bytes", read_size)
SWAP_BYTES = Kind("bytes", read_swap)
CPUS = Kind("decimal", read_cpus)
UINT16 = Kind("uint16", read_uint16)
DURATION = Kind("duration", read_duration)
ENVIRONMENT = Kind("list", read_env, repeats=True)
LABELS = Kind("list", read_label, repeats=True)
ATTACH = Kind("list", read_stream, repeats=True)
ADDRESSES = Kind("list", read_ip, repeats=True)
EXTRA_HOSTS = Kind("list", read_extra_host, repeats=True)
DOMAINS = Kind("list", read_dns_search, repeats=True)
LINKS = Kind("list", read_link, repeats=True)
PAIRS = Kind("map", read_pair, repeats=True)
OPTIONS = Kind("map", read_option, repeats=True)
SYSCTLS = Kind("map", read_sysctl, repeats=True)
ULIMIT = Kind("ulimit", read_ulimit, repeats=True)
WEIGHTS = Kind("list", read_weight_device, repeats=True)
THROTTLE_BYTES = Kind("list", read_throttle_bytes, repeats=True)
THROTTLE_OPERATIONS = Kind("list", read_throttle_operations, repeats=True)
DEVICE_RULES = Kind("list", read_device_rule, repeats=True)
GPUS = Kind("gpu-request", read_gpus, repeats=True)
