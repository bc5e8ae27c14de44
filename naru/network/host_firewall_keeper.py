"""Keeps copies of the host's `input` rules beside our table, where that was asked for.

See `host_firewall`. The copies are compared whenever somebody changed the rule set, and written
anew when they differ; a copy that the kernel does not take closes the published ports to others.
"""

import logging
import threading
from collections.abc import Iterable

from naru.base.errors import Internal
from naru.kernel.nft import Nft
from naru.network import host_firewall
from naru.network.host_firewall import Copy
from naru.network.model import Publication

log = logging.getLogger("naru.network.firewall")


class HostFirewallKeeper:
    """One per engine. All methods block and are safe for threads; idle unless `honour`."""

    def __init__(self, nft: Nft, table: str, *, honour: bool) -> None:
        self._nft = nft
        self._prefix = table
        self.honour = honour
        self._lock = threading.Lock()
        self._copies: list[Copy] = []
        self._ports: set[tuple[str, int]] = set()

    def problems(self) -> list[str]:
        """Why published ports are closed to other hosts, a sentence for each table."""
        with self._lock:
            return [item.problem for item in self._copies if item.problem]

    def publish(self, publications: Iterable[Publication]) -> None:
        """These are all that is published now. Raises: Internal."""
        if not self.honour:
            return
        ports = {(item.proto, item.host_port) for item in publications if item.host_port}
        with self._lock:
            if ports == self._ports:
                return
            self._ports = ports
            try:
                self._nft.run(host_firewall.set_ports(self._copies, ports))
            except Internal:
                self._write()

    def refresh(self) -> None:
        """Make the copies what the host's rules are now; without the setting there are none.

        Raises: Internal.
        """
        with self._lock:
            self._write()

    def remove(self) -> None:
        """Take every copy away. Raises: Internal."""
        with self._lock:
            listing = self._nft.text("list tables")
            names = [line.split()[1:3] for line in listing.splitlines() if line.startswith("table")]
            ours = [
                (family, name) for family, name in names if name.startswith(f"{self._prefix}_h")
            ]
            if ours:
                self._nft.run(host_firewall.removal(ours))
            self._copies = []

    def _write(self) -> None:
        listing = self._nft.stateless("list ruleset")
        standing = host_firewall.tables_of(listing, self._prefix)
        wanted: list[Copy] = []
        if self.honour:
            details = self._nft.json("list ruleset")
            wanted = host_firewall.copies(listing, details, self._prefix, self._ports)
        names = [(item.family, item.table) for item in wanted]
        if wanted == self._copies and sorted(standing) == sorted(names):
            return
        try:
            self._nft.run(_replace(standing, wanted))
        except Internal as error:
            log.error("the host's firewall cannot be copied, ports are closed: %s", error)
            wanted = [host_firewall.closed(item, str(error)) for item in wanted]
            self._nft.run(_replace(standing, wanted))
        for item in wanted:
            if item.problem:
                log.warning("%s", item.problem)
        self._copies = wanted


def _replace(standing: Iterable[tuple[str, str]], wanted: Iterable[Copy]) -> str:
    return host_firewall.removal(standing) + "".join(item.text for item in wanted)
