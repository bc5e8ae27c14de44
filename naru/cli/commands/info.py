"""`naru info`: the engine's state and settings on one page."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.base.units import human_size_binary
from naru.cli.command import Command, CommandError
from naru.cli.commands.version import VERSION_TEXT
from naru.cli.flags import Flag, Flags
from naru.cli.formats import INSPECT_FORMAT_HELP, STRING_FORMAT
from naru.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(Flag("format", "f", STRING_FORMAT, INSPECT_FORMAT_HELP))


def _yes(value: object) -> str:
    return "true" if value else "false"


def _counts(info: Any) -> list[str]:
    return [
        f" Containers: {info.get('Containers', 0)}",
        f"  Running: {info.get('ContainersRunning', 0)}",
        f"  Paused: {info.get('ContainersPaused', 0)}",
        f"  Stopped: {info.get('ContainersStopped', 0)}",
        f" Images: {info.get('Images', 0)}",
        f" Server Version: {info.get('ServerVersion', '')}",
    ]


def _drivers(info: Any) -> list[str]:
    lines = [f" Storage Driver: {info.get('Driver', '')}"]
    lines += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or ()]
    lines.append(f" Logging Driver: {info.get('LoggingDriver', '')}")
    lines.append(f" Cgroup Driver: {info.get('CgroupDriver', '')}")
    lines.append(f" Cgroup Version: {info.get('CgroupVersion', '')}")
    plugins = info.get("Plugins") or {}
    lines.append(" Plugins:")
    for kind in ("Volume", "Network", "Authorization", "Log"):
        if plugins.get(kind):
            lines.append(f"  {kind}: {' '.join(plugins[kind])}")
    if info.get("CDISpecDirs"):
        lines.append(" CDI spec directories:")
        lines += [f"  {folder}" for folder in info["CDISpecDirs"]]
    return lines


def _runtimes(info: Any) -> list[str]:
    lines = [f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState') or 'inactive'}"]
    if info.get("Runtimes"):
        lines.append(f" Runtimes: {' '.join(sorted(info['Runtimes']))}")
        lines.append(f" Default Runtime: {info.get('DefaultRuntime', '')}")
    lines.append(f" Init Binary: {info.get('InitBinary', '')}")
    for key, name in (
        ("ContainerdCommit", "containerd"), ("RuncCommit", "runc"), ("InitCommit", "init"),
    ):  # fmt: skip
        if info.get(key) is not None:
            lines.append(f" {name} version: {info[key].get('ID', '')}")
    return lines


def _security(info: Any) -> list[str]:
    lines = []
    for option in info.get("SecurityOptions") or ():
        pairs = [part.partition("=")[::2] for part in option.split(",")]
        name = next((value for key, value in pairs if key == "name"), option)
        lines.append(f"  {name}")
        for key, value in pairs:
            if key != "name":
                shown = {"profile": "Profile"}.get(key, key)
                lines.append(f"   {shown}: {value}")
    return [" Security Options:", *lines] if lines else []


def _host(info: Any) -> list[str]:
    lines = [
        f" Kernel Version: {info.get('KernelVersion', '')}",
        f" Operating System: {info.get('OperatingSystem', '')}",
        f" OSType: {info.get('OSType', '')}",
        f" Architecture: {info.get('Architecture', '')}",
        f" CPUs: {info.get('NCPU', 0)}",
        f" Total Memory: {human_size_binary(info.get('MemTotal', 0))}",
        f" Name: {info.get('Name', '')}",
        f" ID: {info.get('ID', '')}",
        f" Docker Root Dir: {info.get('DockerRootDir', '')}",
        f" Debug Mode: {_yes(info.get('Debug'))}",
    ]
    for key, name in (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"),
                      ("NoProxy", "No Proxy")):  # fmt: skip
        if info.get(key):
            lines.append(f" {name}: {info[key]}")
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    lines.append(f" Experimental: {_yes(info.get('ExperimentalBuild'))}")
    registry = info.get("RegistryConfig") or {}
    insecure = sorted(
        name for name, found in (registry.get("IndexConfigs") or {}).items()
        if not found.get("Secure")
    )  # fmt: skip
    insecure += registry.get("InsecureRegistryCIDRs") or []
    if insecure:
        lines += [" Insecure Registries:", *(f"  {name}" for name in insecure)]
    lines.append(f" Live Restore Enabled: {_yes(info.get('LiveRestoreEnabled'))}")
    return lines


def run(session: Session, values: Values, arguments: list[str]) -> None:
    form: str = values["format"]
    failure, info = "", None
    try:
        info = system.info(session.engine)
    except NaruError as error:
        failure = error.message
    client = {
        "Debug": session.options["debug"], "Context": session.context_name(),
        "Version": VERSION_TEXT,
    }  # fmt: skip
    if form:
        from naru.cli.documents import show_document

        errors = [failure] if failure else None
        show_document({**(info or {}), "ClientInfo": client, "ServerErrors": errors}, form)
    else:
        lines = [
            "Client:",
            f" Version:    {VERSION_TEXT}",
            f" Context:    {client['Context']}",
            f" Debug Mode: {_yes(client['Debug'])}",
            "",
            "Server:",
        ]
        if info is not None:
            lines += _counts(info) + _drivers(info) + _runtimes(info) + _security(info)
            lines += [*_host(info), ""]
        sys.stdout.write("\n".join(lines) + "\n")
        for warning in (info or {}).get("Warnings") or ():
            sys.stderr.write(f"{warning}\n")
    if failure:
        raise CommandError(failure if form else f"{failure}\nerrors pretty printing info")


INFO = Command(run, "[OPTIONS]", "Display system-wide information", FLAGS)
