"""The engine's configuration: flags and `daemon.json`, checked once, then a frozen value.

A flag and a key that say different things are a conflict and an error, as with dockerd: a person
who reads either must not be wrong about what is running.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from naru.base.errors import InvalidParameter
from naru.base.units import is_number, parse_size
from naru.engine.options import NOT_OFFERED, OPTIONS, STATED, Option

BY_FLAG = {flag: o for o in OPTIONS for flag in (o.flag, o.short) if flag is not None}
BY_KEY = {option.key: option for option in OPTIONS if option.key is not None}
_NEGATIVE = ("false", "0", "f")
_POSITIVE = ("true", "1", "t")
DEFAULT_HOST = "unix:///run/naru/naru.sock"
HANDED_OVER = "fd://"


class ConfigError(InvalidParameter):
    """The configuration cannot be used; the text names the option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """See `options.OPTIONS` for what each field means."""

    hosts: tuple[str, ...]
    data_root: str
    exec_root: str
    pidfile: str
    config_file: str
    debug: bool
    log_level: str
    log_format: str
    group: str | None
    tls: bool
    tlsverify: bool
    tlscacert: str | None
    tlscert: str | None
    tlskey: str | None
    insecure: bool
    host_names: tuple[str, ...]
    bip: str
    mtu: int
    ip: str
    honour_host_firewall: bool
    default_address_pools: tuple[tuple[str, int], ...]
    dns: tuple[str, ...]
    dns_opts: tuple[str, ...]
    dns_search: tuple[str, ...]
    host_gateway_ip: str
    log_driver: str
    log_opts: Mapping[str, str]
    default_ulimits: Mapping[str, tuple[int, int]]
    default_shm_size: str
    default_runtime: str
    default_cgroupns_mode: str
    cgroup_parent: str
    init: bool
    init_path: str
    no_new_privileges: bool
    userns_remap: str
    labels: tuple[str, ...]
    plugin_dirs: tuple[str, ...]
    plugin_timeout: int
    shutdown_timeout: int
    live_restore: bool

    @property
    def shm_bytes(self) -> int:
        return parse_size(self.default_shm_size)


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Options by name, as far as they were given. Raises: ConfigError."""
    given: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        option = BY_FLAG.get(flag)
        if option is None and len(word) > 2 and word[1] != "-" and word[:2] in BY_FLAG:
            option, value, equals = BY_FLAG[word[:2]], word[2:], "="
            flag = word[:2]
        if option is None:
            raise ConfigError(f"unknown flag: {word} (see narud --help)")
        if option.kind == "flag":
            if equals and value.lower() not in (*_POSITIVE, *_NEGATIVE):
                raise ConfigError(f"invalid value {value!r} of flag {flag}: wanted true or false")
            given[option.name] = not equals or value.lower() in _POSITIVE
            continue
        if not equals:
            if not words:
                raise ConfigError(f"flag needs a value: {flag}")
            value = words.pop(0)
        _put(given, option, value)
    return given


def _put(given: dict[str, Any], option: Option, value: str) -> None:
    if option.kind in ("list", "pools", "ulimits"):
        given.setdefault(option.name, []).append(value)
    elif option.kind == "map":
        key, equals, text = value.partition("=")
        if not equals:
            raise ConfigError(f"invalid value {value!r} of {option.flag}: wanted KEY=VALUE")
        given.setdefault(option.name, {})[key] = text
    elif option.kind == "int":
        if not re.fullmatch(r"\d{1,9}", value):
            raise ConfigError(f"invalid value {value!r} of {option.flag}: wanted a whole number")
        given[option.name] = int(value)
    else:
        given[option.name] = value


def read_file(path: str, *, must_exist: bool) -> dict[str, Any]:
    """Options by name out of a `daemon.json`. Raises: ConfigError, naming unknown keys."""
    try:
        with open(path, "rb") as source:
            raw = source.read(1 << 20)
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(
                f"unable to configure the engine with file {path}: {error}"
            ) from error
        return {}
    except OSError as error:
        raise ConfigError(f"unable to configure the engine with file {path}: {error}") from error
    if not raw.strip():
        return {}
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"invalid JSON in {path}: {error}") from error
    _check_stated(body, path)
    unknown = sorted(key for key in body if key not in BY_KEY and key not in STATED)
    if unknown:
        raise ConfigError(
            f"the following directives don't match any configuration option of narud in {path}: "
            + ", ".join(unknown)
        )
    return {
        BY_KEY[key].name: _typed(BY_KEY[key], value, path)
        for key, value in body.items()
        if key in BY_KEY
    }


def _check_stated(body: Mapping[str, Any], path: str) -> None:
    """Raises: ConfigError for Docker's options that ask for what is not offered."""
    refused = sorted(key for key in body if key in NOT_OFFERED)
    if refused:
        raise ConfigError(f"{path}: Docker's options not offered by Naru: {', '.join(refused)}")
    for key, accepted in STATED.items():
        if key in body and not any(_same(body[key], value) for value in accepted):
            shown = " or ".join(msgspec.json.encode(value).decode() for value in accepted)
            raise ConfigError(f"{path}: {key}: Naru offers only {shown}")


def _same(one: Any, other: object) -> bool:
    return type(one) is type(other) and one == other


def _typed(option: Option, value: Any, path: str) -> Any:
    wanted = {
        "flag": bool, "int": int, "text": str, "list": list, "map": dict, "pools": list,
        "ulimits": dict,
    }[option.kind]  # fmt: skip
    fits = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    if fits and option.kind == "list":
        fits = all(isinstance(item, str) for item in value)
    if fits and option.kind == "map":
        fits = all(isinstance(item, str) for item in value.values())
    if not fits:
        raise ConfigError(f"{path}: {option.key} has a wrong type: wanted {_WANTED[option.kind]}")
    return value


_WANTED = {
    "flag": "true or false", "int": "a whole number", "text": "a string",
    "list": "a list of strings", "map": "an object of strings",
    "pools": "a list of objects with base and size", "ulimits": "an object of limits",
}  # fmt: skip


def load(argv: Sequence[str], default_host: str = DEFAULT_HOST) -> Config:
    """The configuration that flags and file make together. Raises: ConfigError."""
    flags = parse_flags(argv)
    default_file = next(o.default for o in OPTIONS if o.name == "config_file")
    path = str(flags.get("config_file", default_file))
    in_file = read_file(path, must_exist="config_file" in flags)
    conflicts = [
        f"{option.key}: (from flag: {flags[option.name]}, from file: {in_file[option.name]})"
        for option in OPTIONS
        if option.name in flags and option.name in in_file
    ]
    if conflicts:
        raise ConfigError(
            f"unable to configure the engine with file {path}: the following directives are "
            "specified both as a flag and in the configuration file: " + ", ".join(conflicts)
        )
    return build({**in_file, **flags}, default_host)


def build(given: Mapping[str, Any], default_host: str = DEFAULT_HOST) -> Config:
    """Defaults filled in, values checked. Raises: ConfigError."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        value = given.get(option.name, option.default)
        if option.kind == "list":
            value = tuple(value or ())
        elif option.kind == "map":
            value = dict(value or {})
        elif option.kind == "pools":
            value = tuple(_pool(item) for item in value or ())
        elif option.kind == "ulimits":
            value = _ulimits(value or {})
        values[option.name] = value
    values["hosts"] = values["hosts"] or (default_host,)
    if values["debug"]:
        values["log_level"] = "debug"
    for name in ("data_root", "exec_root", "pidfile"):
        values[name] = os.path.abspath(values[name])
    config = Config(**values)
    _check(config)
    return config


def _check(config: Config) -> None:
    for flag, root in (("data-root", config.data_root), ("exec-root", config.exec_root)):
        if ":" in root or "\n" in root:
            raise ConfigError(
                f"invalid {flag} {root!r}: the monitor of the containers takes no path with a "
                "colon or a line feed in it; name another one"
            )
    if config.log_format not in ("text", "json"):
        raise ConfigError(f"invalid log-format {config.log_format!r}: wanted text or json")
    if config.log_level not in ("debug", "info", "warn", "error", "fatal"):
        raise ConfigError(f"invalid logging level: {config.log_level}")
    if config.log_driver not in ("json-file", "local", "none"):
        raise ConfigError(
            f"log-driver {config.log_driver!r} is not offered: json-file, local and none are"
        )
    if config.default_cgroupns_mode not in ("", "private", "host"):
        raise ConfigError(
            f"invalid default-cgroupns-mode {config.default_cgroupns_mode!r}: private or host"
        )
    if not config.live_restore:
        raise ConfigError("live-restore false is not offered: containers always outlive narud")
    if config.tlsverify and not (config.tlscacert and config.tlscert and config.tlskey):
        raise ConfigError("tlsverify needs tlscacert, tlscert and tlskey")
    if config.tls and not (config.tlscert and config.tlskey):
        raise ConfigError("tls needs tlscert and tlskey")
    try:
        _ = config.shm_bytes
    except InvalidParameter as error:
        raise ConfigError(f"default-shm-size: {error.message}") from error
    for label in config.labels:
        if not label.partition("=")[0]:
            raise ConfigError(f"invalid label {label!r}: wanted KEY=VALUE")
    for host in config.hosts:
        check_host(host, config)


def check_host(host: str, config: Config) -> None:
    """Raises: ConfigError for an unknown kind, and for TCP that is open to everyone."""
    kind, found, rest = host.partition("://")
    if not found or kind not in ("unix", "tcp", "fd"):
        raise ConfigError(f"invalid host {host!r}: wanted unix://PATH, tcp://ADDRESS:PORT or fd://")
    if kind == "unix" and not rest.startswith("/"):
        raise ConfigError(f"invalid host {host!r}: the path must be absolute")
    if kind == "tcp":
        split_tcp(rest)
        if not config.tlsverify and not config.insecure:
            raise ConfigError(
                f"refusing to listen on {host} without client certificates, because whoever "
                "reaches it is root on this host: set tlsverify, tlscacert, tlscert and tlskey, "
                "or say --insecure"
            )


def split_tcp(rest: str) -> tuple[str, int]:
    """Address and port of `ADDRESS:PORT`; port 2375 when none is named. Raises: ConfigError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:/]*))(?::(\d{1,5}))?/?", rest)
    if match is None or (match[3] and not 0 < int(match[3]) < 65536):
        raise ConfigError(f"invalid host tcp://{rest}: wanted tcp://ADDRESS:PORT")
    return match[1] or match[2] or "127.0.0.1", int(match[3] or 2375)


def _pool(item: Any) -> tuple[str, int]:
    if isinstance(item, str):
        item = dict(pair.partition("=")[::2] for pair in item.split(","))
    if not isinstance(item, dict) or set(item) != {"base", "size"}:
        raise ConfigError(f"invalid default-address-pool {item!r}: wanted base=CIDR,size=N")
    if not is_number(str(item["size"])):
        raise ConfigError(f"invalid default-address-pool size {item['size']!r}")
    return str(item["base"]), int(item["size"])


def _ulimits(value: Any) -> dict[str, tuple[int, int]]:
    limits: dict[str, tuple[int, int]] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            fits = isinstance(item, dict) and all(
                isinstance(item.get(part), int) for part in ("Soft", "Hard")
            )
            if not fits:
                raise ConfigError(f"default-ulimits: {name} wants Soft and Hard as whole numbers")
            limits[name] = (item["Soft"], item["Hard"])
        return limits
    for text in value:
        match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", text)
        if match is None:
            raise ConfigError(f"invalid default-ulimit {text!r}: wanted NAME=SOFT[:HARD]")
        limits[match[1]] = (int(match[2]), int(match[3] or match[2]))
    return limits


def help_text() -> str:
    """What `narud --help` prints."""
    lines = ["Usage: narud [OPTIONS]", "", "The engine of Naru.", "", "Options:"]
    for option in OPTIONS:
        if option.flag is None:
            continue
        short = f"{option.short}, " if option.short else "    "
        lines.append(f"  {short}{option.flag} {option.metavar}".rstrip().ljust(40) + option.help)
    return "\n".join([*lines, "      --help".ljust(40) + "this text",
                      "  -v, --version".ljust(40) + "the version"])  # fmt: skip
