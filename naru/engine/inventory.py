"""The body of GET /info: what the host offers, what is configured, how much there is.

Spec: Engine API 1.51, `SystemInfo`.
"""

from collections import Counter
from typing import Any

from naru.containers.store import ContainerStore
from naru.engine import limits
from naru.engine.config import Config
from naru.engine.host import Host
from naru.engine.version import NARU_VERSION
from naru.images.service import ImageService
from naru.runtime.facts import HostFacts

_LOG_DRIVERS = ["json-file", "local", "none"]
_COUNTS = (
    "Containers",
    "ContainersRunning",
    "ContainersPaused",
    "ContainersStopped",
    "Images",
)
_NO_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


class Inventory:
    def __init__(
        self,
        config: Config,
        host: Host,
        facts: HostFacts,
        engine_id: str,
        store: ContainerStore,
        images: ImageService,
    ) -> None:
        self._store, self._images = store, images
        self._static = _static(config, host, facts, engine_id)

    def info(self, config: Config) -> dict[str, Any]:
        """A fresh body for the configuration as it is now; what changes by the moment (time,
        descriptors) the caller adds.
        """
        counts = Counter(container.state.status for container in self._store)
        total = sum(counts.values())
        running, paused = counts["running"] + counts["restarting"], counts["paused"]
        return {
            **self._static,
            "Containers": total,
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": total - running - paused,
            "Debug": config.log_level == "debug",
            "Labels": list(config.labels),
            "Images": len(self._images.list({}, everything=True)),
        }


def _static(config: Config, host: Host, facts: HostFacts, engine_id: str) -> dict[str, Any]:
    """In Docker's order, so that two answers can be compared by eye."""
    security = ["name=seccomp,profile=builtin"] if facts.seccomp else []
    security += ["name=apparmor"] if facts.apparmor else []
    security += ["name=userns"] if config.userns_remap else []
    security += ["name=cgroupns"] if facts.cgroup_version == 2 else []
    return {
        "ID": engine_id,
        **dict.fromkeys(_COUNTS, 0),
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", host.backing_filesystem],
            ["Supports d_type", "true"],
            ["Using metacopy", "false"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": _LOG_DRIVERS,
        },
        **limits.support(facts),
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": 0,
        "OomKillDisable": facts.cgroup_version == 1,
        "NGoroutines": 0,
        "SystemTime": "",
        "LoggingDriver": config.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": str(facts.cgroup_version),
        "NEventsListener": 0,
        **_host(config, host),
        "ExperimentalBuild": False,
        "ServerVersion": NARU_VERSION,
        "Runtimes": {name: {"path": name} for name in sorted(facts.runtimes)},
        "DefaultRuntime": facts.default_runtime,
        "Swarm": _NO_SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": facts.init_path or "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": host.programs.get(facts.default_runtime, "")},
        "InitCommit": {"ID": ""},
        "SecurityOptions": security,
        "FirewallBackend": {"Driver": "nftables"},
        "CDISpecDirs": [],
        "Warnings": None,
    }


def _host(config: Config, host: Host) -> dict[str, Any]:
    return {
        "KernelVersion": host.kernel,
        "OperatingSystem": host.operating_system,
        "OSVersion": host.os_version,
        "OSType": "linux",
        "Architecture": host.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "IndexConfigs": {},
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "Mirrors": None,
        },
        "NCPU": host.cpus,
        "MemTotal": host.memory_bytes,
        "GenericResources": None,
        "DockerRootDir": config.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": host.name,
        "Labels": [],
    }
