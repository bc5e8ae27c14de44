"""Makes and removes what an `Attached` says: namespace, links, routes, published ports.

Blocking code for one thread of the pool; nothing here decides. Each step may be the last before a
crash: `tear_down` takes any state, complete or not, to nothing.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Sequence

from naru.base.failpoints import declare
from naru.kernel import conntrack, host, netns, userns
from naru.kernel.netlink.client import Netlink
from naru.kernel.netlink.model import ConfigureLink
from naru.kernel.netlink.sublink import create_sublink
from naru.kernel.spawn import Spawner
from naru.network import drivers, gateways, plan
from naru.network.bridges import Bridges
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.model import Publication
from naru.network.plan import Attached, EndpointPlan

log = logging.getLogger("naru.network")

NETNS_MADE = declare("network.attach.netns-made")
LINK_MADE = declare("network.attach.link-made")
LINK_READY = declare("network.attach.link-ready")
PORTS_PUBLISHED = declare("network.attach.ports-published")
LINK_REMOVED = declare("network.disconnect.link-removed")
REROUTED = declare("network.connect.rerouted")
PORTS_REMOVED = declare("network.detach.ports-removed")
NETNS_REMOVED = declare("network.detach.netns-removed")


class Sandboxes:
    """Executes plans; holds no state of its own."""

    def __init__(
        self, netlink: Netlink, firewall: FirewallKeeper, bridges: Bridges, spawner: Spawner
    ) -> None:
        self._netlink = netlink
        self._firewall = firewall
        self._bridges = bridges
        self._spawner = spawner

    def build(self, item: Attached) -> None:
        """Make the sandbox. A failure leaves parts behind: call `tear_down`. Raises: OSError."""
        self._remove_netns(item)  # of a run that was never cleared
        owner = item.request.owner
        if owner is None:
            netns.create_netns(item.pin, plan.SANDBOX_SYSCTLS)
        else:
            if owner.path:
                userns.create_netns_in(self._spawner, owner.path, item.pin)
            else:
                userns.create_sandbox(self._spawner, owner.id_map, item.owner_pin, item.pin)
            netns.run_in_netns(item.pin, netns.write_sysctls, plan.SANDBOX_SYSCTLS)
        NETNS_MADE()
        links = [endpoint for endpoint in item.endpoints if endpoint.interface]
        if not links:
            self._netlink.configure(item.pin, None, loopback=True)
        for endpoint in links:
            self.connect(item, endpoint)
        publications = gateways.publications(item)
        if publications:
            self._firewall.publish(item.container_id, publications)
            _forget_flows(item.name, publications)
            PORTS_PUBLISHED()

    def connect(self, item: Attached, endpoint: EndpointPlan) -> None:
        """The link of one endpoint, with its addresses and default routes. Raises: OSError."""
        if not endpoint.interface:
            return
        namespace = netns.open_netns(item.pin)
        try:
            if endpoint.link:
                self._veth(namespace, endpoint)
            else:
                self._sublink(namespace, endpoint)
            LINK_MADE()
            sysctls = plan.interface_sysctls(endpoint)
            if sysctls:
                netns.set_sysctls(namespace, sysctls)
            link = ConfigureLink(
                name=endpoint.interface,
                mac=endpoint.settings.mac_address or None,
                addresses=endpoint.addresses,
                routes=gateways.routes(endpoint, gateways.exits(item.endpoints)),
            )
            self._netlink.configure(namespace, link, loopback=True)
        finally:
            os.close(namespace)
        if endpoint.link and not self._netlink.settle(endpoint.link, endpoint.network.link):
            log.warning("link %s got no carrier in time: first packets may be lost", endpoint.link)
        LINK_READY()

    def _veth(self, namespace: int, endpoint: EndpointPlan) -> None:
        bridge = self._bridges.index(endpoint.network.link)
        if not bridge:
            raise OSError(errno.ENODEV, "the network's bridge is not there", endpoint.network.link)
        self._netlink.create_veth(
            endpoint.link, bridge, namespace, endpoint.interface,
            mac=endpoint.settings.mac_address or None, mtu=endpoint.network.mtu,
        )  # fmt: skip
        hairpin = _bridge_netfilter()
        # With bridge netfilter the bridge itself translates, and would not send a packet back
        # where it came from: a container that asks its own published port needs that.
        isolated = not drivers.settings_of(endpoint.network).icc
        if hairpin or isolated:
            self._netlink.set_bridge_port(
                endpoint.link, hairpin=hairpin or None, isolated=isolated or None
            )

    def _sublink(self, namespace: int, endpoint: EndpointPlan) -> None:
        network = endpoint.network
        parent = self._netlink.link_index(network.link)
        if parent is None:
            raise OSError(errno.ENODEV, "the network's parent interface is gone", network.link)
        create_sublink(
            network.driver, drivers.settings_of(network).sublink_mode, parent, namespace,
            endpoint.interface, mac=endpoint.settings.mac_address, mtu=network.mtu,
        )  # fmt: skip

    def disconnect(self, item: Attached, endpoint: EndpointPlan) -> None:
        """Take away a link that lives inside only, missing or not; `Reaper.remove` takes pairs.

        Raises: OSError.
        """
        if endpoint.interface and not endpoint.link and os.path.lexists(item.pin):
            netns.run_in_netns(item.pin, _delete_own_link, endpoint.interface)
        LINK_REMOVED()

    def reroute(self, before: Attached, after: Attached) -> None:
        """Default routes as the rules say of `after`; those of a link that went, went with it."""
        old, new = gateways.exits(before.endpoints), gateways.exits(after.endpoints)
        for endpoint in after.endpoints:
            routes = set(gateways.routes(endpoint, new)) - set(gateways.routes(endpoint, old))
            if routes:
                link = ConfigureLink(name=endpoint.interface, routes=tuple(sorted(routes, key=str)))
                self._netlink.configure(after.pin, link)
        REROUTED()

    def republish(self, before: Attached, after: Attached) -> None:
        """Published ports lead where `after` says. Raises: Internal."""
        publications = gateways.publications(after)
        if publications:
            self._firewall.republish(after.container_id, publications)
        else:
            self._firewall.unpublish(before.container_id)
        _forget_flows(after.name, (*gateways.publications(before), *publications))

    def tear_down(self, item: Attached) -> None:
        """Remove everything, whatever exists of it; every part is tried before this raises.

        The veth pairs go with the namespace, a moment later: see `reaper`.
        """
        with contextlib.ExitStack() as steps:
            steps.callback(NETNS_REMOVED)
            steps.callback(self._remove_netns, item)
            steps.callback(self._unpublish, item)

    def _unpublish(self, item: Attached) -> None:
        self._firewall.unpublish(item.container_id)
        _forget_flows(item.name, gateways.publications(item))
        PORTS_REMOVED()

    def _remove_netns(self, item: Attached) -> None:
        netns.remove_netns(item.pin)
        userns.remove_userns(item.owner_pin)


def _delete_own_link(name: str) -> None:
    netlink = Netlink()
    try:
        netlink.delete_link(name)
    finally:
        netlink.close()


def _forget_flows(name: str, publications: Sequence[Publication]) -> None:
    """UDP flows that began before a port was published, or go on after: they begin anew."""
    udp = [item for item in publications if item.proto == "udp" and ":" not in item.target_ip]
    ports = {item.host_port for item in udp}
    if not ports:
        return
    try:
        conntrack.forget_udp(ports, {item.target_ip for item in udp})
    except OSError as error:
        log.warning("UDP flows to the ports of %s may go on as before: %s", name, error)


def _bridge_netfilter() -> bool:
    """Whether the kernel passes bridged packets through the IPv4 firewall."""
    name = "net/bridge/bridge-nf-call-iptables"
    return host.has_sysctl(name) and host.get_sysctl(name) == "1"
