"""From the body of POST /networks/create to a network's draft, everything checked. Pure.

What is still open in a draft: the id, the pools that nobody chose, the bridge's derived name.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import structs

from naru.base.errors import Conflict, Forbidden, InvalidParameter, NotFound, Unsupported
from naru.network import drivers
from naru.network.ipam import Subnet
from naru.network.model import Network, Pool
from naru.network.validate import PREDEFINED, joined
from naru.spec.engine.network import IPAMConfig, NetworkCreate

_NAME = re.compile(r"(?=.{1,128}\Z)[a-zA-Z0-9_](?:[a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?\Z")
_USELESS = (IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/3"), IPv4Network("0.0.0.0/8"))
_USELESS6 = (IPv6Network("ff00::/8"), IPv6Network("::/8"))


def draft(body: NetworkCreate, find: Callable[[str], Network]) -> Network:
    """The network as asked for; `find` gives another network by name.

    Raises: InvalidParameter, Forbidden, NotFound, Unsupported.
    """
    check_name(body.name)
    _check_kind(body)
    if body.config_from is not None and body.config_from.network:
        return _from_configuration(body, find)
    driver = body.driver or "bridge"
    ipv4 = body.enable_ipv4 is not False
    ipam = body.ipam
    pools = _pools(ipam.config or [] if ipam is not None else [])
    ipv6 = body.enable_ipv6 is True
    if not ipv4 and not ipv6:
        raise InvalidParameter("IPv4 or IPv6 must be enabled")
    if ipam is not None and ipam.driver not in ("", "default"):
        raise NotFound(f'plugin "{ipam.driver}" not found')
    if ipam is not None and ipam.options:
        name = min(ipam.options)
        raise Unsupported(f"option {name!r} of the default IPAM driver is not supported")
    options = dict(body.options or {})
    if not body.config_only:
        drivers.parse(driver, options, internal=body.internal, ipv6=ipv6)
    kept = tuple(pool for pool in pools if (ipv6 if pool.ipv6 else ipv4))
    _check_one_each(kept)
    return Network(
        id="",
        name=body.name,
        driver="null" if body.config_only else driver,
        created_ns=0,
        pools=pools if body.config_only else kept,
        ipv4=ipv4,
        ipv6=ipv6,
        internal=body.internal,
        attachable=body.attachable,
        config_only=body.config_only,
        ipam_options=ipam.options if ipam is not None else None,
        options=options,
        labels=dict(body.labels or {}),
    )


def check_name(name: str) -> None:
    """Raises: InvalidParameter, Forbidden for the names of predefined networks."""
    if not name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if name in PREDEFINED or name in ("default", "container"):
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if not _NAME.match(name):
        raise InvalidParameter(
            f"invalid network name {name!r}: wanted at most 128 letters, digits and '_', '.', '-', "
            "of which the first is a letter, a digit or '_', and spaces only inside"
        )


def _check_kind(body: NetworkCreate) -> None:
    if body.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if body.scope == "swarm":
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if body.scope not in ("", "local"):
        raise InvalidParameter(f"invalid scope {body.scope!r}: wanted local")
    if body.driver == "overlay":
        raise Forbidden(
            "This node is not a swarm manager. overlay networks need several machines, which come "
            "later; use the bridge driver on one"
        )
    if body.driver in ("host", "null") and not body.config_only:
        raise Forbidden(f'only one instance of "{body.driver}" network is allowed')
    if body.driver and body.driver not in drivers.DRIVERS and not body.config_only:
        raise NotFound(f'plugin "{body.driver}" not found')
    source = body.config_from.network if body.config_from is not None else ""
    if body.config_only and source:
        raise Forbidden("a configuration network cannot depend on another configuration network")


def _from_configuration(body: NetworkCreate, find: Callable[[str], Network]) -> Network:
    """A network whose addresses and options are those of a configuration-only network."""
    source = body.config_from.network if body.config_from is not None else ""
    try:
        configuration = find(source)
    except (NotFound, Conflict) as error:
        raise NotFound(f'configuration network "{source}" does not exist') from error
    if not configuration.config_only:
        raise NotFound(
            f'configuration network "{source}" does not exist: {source} was not made with '
            "--config-only"
        )
    ipam = body.ipam
    own_ipam = ipam is not None and (ipam.config or ipam.options)
    if own_ipam or body.options or body.labels or body.enable_ipv6 or body.internal:
        raise Forbidden(
            f"network {body.name} takes its configuration from {source}: it may not have "
            "addresses, options, labels, internal or IPv6 settings of its own"
        )
    driver = body.driver or "bridge"
    drivers.parse(
        driver, configuration.options, internal=configuration.internal, ipv6=configuration.ipv6
    )
    pools = tuple(
        pool
        for pool in configuration.pools
        if (configuration.ipv6 if pool.ipv6 else configuration.ipv4)
    )
    _check_one_each(pools)
    return structs.replace(
        configuration,
        id="",
        name=body.name,
        driver=driver,
        pools=pools,
        attachable=body.attachable,
        config_only=False,
        config_from=configuration.name,
    )


def _check_one_each(pools: Iterable[Pool]) -> None:
    families = [pool.ipv6 for pool in pools]
    if len(families) != len(set(families)):
        raise Forbidden("bridge driver doesn't support multiple subnets of one address family")


def _pools(configs: Iterable[IPAMConfig]) -> tuple[Pool, ...]:
    problems: list[str] = []
    pools = [pool for config in configs if (pool := _pool(config, problems)) is not None]
    for number, pool in enumerate(pools):
        for other in pools[:number]:
            if _overlap(pool, other):
                problems.append(f"subnets {other.subnet} and {pool.subnet} overlap")
    if problems:
        raise InvalidParameter("invalid network config:\n" + joined(problems))
    return tuple(pools)


def _overlap(one: Pool, other: Pool) -> bool:
    first, second = ip_network(one.subnet), ip_network(other.subnet)
    return first.version == second.version and first.overlaps(second)


def _pool(config: IPAMConfig, problems: list[str]) -> Pool | None:
    try:
        subnet = ip_network(config.subnet, strict=False)
    except ValueError:
        subnet = None
    if subnet is None or "/" not in config.subnet:
        problems.append(f"invalid subnet {config.subnet}: invalid CIDR block notation")
        return None
    if str(subnet) != _normal(config.subnet):
        problems.append(f"invalid subnet {config.subnet}: it should be {subnet}")
    useless = _USELESS6 if subnet.version == 6 else _USELESS
    if subnet.prefixlen == 0 or any(
        subnet.version == other.version and subnet.overlaps(other) for other in useless
    ):
        problems.append(f"invalid subnet {config.subnet}: it holds addresses that no host can have")
    elif subnet.num_addresses < 4:
        problems.append(
            f"invalid subnet {config.subnet}: it has no room for a gateway and a container"
        )
    gateway = _gateway(config, subnet, problems)
    aux = {
        name: address
        for name, text in (config.auxiliary_addresses or {}).items()
        if (address := _inside(f"auxiliary address {name}", text, subnet, problems))
    }
    taken = {gateway}
    for name, address in aux.items():
        if address in taken:
            raise Forbidden(
                f"failed to allocate secondary ip address ({name}:{address}): "
                "Address already in use"
            )
        taken.add(address)
    return Pool(
        subnet=str(subnet),
        gateway=gateway,
        ip_range=_ip_range(config.ip_range, subnet, problems),
        aux=aux,
        asked=True,
        gateway_shown=bool(gateway),
    )


def _gateway(config: IPAMConfig, subnet: Subnet, problems: list[str]) -> str:
    if not config.gateway:
        return ""
    gateway = _inside(f"gateway {config.gateway}", config.gateway, subnet, problems)
    edges = (subnet[0], subnet[-1]) if subnet.version == 4 else (subnet[0],)
    if gateway and ip_address(gateway) in edges:
        problems.append(f"invalid gateway {config.gateway}: it is no host's address in {subnet}")
    return gateway


def _ip_range(text: str, subnet: Subnet, problems: list[str]) -> str:
    if not text:
        return ""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        problems.append(f"invalid ip-range {text}: invalid CIDR block notation")
        return ""
    if str(network) != _normal(text):
        problems.append(f"invalid ip-range {text}: it should be {network}")
    if network.version != subnet.version or not (
        subnet[0] <= network[0] and network[-1] <= subnet[-1]  # type: ignore[operator]
    ):
        problems.append(f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range")
    return str(network)


def _inside(what: str, text: str, subnet: Subnet, problems: list[str]) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        problems.append(f"invalid {what}: invalid address")
        return ""
    if address not in subnet:
        problems.append(f"invalid {what}: parent subnet {subnet} doesn't contain this address")
    return str(address)


def _normal(text: str) -> str:
    """The same network in the usual spelling, its host bits as they were."""
    address, _, length = text.partition("/")
    return f"{ip_address(address)}/{length}"
