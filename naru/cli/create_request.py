"""The body of POST /containers/create out of `run`'s and `create`'s flags, as docker's CLI has it.

Reads the files that flags name (`--env-file`, `--label-file`, a seccomp profile), nothing else.
"""

from __future__ import annotations

import os

from naru.cli.command import CommandError
from naru.cli.create_mounts import split_tmpfs, split_volumes
from naru.cli.create_network import build_endpoints, build_ports
from naru.cli.create_values import read_env
from naru.cli.publish_source import LABEL, sources_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values

_PULL = ("always", "missing", "never")


def read_lines(path: str, environment: bool) -> list[str]:
    """The settings of an `--env-file` or `--label-file`. Raises: ValueError, OSError."""
    settings = []
    with open(path, encoding="utf-8") as file:
        for line in file.read().removeprefix("\ufeff").splitlines():
            line = line.lstrip()
            if not line or line.startswith("#"):
                continue
            name, equals, _ = line.partition("=")
            if not name:
                raise ValueError(f"no variable name on line '{line}'")
            if name != name.rstrip() or any(char in " \t" for char in name):
                raise ValueError(f"variable '{name}' contains whitespaces")
            if equals or not environment:
                settings.append(line)
            elif name in os.environ:
                settings.append(read_env(name))
    return settings


def _files(paths: list[str], environment: bool) -> list[str]:
    return [line for path in paths for line in read_lines(path, environment)]


def _pairs(items: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def build(values: Values, image: str, words: list[str]) -> dict[str, Any]:
    """The request for `image` with the command `words`. Raises: CommandError."""
    try:
        return _build(values, image, words)
    except ValueError as error:
        raise CommandError(str(error), 125) from error
    except OSError as error:
        text = f"open {error.filename}: {(error.strerror or '').lower()}"
        raise CommandError(text, 125) from error


def _build(values: Values, image: str, words: list[str]) -> dict[str, Any]:
    ports, bindings = build_ports(values["publish"], values["expose"])
    binds, volumes = split_volumes(values["volume"])
    mode, endpoints = build_endpoints(values)
    body = _config(values, image, words, ports, volumes)
    _add_sources(values, body["Labels"], bindings)
    host = {**_host(values, mode, bindings, binds), **_resources(values)}
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def _config(
    values: Values,
    image: str,
    words: list[str],
    ports: dict[str, Any],
    volumes: dict[str, Any],
) -> dict[str, Any]:
    attach: list[str] = values["attach"]
    stdin = "stdin" in attach or values["interactive"]
    environment = _files(values["env-file"], True) + values["env"]
    labels = _pairs(_files(values["label-file"], False) + values["label"])
    body: dict[str, Any] = {
        "Hostname": values["hostname"], "Domainname": values["domainname"],
        "User": values["user"], "AttachStdin": stdin,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
        "Tty": values["tty"], "OpenStdin": values["interactive"],
        "StdinOnce": values["interactive"] and stdin,
        "Env": environment or None, "Cmd": words or None, "Image": image, "Volumes": volumes,
        "WorkingDir": values["workdir"], "Entrypoint": None, "OnBuild": None, "Labels": labels,
    }  # fmt: skip
    if ports:
        body["ExposedPorts"] = ports
    if "entrypoint" in values.given:
        body["Entrypoint"] = [values["entrypoint"]]
    health = _health(values)
    if health:
        body["Healthcheck"] = health
    if "stop-signal" in values.given and values["stop-signal"]:
        body["StopSignal"] = values["stop-signal"]
    if "stop-timeout" in values.given:
        body["StopTimeout"] = values["stop-timeout"]
    return body


def _add_sources(values: Values, labels: dict[str, str], bindings: dict[str, Any]) -> None:
    if not values["publish-source"]:
        return
    if LABEL in labels:
        raise ValueError(
            f"conflicting options: cannot specify both --publish-source and the label {LABEL}"
        )
    labels[LABEL] = sources_label(values["publish-source"], bindings, values["publish-all"])


def _health(values: Values) -> dict[str, Any] | None:
    times = {
        "Interval": "health-interval", "Timeout": "health-timeout",
        "StartPeriod": "health-start-period", "StartInterval": "health-start-interval",
        "Retries": "health-retries",
    }  # fmt: skip
    command: str = values["health-cmd"]
    wanted = command or any(values[flag] for flag in times.values())
    if values["no-healthcheck"]:
        if wanted:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not wanted:
        return None
    for flag in times.values():
        if values[flag] < 0:
            raise ValueError(f"--{flag} cannot be negative")
    health: dict[str, Any] = {"Test": ["CMD-SHELL", command]} if command else {}
    health.update({name: values[flag] for name, flag in times.items() if values[flag]})
    return health


def _host(values: Values, mode: str, bindings: dict[str, Any], binds: list[str]) -> dict[str, Any]:
    capabilities = _capabilities(values["cap-add"], values["cap-drop"])
    host: dict[str, Any] = {
        "Binds": binds or None, "ContainerIDFile": values["cidfile"],
        "LogConfig": {"Type": values["log-driver"], "Config": _log_options(values)},
        "NetworkMode": mode, "PortBindings": bindings,
        "RestartPolicy": read_restart(values["restart"], values["rm"]),
        "AutoRemove": values["rm"], "VolumeDriver": values["volume-driver"],
        "VolumesFrom": values["volumes-from"] or None, "ConsoleSize": [0, 0],
        "CapAdd": capabilities[0], "CapDrop": capabilities[1],
        "CgroupnsMode": _one_of("CGROUP", values["cgroupns"], ("", "host", "private")),
        "Dns": values["dns"], "DnsOptions": values["dns-option"],
        "DnsSearch": values["dns-search"], "ExtraHosts": values["add-host"] or None,
        "GroupAdd": values["group-add"] or None, "IpcMode": values["ipc"], "Cgroup": "",
        "Links": values["link"] or None, "OomScoreAdj": values["oom-score-adj"],
        "PidMode": values["pid"], "Privileged": values["privileged"],
        "PublishAllPorts": values["publish-all"], "ReadonlyRootfs": values["read-only"],
        "SecurityOpt": None, "UTSMode": _one_of("UTS", values["uts"], ("", "host")),
        "UsernsMode": _one_of("USER", values["userns"], ("", "host", "private")),
        "ShmSize": values["shm-size"], "Isolation": values["isolation"],
        "MaskedPaths": None, "ReadonlyPaths": None,
    }  # fmt: skip
    if values["pid"] and not _is_namespace(values["pid"]):
        raise ValueError("--pid: invalid PID mode")
    optional = {
        "Annotations": dict(values["annotation"]), "Mounts": values["mount"],
        "StorageOpt": _storage_options(values), "Tmpfs": split_tmpfs(values["tmpfs"]),
        "Sysctls": dict(values["sysctl"]), "Runtime": values["runtime"],
    }  # fmt: skip
    host.update({name: value for name, value in optional.items() if value})
    if "init" in values.given:
        host["Init"] = values["init"]
    _apply_security(host, values["security-opt"])
    return host


def _capabilities(add: list[str], drop: list[str]) -> tuple[list[str] | None, list[str] | None]:
    """Both lists in the kernel's names, sorted; ALL stands for every other name beside it."""
    added, dropped = (
        {name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"
         for name in (item.strip().upper() for item in items)}
        for items in (add, drop)
    )  # fmt: skip
    added = {"ALL"} if "ALL" in added else added
    dropped = {"ALL"} if "ALL" in dropped else dropped
    return sorted(added) or None, sorted(dropped - added) or None


def _is_namespace(mode: str) -> bool:
    return mode == "host" or (mode.startswith("container:") and mode != "container:")


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        flag = {"CGROUP": "cgroupns", "UTS": "uts", "USER": "userns"}[what]
        raise ValueError(f"--{flag}: invalid {what} mode")
    return value


def _log_options(values: Values) -> dict[str, str]:
    options = _pairs(values["log-opt"])
    if values["log-driver"] == "none" and options:
        raise ValueError("invalid logging opts for driver none")
    return options


def _storage_options(values: Values) -> dict[str, str]:
    for option in values["storage-opt"]:
        if "=" not in option:
            raise ValueError("invalid storage option")
    return _pairs(values["storage-opt"])


def read_restart(text: str, remove: bool = False) -> dict[str, Any]:
    """A restart policy: `no`, `always`, `unless-stopped`, `on-failure[:N]`."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if colon and not count.lstrip("-").isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    if remove and name not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    return {"Name": name, "MaximumRetryCount": int(count) if colon else 0}


def _apply_security(host: dict[str, Any], options: list[str]) -> None:
    chosen = []
    for option in options:
        name, equals, value = option.partition("=")
        if not equals and ":" in option:
            name, equals, value = option.partition(":")
        if option == "systempaths=unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
            continue
        if not equals and name != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{option}"')
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            option = "seccomp=" + _seccomp_profile(value)
        chosen.append(option)
    host["SecurityOpt"] = chosen if options else None


def _seccomp_profile(path: str) -> str:
    from naru.client.wire import decode, encode

    try:
        with open(path, "rb") as file:
            return encode(decode(file.read()))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ValueError(
            f"opening seccomp profile ({path}) failed: open {path}: {reason}"
        ) from None
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def read_device(text: str) -> dict[str, str]:
    """`host[:container][:rwm]`."""
    host, *rest = text.split(":")
    if len(rest) > 2:
        raise ValueError(f"bad format for path: {text}")
    inside, access = host, "rwm"
    if len(rest) == 2:
        inside, access = rest
    elif rest and set(rest[0]) <= set("rwm") and rest[0]:
        access = rest[0]
    elif rest:
        inside = rest[0]
    if not access or set(access) - set("rwm"):
        raise ValueError(f"bad mode specified: {access}")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access}


def limits(values: Values) -> dict[str, Any]:
    """The limits that `run`, `create` and `update` have in common."""
    return {
        "CpuShares": values["cpu-shares"], "Memory": values["memory"],
        "NanoCpus": values["cpus"], "BlkioWeight": values["blkio-weight"],
        "CpuPeriod": values["cpu-period"], "CpuQuota": values["cpu-quota"],
        "CpuRealtimePeriod": values["cpu-rt-period"],
        "CpuRealtimeRuntime": values["cpu-rt-runtime"],
        "CpusetCpus": values["cpuset-cpus"], "CpusetMems": values["cpuset-mems"],
        "MemoryReservation": values["memory-reservation"], "MemorySwap": values["memory-swap"],
        "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
    }  # fmt: skip


def _resources(values: Values) -> dict[str, Any]:
    swappiness = values["memory-swappiness"]
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    found = limits(values)
    found.update({
        "CgroupParent": values["cgroup-parent"],
        "BlkioWeightDevice": values["blkio-weight-device"],
        "BlkioDeviceReadBps": values["device-read-bps"],
        "BlkioDeviceWriteBps": values["device-write-bps"],
        "BlkioDeviceReadIOps": values["device-read-iops"],
        "BlkioDeviceWriteIOps": values["device-write-iops"],
        "Devices": [read_device(text) for text in values["device"]],
        "DeviceCgroupRules": values["device-cgroup-rule"] or None,
        "DeviceRequests": values["gpus"] or None, "MemorySwappiness": swappiness,
        "OomKillDisable": values["oom-kill-disable"], "PidsLimit": values["pids-limit"],
        "Ulimits": sorted(values["ulimit"], key=lambda limit: str(limit["Name"])),
    })  # fmt: skip
    return found


def check_pull(policy: str) -> None:
    """Raises: CommandError for a `--pull` that is none."""
    if policy not in _PULL:
        raise CommandError(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"',
            125,
        )
