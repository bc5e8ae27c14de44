"""Who reaches which published port, and by which rule: `naru network ports`."""

from typing import Any

from naru.network import firewall, gateways
from naru.network.endpoints import Endpoints
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.gateways import ANY_V4, ANY_V6
from naru.network.model import Publication
from naru.network.plan import Attached
from naru.network.ports import PortTable


class Audit:
    """Reads the declared state; changes nothing."""

    def __init__(
        self, firewall_keeper: FirewallKeeper, endpoints: Endpoints, ports: PortTable
    ) -> None:
        self._firewall = firewall_keeper
        self._endpoints = endpoints
        self._ports = ports

    def holder_of(self, port: int, proto: str = "tcp", host_ip: str = ANY_V4) -> str | None:
        """Who has a port of the host: `container web`, `process nginx (pid 12)`, None."""
        return self._ports.holder_of(proto, port, host_ip)

    def ports(self) -> list[dict[str, Any]]:
        """Every published port, ordered by port; the fields are of the API's answer."""
        rows = []
        for item in self._endpoints.attached.values():
            exits = gateways.exits(item.endpoints)
            for one in gateways.publications(item):
                endpoint = exits.v6 if ":" in one.target_ip else exits.v4
                network = endpoint.network.name if endpoint is not None else ""
                rows.append(self._row(item, one, network))
        return sorted(rows, key=lambda row: (row["HostPort"], row["Proto"], row["HostIP"]))

    def _row(self, item: Attached, one: Publication, network: str) -> dict[str, Any]:
        return {
            "Container": item.name,
            "ContainerID": item.container_id,
            "Network": network,
            "Proto": one.proto,
            "HostIP": one.host_ip,
            "HostPort": one.host_port,
            "ContainerPort": one.target_port,
            "TargetIP": one.target_ip,
            "Sources": list(one.sources),
            "HostFirewall": "honoured" if self._firewall.host.honour else "bypassed",
            "Rule": f"inet {self._firewall.table} {firewall.describe(one)}",
            "Reach": reach(one),
        }


def reach(one: Publication) -> str:
    """Who may connect, in words. Pure."""
    if one.host_ip.startswith("127.") or one.host_ip == "::1":
        return "host only"
    if one.sources:
        return "sources " + ", ".join(one.sources)
    if not one.host_port:
        return "everyone who has a route to the container"
    if one.host_ip in (ANY_V4, ANY_V6):
        return "everyone"
    return f"address {one.host_ip} only"
