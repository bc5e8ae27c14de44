"""`changes` of import and commit: Dockerfile instructions applied to a run configuration. Pure.

Spec: Dockerfile reference; Engine API ImageCreate and ImageCommit, `changes`. The texts are
Docker's.
"""

import json
import posixpath
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from naru.base.clock import parse_duration_ns
from naru.base.errors import InvalidParameter
from naru.base.units import is_number
from naru.images.words import expand as expand_words
from naru.images.words import json_strings, pairs, split_raw
from naru.spec.engine.container_config import HealthConfig
from naru.spec.oci.image import RunConfig

_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|\Z)")
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/([A-Za-z]+))?\Z")
_MILLISECOND = 1_000_000


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """`config` as the instructions change it. Raises: InvalidParameter, naming the instruction."""
    command_set = False
    lines = _lines(changes)
    if changes and not lines:
        raise InvalidParameter("file with no instructions")
    for line in lines:
        word, _, rest = line.partition(" ")
        name, rest = word.upper(), rest.strip()
        handler = _HANDLERS.get(name)
        if handler is None:
            raise InvalidParameter(f"{name} is not a valid change command")
        fields = handler(config, rest)
        if name == "CMD":
            command_set = True
        elif name == "ENTRYPOINT" and not command_set:
            fields["cmd"] = None
        config = msgspec.structs.replace(config, **fields)
    return config


def _lines(changes: Sequence[str]) -> list[str]:
    joined = re.sub(r"\\[ \t]*\r?\n", "", "\n".join(changes))
    stripped = (line.strip().replace("\t", " ") for line in joined.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def expand(text: str, env: Mapping[str, str]) -> str:
    """`words.expand`, its error saying what could not be expanded."""
    try:
        return expand_words(text, env)
    except InvalidParameter as error:
        raise InvalidParameter(f"failed to process {json.dumps(text)}: {error.message}") from error


def _environment(config: RunConfig) -> dict[str, str]:
    split = (item.partition("=") for item in config.env or [])
    return {name: value for name, _, value in split}


def _command(config: RunConfig, text: str) -> list[str]:
    exact = json_strings(text)
    if exact is not None:
        return exact
    return [*(config.shell or ("/bin/sh", "-c")), *([text] if text else [])]


def _cmd(config: RunConfig, text: str) -> dict[str, Any]:
    return {"cmd": _command(config, text), "args_escaped": False}


def _entrypoint(config: RunConfig, text: str) -> dict[str, Any]:
    return {"entrypoint": (_command(config, text) if text else None) or None}


def _env(config: RunConfig, text: str) -> dict[str, Any]:
    known = _environment(config)
    merged = dict(known)
    for name, value in pairs("ENV", text):
        merged[expand(name, known)] = expand(value, known)
    return {"env": [f"{name}={value}" for name, value in merged.items()]}


def _label(config: RunConfig, text: str) -> dict[str, Any]:
    known = _environment(config)
    labels = dict(config.labels or {})
    for name, value in pairs("LABEL", text):
        labels[expand(name, known)] = expand(value, known)
    return {"labels": labels}


def _expose(config: RunConfig, text: str) -> dict[str, Any]:
    ports = dict(config.exposed_ports or {})
    words = split_raw(text)
    if not words:
        raise InvalidParameter("EXPOSE requires at least one argument")
    for raw in words:
        word = expand(raw, _environment(config))
        match = _PORT.match(word)
        if match is None:
            raise InvalidParameter(f"Invalid containerPort: {word.partition('/')[0]}")
        protocol = (match[3] or "tcp").lower()
        if protocol not in ("tcp", "udp", "sctp"):
            raise InvalidParameter(f"Invalid proto: {match[3]}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > 65535:
            raise InvalidParameter(f"Invalid containerPort: {word.partition('/')[0]}")
        ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    return {"exposed_ports": ports}


def _one(instruction: str, config: RunConfig, text: str) -> str:
    if not text:
        raise InvalidParameter(f"{instruction} requires exactly one argument")
    return expand(text, _environment(config))


def _user(config: RunConfig, text: str) -> dict[str, Any]:
    return {"user": _one("USER", config, text)}


def _working_dir(config: RunConfig, text: str) -> dict[str, Any]:
    path = _one("WORKDIR", config, text)
    return {"working_dir": posixpath.normpath(posixpath.join("/", config.working_dir, path))}


def _stop_signal(config: RunConfig, text: str) -> dict[str, Any]:
    name = _one("STOPSIGNAL", config, text)
    if not _is_signal(name):
        raise InvalidParameter(f"invalid signal: {name}")
    return {"stop_signal": name}


def _is_signal(name: str) -> bool:
    if is_number(name):
        return 0 < int(name) <= signal.NSIG - 1
    return hasattr(signal, "SIG" + name.upper().removeprefix("SIG")) or bool(
        re.fullmatch(r"(SIG)?RTM(IN(\+([1-9]|1[0-5]))?|AX(-([1-9]|1[0-4]))?)", name.upper())
    )


def _volume(config: RunConfig, text: str) -> dict[str, Any]:
    words = json_strings(text)
    if words is None:
        words = split_raw(text)
    if not words:
        raise InvalidParameter("VOLUME requires at least one argument")
    volumes = dict(config.volumes or {})
    for word in words:
        path = expand(word, _environment(config)).strip()
        if not path:
            raise InvalidParameter("VOLUME specified can not be an empty string")
        volumes[path] = {}
    return {"volumes": volumes}


def _on_build(config: RunConfig, text: str) -> dict[str, Any]:
    if not text:
        raise InvalidParameter("ONBUILD requires at least one argument")
    word = text.partition(" ")[0].upper()
    if word == "ONBUILD":
        raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in ("FROM", "MAINTAINER"):
        raise InvalidParameter(f"{word} isn't allowed as an ONBUILD trigger")
    return {"on_build": [*(config.on_build or []), text]}


def _health(config: RunConfig, text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while (match := _FLAG.match(text)) is not None:
        values.update(_health_flag(match[1], match[2] or ""))
        text = text[match.end() :]
    kind, _, rest = text.partition(" ")
    kind, rest = kind.upper(), rest.strip()
    if not kind:
        raise InvalidParameter("HEALTHCHECK requires at least one argument")
    if kind == "NONE":
        if rest:
            raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
        return {"healthcheck": HealthConfig(test=["NONE"])}
    if kind != "CMD":
        raise InvalidParameter(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not rest:
        raise InvalidParameter("Missing command after HEALTHCHECK CMD")
    exact = json_strings(rest)
    test = ["CMD-SHELL", rest] if exact is None else ["CMD", *exact]
    return {"healthcheck": HealthConfig(test=test, **values)}


def _health_flag(name: str, value: str) -> dict[str, Any]:
    field = name.replace("-", "_")
    if field == "retries":
        if not re.fullmatch(r"-?\d+", value):
            raise InvalidParameter(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        if value.startswith("-"):
            raise InvalidParameter(f"--retries cannot be negative ({value})")
        return {field: int(value)}
    if field not in ("interval", "timeout", "start_period", "start_interval"):
        raise InvalidParameter(f"unknown flag: --{name}")
    span = parse_duration_ns(value) if value else 0
    if 0 < span < _MILLISECOND or span < 0:
        raise InvalidParameter(f'Interval "{name}" cannot be less than 1ms')
    return {field: span}


_HANDLERS: dict[str, Callable[[RunConfig, str], dict[str, Any]]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _working_dir,
}
