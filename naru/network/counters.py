"""The counters of containers' interfaces, for statistics."""

from naru.kernel import netns
from naru.kernel.netlink.client import LinkInfo, Netlink
from naru.kernel.threads import offload
from naru.network.endpoints import Endpoints
from naru.network.model import InterfaceStats
from naru.network.plan import Attached


class Counters:
    """Reads where it is cheapest: at the host's end of a pair, else inside."""

    def __init__(self, netlink: Netlink, endpoints: Endpoints) -> None:
        self._netlink = netlink
        self._endpoints = endpoints

    async def of(self, container_id: str) -> dict[str, InterfaceStats]:
        """Counters per interface as the container sees them; {} without interfaces."""
        item = self._endpoints.attached.get(container_id)
        if item is None or not any(endpoint.interface for endpoint in item.endpoints):
            return {}
        return await offload(self._read, item)

    def _read(self, item: Attached) -> dict[str, InterfaceStats]:
        found = {}
        for endpoint in item.endpoints:
            if not endpoint.interface:
                continue
            if endpoint.link:
                link = self._netlink.link(endpoint.link)
            else:
                link = netns.run_in_netns(item.pin, _own_link, endpoint.interface)
            if link is not None:
                found[endpoint.interface] = _stats(link, mirrored=bool(endpoint.link))
        return found


def _own_link(name: str) -> LinkInfo | None:
    netlink = Netlink()
    try:
        return netlink.link(name)
    finally:
        netlink.close()


def _stats(link: LinkInfo, *, mirrored: bool) -> InterfaceStats:
    """`mirrored`: the host's end of the pair receives what the container sends."""
    counters = link.stats
    received = (counters.rx_bytes, counters.rx_packets, counters.rx_errors, counters.rx_dropped)
    sent = (counters.tx_bytes, counters.tx_packets, counters.tx_errors, counters.tx_dropped)
    if mirrored:
        received, sent = sent, received
    return InterfaceStats(*received, *sent)
