"""The addresses that endpoints hold, network by network. Pure: memory, rebuilt at each start."""

from ipaddress import ip_address

from naru.base.errors import Forbidden, InvalidParameter
from naru.network.ipam import AddressSpace, space_of
from naru.network.model import Network, Pool
from naru.spec.engine.container_config import EndpointSettings


class Leases:
    """One per engine. All or nothing: a family that fails gives the other one back."""

    def __init__(self) -> None:
        self._spaces: dict[tuple[str, bool], AddressSpace] = {}

    def take(self, network: Network, asked: EndpointSettings) -> tuple[str, str]:
        """(IPv4, IPv6) for an endpoint, "" where the network has none of the family.

        Raises: Forbidden with Docker's text when the address asked for is in use, Conflict when
        there is none left, InvalidParameter for one that the network cannot give.
        """
        config = asked.ipam_config
        wanted = ("", "") if config is None else (config.ipv4_address, config.ipv6_address)
        taken: list[str] = []
        try:
            for pool, text in zip((network.pool4, network.pool6), wanted, strict=True):
                taken.append(self._one(network, pool, text))
        except BaseException:
            for address in taken:
                self._give_back(network, address)
            raise
        return taken[0], taken[1]

    def reserve(self, network: Network, settings: EndpointSettings) -> None:
        """Take what a running container has. Raises: InvalidParameter when it is not free."""
        taken: list[str] = []
        for pool, text in (
            (network.pool4, settings.ip_address),
            (network.pool6, settings.global_ipv6_address),
        ):
            if not text:
                continue
            if pool is None or not self._space(network, pool).reserve(
                ip_address(text), follow=True
            ):
                for address in taken:
                    self._give_back(network, address)
                subnet = "" if pool is None else pool.subnet
                raise InvalidParameter(f"address {text} is not free in {subnet or network.name}")
            taken.append(text)

    def release(self, network: Network, settings: EndpointSettings) -> None:
        """Give an endpoint's addresses back; missing ones are no error."""
        for text in (settings.ip_address, settings.global_ipv6_address):
            self._give_back(network, text)

    def forget(self, network: Network) -> None:
        """The network is gone."""
        for ipv6 in (False, True):
            self._spaces.pop((network.id, ipv6), None)

    def _one(self, network: Network, pool: Pool | None, text: str) -> str:
        if pool is None:
            return ""
        space = self._space(network, pool)
        if not text:
            return str(space.allocate())
        if not space.reserve(ip_address(text)):
            raise Forbidden("Address already in use")
        return str(ip_address(text))

    def _give_back(self, network: Network, text: str) -> None:
        if text:
            address = ip_address(text)
            space = self._spaces.get((network.id, address.version == 6))
            if space is not None:
                space.release(address)

    def _space(self, network: Network, pool: Pool) -> AddressSpace:
        key = (network.id, pool.ipv6)
        if key not in self._spaces:
            self._spaces[key] = space_of(pool)
        return self._spaces[key]
