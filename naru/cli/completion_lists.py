"""What completes a command's arguments and the values of its flags. Pure.

A list is a name in `LISTS`, which is asked of `naru` when the key is pressed; anything else is the
words themselves.
"""

from __future__ import annotations

LISTS = {
    "running": "naru ps --format '{{.Names}}'",
    "containers": "naru ps -a --format '{{.Names}}'",
    "images": "naru images --format '{{.Repository}}:{{.Tag}}'",
    "volumes": "naru volume ls -q",
    "networks": "naru network ls --format '{{.Name}}'",
    "contexts": "naru context ls -q",
}
_RUNNING = frozenset(("attach", "exec", "kill", "pause", "port", "restart", "stats", "stop", "top"))
_ANY = frozenset((
    "commit", "cp", "diff", "export", "logs", "rename", "rm", "start", "unpause", "update", "wait",
    "inspect",
))  # fmt: skip
_IMAGES = frozenset(("create", "history", "push", "rmi", "run", "save", "tag"))
_CREATING = ("run", "create", "container run", "container create")
_OF_CREATING = {
    "--link": "containers", "--network": "networks", "--pull": "always missing never",
    "--restart": "always no on-failure unless-stopped", "--volumes-from": "containers",
}  # fmt: skip
_OF_NETWORKS = {
    "network connect": {"--link": "containers"},
    "network create": {
        "--config-from": "networks", "--driver": "bridge ipvlan macvlan",
        "-d": "bridge ipvlan macvlan", "--scope": "global local swarm",
        "--opt": "com.docker.network.bridge.enable_icc= "
        "com.docker.network.bridge.enable_ip_masquerade= "
        "com.docker.network.bridge.gateway_mode_ipv4= "
        "com.docker.network.bridge.gateway_mode_ipv6= "
        "com.docker.network.bridge.host_binding_ipv4= com.docker.network.bridge.name= "
        "com.docker.network.driver.mtu= ipvlan_mode= macvlan_mode= parent=",
    },
    "network ls": {"--filter": "dangling= driver= id= label= name= scope= type="},
    "network list": {"--filter": "dangling= driver= id= label= name= scope= type="},
    "network ports": {"--filter": "container= network= port="},
    "network prune": {"--filter": "label= label!= until="},
}  # fmt: skip


def argument_list(path: str, position: int = 0) -> str:
    """Which list completes the argument at `position` of the command at `path`; empty for none."""
    group, _, word = path.rpartition(" ")
    if group == "network" and word in ("connect", "disconnect"):
        return ("networks", "containers", "")[min(position, 2)]
    if group in ("volume", "network", "context"):
        return f"{group}s" if word in ("rm", "remove", "inspect", "use", "export", "update") else ""
    if group == "image":
        return "images" if word in ("history", "inspect", "rm", "save", "tag") else ""
    if group in ("", "container"):
        if word in _RUNNING:
            return "running"
        if word in _ANY:
            return "containers"
        if word in _IMAGES:
            return "images"
    return ""


def value_lists(path: str) -> dict[str, str]:
    """Flags of the command at `path` to the list or the words that complete their values."""
    if path in _CREATING:
        return _OF_CREATING
    return _OF_NETWORKS.get(path, {})
