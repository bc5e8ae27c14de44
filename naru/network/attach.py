"""Makes and removes what an `Attached` says: namespace, veth pair, published ports.

Blocking code for one thread of the pool; nothing here decides. Each step may be the last before a
crash: `tear_down` takes any state, complete or not, to nothing.
"""

import contextlib
import logging
import os

from naru.base.failpoints import declare
from naru.kernel import conntrack, host, netns
from naru.kernel.netlink.client import Netlink
from naru.kernel.netlink.model import ConfigureLink
from naru.network.firewall_keeper import FirewallKeeper
from naru.network.plan import SANDBOX_SYSCTLS, Attached, EndpointPlan

log = logging.getLogger("naru.network")

NETNS_MADE = declare("network.attach.netns-made")
LINK_MADE = declare("network.attach.link-made")
LINK_READY = declare("network.attach.link-ready")
PORTS_PUBLISHED = declare("network.attach.ports-published")
PORTS_REMOVED = declare("network.detach.ports-removed")
NETNS_REMOVED = declare("network.detach.netns-removed")


class Sandboxes:
    """Executes plans; holds no state of its own."""

    def __init__(self, netlink: Netlink, firewall: FirewallKeeper) -> None:
        self._netlink = netlink
        self._firewall = firewall

    def build(self, plan: Attached) -> None:
        """Make the sandbox. A failure leaves parts behind: call `tear_down`. Raises: OSError."""
        try:
            netns.create_netns(plan.pin, SANDBOX_SYSCTLS)
        except FileExistsError:
            netns.remove_netns(plan.pin)
            netns.create_netns(plan.pin, SANDBOX_SYSCTLS)
        NETNS_MADE()
        self.connect(plan)
        if plan.publications:
            self._firewall.publish(plan.container_id, plan.publications)
            _forget_flows(plan)
            PORTS_PUBLISHED()

    def connect(self, plan: Attached) -> None:
        """Loopback up, and the veth pair if there is an endpoint. Raises: OSError."""
        namespace = netns.open_netns(plan.pin)
        try:
            if plan.endpoint is None:
                self._netlink.configure(namespace, None, loopback=True)
            else:
                self._connect(namespace, plan.endpoint)
        finally:
            os.close(namespace)

    def _connect(self, namespace: int, endpoint: EndpointPlan) -> None:
        bridge = self._netlink.link_index(endpoint.network.bridge)
        self._netlink.create_veth(
            endpoint.link, bridge, namespace, endpoint.interface,
            mac=endpoint.mac, mtu=endpoint.network.mtu,
        )  # fmt: skip
        LINK_MADE()
        if _bridge_netfilter():
            # The bridge itself translates then, and would not send a packet back where it came
            # from: a container that asks its own published port needs that.
            self._netlink.set_bridge_port(endpoint.link, hairpin=True)
        link = ConfigureLink(
            name=endpoint.interface,
            mac=endpoint.mac,
            addresses=((endpoint.address, endpoint.prefix_length),),
            routes=((None, endpoint.gateway),),
        )
        self._netlink.configure(namespace, link, loopback=True)
        if not self._netlink.settle(endpoint.link, endpoint.network.bridge):
            log.warning("link %s got no carrier in time: first packets may be lost", endpoint.link)
        LINK_READY()

    def tear_down(self, plan: Attached) -> None:
        """Remove everything, whatever exists of it; every part is tried before this raises.

        The veth pair goes with the namespace, a moment later: see `reaper`.
        """
        with contextlib.ExitStack() as steps:
            steps.callback(self._remove_netns, plan)
            steps.callback(self._unpublish, plan)

    def _unpublish(self, plan: Attached) -> None:
        self._firewall.unpublish(plan.container_id)
        _forget_flows(plan)
        PORTS_REMOVED()

    def _remove_netns(self, plan: Attached) -> None:
        netns.remove_netns(plan.pin)
        NETNS_REMOVED()


def _forget_flows(plan: Attached) -> None:
    """UDP flows that began before a port was published, or go on after: they begin anew."""
    ports = {item.host_port for item in plan.publications if item.proto == "udp"}
    if not ports:
        return
    targets = {item.target_ip for item in plan.publications if item.proto == "udp"}
    try:
        conntrack.forget_udp(ports, targets)
    except OSError as error:
        log.warning("UDP flows to the ports of %s may go on as before: %s", plan.name, error)


def _bridge_netfilter() -> bool:
    """Whether the kernel passes bridged packets through the IPv4 firewall."""
    name = "net/bridge/bridge-nf-call-iptables"
    return host.has_sysctl(name) and host.get_sysctl(name) == "1"
