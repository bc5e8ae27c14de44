"""The answer of GET /containers/{id}/json, out of a container's record. Pure.

Spec: Engine API 1.51, `ContainerInspectResponse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from naru.base.clock import rfc3339
from naru.containers.health import Health
from naru.containers.model import Container
from naru.engine.api.summary import VolumePath, mount_json, networks_shown
from naru.spec.engine.container_config import EndpointSettings, HostConfig

_HEALTH_RESULTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What inspect shows besides the record. `directory`: the container's durable files."""

    directory: str
    log_path: str
    graph_driver: Mapping[str, Any]
    exec_ids: Sequence[str]
    health: Health | None
    volume_path: VolumePath
    links: Sequence[str] = ()
    sizes: tuple[int, int] | None = None


def inspect_json(container: Container, around: Surroundings) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created_ns),
        "Path": container.path,
        "Args": list(container.args),
        "State": state_json(container, around.health),
        "Image": container.image_id,
        "ResolvConfPath": f"{around.directory}/resolv.conf",
        "HostnamePath": f"{around.directory}/hostname",
        "HostsPath": f"{around.directory}/hosts",
        "LogPath": around.log_path,
        "Name": "/" + container.name,
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(around.exec_ids) or None,
        "HostConfig": host_config_shown(container, around.links),
        "GraphDriver": around.graph_driver,
    }
    if not container.started_once:
        body.update(ResolvConfPath="", HostnamePath="", HostsPath="", LogPath="")
    if around.sizes is not None:
        body["SizeRw"], body["SizeRootFs"] = around.sizes
    body["Mounts"] = [mount_json(mount, around.volume_path) for mount in container.mounts]
    body["Config"] = container.config
    body["NetworkSettings"] = network_json(container)
    return body


def host_config_shown(container: Container, links: Sequence[str]) -> HostConfig:
    """HostConfig with links as Docker tells them: `/other:/this/alias`."""
    return replace(container.host_config, links=list(links)) if links else container.host_config


def state_json(container: Container, health: Health | None) -> dict[str, Any]:
    """Docker's booleans, derived from the one status."""
    state = container.state
    status = state.status
    shown: dict[str, Any] = {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_ns),
        "FinishedAt": rfc3339(state.finished_ns),
    }
    if health is not None:
        shown["Health"] = health_json(health)
    return shown


def health_json(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": rfc3339(result.started_ns),
                "End": rfc3339(result.ended_ns),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.results[-_HEALTH_RESULTS:]
        ],
    }


def network_json(container: Container) -> dict[str, Any]:
    """`NetworkSettings`; the old fields beside `Networks` repeat those of the default bridge."""
    networks = networks_shown(container)
    bridge = networks.get("bridge") or EndpointSettings()
    running = container.sandbox_path != ""
    return {
        "Bridge": "",
        "SandboxID": container.id if running else "",
        "SandboxKey": container.sandbox_path,
        "Ports": container.ports,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": bridge.global_ipv6_address,
        "GlobalIPv6PrefixLen": bridge.global_ipv6_prefix_len,
        "IPAddress": bridge.ip_address,
        "IPPrefixLen": bridge.ip_prefix_len,
        "IPv6Gateway": bridge.ipv6_gateway,
        "MacAddress": bridge.mac_address,
        "Networks": networks,
    }
