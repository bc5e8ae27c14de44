"""The entries of the container list, kept ready as JSON: GET /containers/json of 1,000 containers
is joining bytes.

An entry changes with its record, with image names, and with time ("Up 3 minutes"): it is kept in
two pieces around the status text, together with the moment until which that text is right.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from naru.base.clock import NS
from naru.base.units import human_duration
from naru.containers.links import linked_names
from naru.containers.model import Container, MountPoint
from naru.containers.store import ContainerStore
from naru.network import addressing
from naru.spec.engine.container_config import EndpointSettings

ShownImage = Callable[[Container], str]
HealthOf = Callable[[str], str | None]
VolumePath = Callable[[str], str]

_MINUTE = 60
_SPLIT = b'"Status":""'
_RUNNING = frozenset({"running", "paused", "restarting"})
_NEVER = 1 << 62


def status_text(container: Container, health: str | None, now_ns: int) -> tuple[str, int]:
    """`Up 3 minutes (healthy)`, and until when (ns) that is right. Pure."""
    state = container.state
    match state.status:
        case "removing":
            return "Removal In Progress", _NEVER
        case "dead":
            return "Dead", _NEVER
        case "running" | "paused":
            text, until = _since(state.started_ns, now_ns)
            if state.status == "paused":
                return f"Up {text} (Paused)", until
            if health in ("healthy", "unhealthy"):
                return f"Up {text} ({health})", until
            return f"Up {text} (health: starting)" if health else f"Up {text}", until
        case "restarting":
            text, until = _since(state.finished_ns, now_ns)
            return f"Restarting ({state.exit_code}) {text} ago", until
    if not state.started_ns:
        return "Created", _NEVER
    if not state.finished_ns:
        return "", _NEVER
    text, until = _since(state.finished_ns, now_ns)
    return f"Exited ({state.exit_code}) {text} ago", until


def _since(then_ns: int, now_ns: int) -> tuple[str, int]:
    seconds = max(0, now_ns - then_ns) / NS
    step = 1 if seconds < _MINUTE else _MINUTE
    until = then_ns + (int(seconds // step) + 1) * step * NS
    return human_duration(seconds), until


def ports_of(container: Container) -> list[dict[str, Any]]:
    """`Ports` of the list: what is published, and what is exposed by a running container."""
    ports: list[dict[str, Any]] = []
    for port, bindings in container.ports.items():
        number, _, protocol = port.partition("/")
        if not bindings:
            ports.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
        for binding in bindings or ():
            ports.append(
                {
                    "IP": binding.host_ip,
                    "PrivatePort": int(number),
                    "PublicPort": int(binding.host_port or 0),
                    "Type": protocol or "tcp",
                }
            )
    return ports


def mount_json(mount: MountPoint, volume_path: VolumePath) -> dict[str, Any]:
    """A `MountPoint` of the list and of inspect."""
    shown: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        shown["Name"] = mount.name
    shown["Source"] = volume_path(mount.name) if mount.type == "volume" else mount.source
    shown["Destination"] = mount.destination
    if mount.type == "volume":
        shown["Driver"] = mount.driver or "local"
    shown.update(Mode=mount.mode, RW=mount.rw, Propagation=mount.propagation)
    return shown


def networks_shown(container: Container) -> dict[str, EndpointSettings]:
    """The endpoints; of a container that does not run only what was asked for, as Docker does."""
    if container.state.status in _RUNNING:
        return container.networks
    return {
        name: replace(
            settings,
            endpoint_id="",
            gateway="",
            ip_address="",
            ip_prefix_len=0,
            mac_address=addressing.asked_mac(settings),
            ipv6_gateway="",
            global_ipv6_address="",
            global_ipv6_prefix_len=0,
        )
        for name, settings in container.networks.items()
    }


def command_text(container: Container) -> str:
    args = (f"'{arg}'" if " " in arg else arg for arg in container.args)
    return " ".join((container.path, *args)) if container.args else container.path


def entry(
    container: Container, image: str, volume_path: VolumePath, also: Iterable[str] = ()
) -> dict[str, Any]:
    """One entry with an empty `Status`. `also`: what those call it that link to it.

    Spec: Engine API 1.51, `ContainerSummary`.
    """
    host_config: dict[str, Any] = {"NetworkMode": container.host_config.network_mode}
    if annotations := container.host_config.annotations:
        host_config["Annotations"] = annotations
    return {
        "Id": container.id,
        "Names": ["/" + container.name, *also],
        "Image": image,
        "ImageID": container.image_id,
        "Command": command_text(container),
        "Created": container.created_ns // NS,
        "Ports": ports_of(container),
        "Labels": container.config.labels or {},
        "State": container.state.status,
        "Status": "",
        "HostConfig": host_config,
        "NetworkSettings": {"Networks": networks_shown(container)},
        "Mounts": [mount_json(mount, volume_path) for mount in container.mounts],
    }


class _Fragment:
    __slots__ = ("before", "behind", "container", "until_ns", "whole")

    def __init__(self, container: Container, encoded: bytes) -> None:
        at = encoded.rindex(_SPLIT)
        self.container = container
        self.before, self.behind = encoded[: at + len(_SPLIT) - 1], encoded[at + len(_SPLIT) - 1 :]
        self.whole = b""
        self.until_ns = 0

    def text(self, health_of: HealthOf, now_ns: int) -> bytes:
        if now_ns >= self.until_ns:
            status, self.until_ns = status_text(
                self.container, health_of(self.container.id), now_ns
            )
            self.whole = self.before + status.encode() + self.behind
        return self.whole


class Summaries:
    """Every container's entry, renewed when needed. Listens to the store."""

    def __init__(
        self,
        store: ContainerStore,
        shown_image: ShownImage,
        health_of: HealthOf,
        volume_path: VolumePath,
    ) -> None:
        self._store = store
        self._shown_image, self._health_of = shown_image, health_of
        self._volume_path = volume_path
        self._fragments: dict[str, _Fragment] = {}
        self._order: list[Container] | None = None
        self._lists: dict[bool, tuple[int, bytes]] = {}
        store.listen(self._changed)

    def _changed(self, identifier: str, container: Container | None) -> None:
        self._fragments.pop(identifier, None)
        self._order = None
        self._lists.clear()

    def images_changed(self) -> None:
        """A name moved: what `Image` shows may be different for any container."""
        self._fragments.clear()
        self._lists.clear()

    def newest_first(self) -> list[Container]:
        if self._order is None:
            self._order = self._store.all()
        return self._order

    def fragment(self, container: Container, now_ns: int) -> bytes:
        """The entry of one container as JSON."""
        return self._fragment(container).text(self._health_of, now_ns)

    def _fragment(self, container: Container) -> _Fragment:
        fragment = self._fragments.get(container.id)
        if fragment is None:
            shown = self._shown_image(container)
            also = linked_names(self._store, container)
            encoded = msgspec.json.encode(entry(container, shown, self._volume_path, also))
            fragment = self._fragments[container.id] = _Fragment(container, encoded)
        return fragment

    def list_all(self, everything: bool, now_ns: int) -> bytes:
        """The whole answer without filters; `everything`: what does not run, too."""
        kept = self._lists.get(everything)
        if kept is not None and now_ns < kept[0]:
            return kept[1]
        until, parts = _NEVER, []
        for container in self.newest_first():
            if everything or container.state.status in _RUNNING:
                fragment = self._fragment(container)
                parts.append(fragment.text(self._health_of, now_ns))
                until = min(until, fragment.until_ns)
        body = join(parts)
        self._lists[everything] = (until, body)
        return body

    def some(self, containers: Iterable[Container], now_ns: int) -> bytes:
        return join(self.fragment(container, now_ns) for container in containers)


def join(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]\n"


def is_running(container: Container) -> bool:
    return container.state.status in _RUNNING


def with_sizes(fragment: bytes, rw_bytes: int, rootfs_bytes: int) -> bytes:
    """The entry with `SizeRw` and `SizeRootFs`, each left out when it is 0, as Docker does."""
    extra = b""
    if rw_bytes:
        extra += b',"SizeRw":%d' % rw_bytes
    if rootfs_bytes:
        extra += b',"SizeRootFs":%d' % rootfs_bytes
    return fragment[:-1] + extra + b"}"
