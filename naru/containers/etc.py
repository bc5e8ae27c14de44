"""A container's hosts, hostname and resolv.conf: written at each start, kept right meanwhile.

The files are bound into the container, so a change during a run is written in place.
"""

import os
from collections.abc import Mapping

from naru.containers.deps import Deps
from naru.containers.model import Container
from naru.kernel.files import write_atomic
from naru.kernel.threads import offload
from naru.network.validate import PREDEFINED
from naru.runtime import etc_files
from naru.runtime.links import Link, hosts_of
from naru.spec.engine.container_config import EndpointSettings

Endpoints = Mapping[str, EndpointSettings]

_LIMIT_BYTES = 1 << 20


def read_host_resolv_conf() -> str:
    """The host's own; "" where there is none. Blocks."""
    return _read("/etc/resolv.conf")


def write_files(
    deps: Deps,
    container: Container,
    endpoints: Endpoints,
    directory: str,
    links: tuple[Link, ...],
    root_ids: tuple[int, int],
) -> None:
    """All three, anew, in the container's durable directory; its root owns them.

    Blocks. Raises: OSError.
    """
    settings, config, host = deps.settings, container.config, container.host_config
    gateway = settings.host_gateway or deps.network.gateway_address()
    extra = etc_files.extra_hosts(host.extra_hosts, [gateway] if gateway else [])
    extra += hosts_of(links)
    if host.network_mode == "host":
        hosts = etc_files.hosts_of_host(_read("/etc/hosts"), extra)
    else:
        addresses = addresses_of(endpoints)
        hosts = etc_files.hosts(config.hostname, config.domainname, addresses, extra)
    for name, text in (
        ("hosts", hosts),
        ("hostname", etc_files.hostname_file(config.hostname)),
        ("resolv.conf", resolv_conf(deps, container, endpoints)),
    ):
        path = os.path.join(directory, name)
        write_atomic(path, text.encode(), 0o644)
        os.chown(path, *root_ids)


async def rewrite_files(deps: Deps, before: Container, after: Container) -> None:
    """A running container changed networks: its own addresses in hosts, and its resolv.conf where
    nobody has edited it. Raises: OSError."""
    await offload(_rewrite, deps, before, after)


def addresses_of(endpoints: Endpoints) -> list[str]:
    """Every address that a container has, in the order of its networks."""
    return [
        address
        for settings in endpoints.values()
        for address in (settings.ip_address, settings.global_ipv6_address)
        if address
    ]


def resolv_conf(deps: Deps, container: Container, endpoints: Endpoints) -> str:
    """The text for a container on these networks."""
    settings, host = deps.settings, container.host_config
    return etc_files.resolv_conf(
        read_host_resolv_conf(),
        nameservers=host.dns or settings.dns,
        search=host.dns_search or settings.dns_search,
        options=host.dns_options or settings.dns_options,
        keep_loopback=host.network_mode == "host",
        internal=any(name not in PREDEFINED for name in endpoints),
    )


def _rewrite(deps: Deps, before: Container, after: Container) -> None:
    directory = deps.settings.container_dir(after.id)
    config = after.config
    path = os.path.join(directory, "hosts")
    old, new = addresses_of(before.networks), addresses_of(after.networks)
    text = etc_files.without_addresses(_read(path), [item for item in old if item not in new])
    text += etc_files.own_lines(
        config.hostname, config.domainname, [item for item in new if item not in old]
    )
    _write_in_place(path, text)
    path = os.path.join(directory, "resolv.conf")
    if _read(path) == resolv_conf(deps, after, before.networks):
        _write_in_place(path, resolv_conf(deps, after, after.networks))


def _write_in_place(path: str, text: str) -> None:
    body = text.encode(errors="surrogateescape")
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, body, 0)
        os.ftruncate(fd, len(body))
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as source:
            return source.read(_LIMIT_BYTES)
    except OSError:
        return ""
