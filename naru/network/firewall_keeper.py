"""The engine's nftables table, kept as declared.

`publish` and `unpublish` change the declaration and then the kernel, by elements. Whenever that
fails because somebody changed the table, and whenever the watcher sees that somebody did, the
whole table is written anew in one transaction, from the declaration.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from naru.base.errors import Internal
from naru.kernel.nft import Nft
from naru.network import firewall
from naru.network.firewall import BridgeRules, RelayRules, Ruleset
from naru.network.host_firewall_keeper import HostFirewallKeeper
from naru.network.model import Publication

log = logging.getLogger("naru.network.firewall")


class FirewallKeeper:
    """Owns one table. All methods block and are safe for threads."""

    def __init__(
        self,
        nft: Nft,
        table: str,
        relay: Callable[[], RelayRules],
        host: HostFirewallKeeper | None = None,
    ) -> None:
        self._nft = nft
        self.host = host or HostFirewallKeeper(nft, table, honour=False)
        self._start_relay = relay
        self._rules = Ruleset(table)
        self._published: dict[str, Sequence[Publication]] = {}
        self._lock = threading.Lock()
        self._nonces: set[bytes] = set()

    @property
    def table(self) -> str:
        return self._rules.table

    def claim(self, userdata: bytes) -> bool:
        """Whether a table with this comment was written by us, told once for each writing."""
        for nonce in list(self._nonces):
            if nonce in userdata:
                self._nonces.discard(nonce)
                return True
        return False

    def declare(self, rules: Ruleset, published: Mapping[str, Sequence[Publication]]) -> None:
        """Set bridges, relay and all publications, and write the table. Raises: Internal."""
        with self._lock:
            self._rules = rules
            self._published = dict(published)
            self._need_relay(self._everything())
            self.host.publish(self._everything())
            self.host.refresh()
            self._write()

    def add_bridge(self, bridge: BridgeRules) -> None:
        """Let a bridge's packets through as its rules say. Raises: Internal; nothing is left."""
        with self._lock:
            before = self._rules
            others = tuple(item for item in before.bridges if item.bridge != bridge.bridge)
            self._rules = replace(before, bridges=(*others, bridge))
            try:
                self._change(firewall.add_bridges(before.table, [bridge]))
            except Internal:
                self._rules = before
                raise

    def remove_bridge(self, name: str) -> None:
        """Idempotent. Raises: Internal when the table can be neither changed nor written."""
        with self._lock:
            gone = [item for item in self._rules.bridges if item.bridge == name]
            kept = tuple(item for item in self._rules.bridges if item.bridge != name)
            self._rules = replace(self._rules, bridges=kept)
            if gone:
                self._change(firewall.remove_bridges(self._rules.table, gone))

    def publish(self, container_id: str, publications: Sequence[Publication]) -> None:
        """Raises: Internal with nft's text; nothing is published then."""
        with self._lock:
            self._published[container_id] = publications
            relay_started = self._need_relay(publications)
            rules = self._rules
            try:
                self.host.publish(self._everything())  # first: no port is open before its rules
                if relay_started:
                    self._write()
                else:
                    self._change(firewall.add(rules.table, publications, rules.relay))
            except Internal:
                del self._published[container_id]
                raise

    def republish(self, container_id: str, publications: Sequence[Publication]) -> None:
        """Other publications of a container, in one transaction: no port is shut meanwhile.

        Raises: Internal; it stays as it was then.
        """
        with self._lock:
            before = self._published.get(container_id, ())
            self._published[container_id] = publications
            relay_started = self._need_relay(publications)
            table, relay = self._rules.table, self._rules.relay
            try:
                self.host.publish(self._everything())
                if relay_started:
                    self._write()
                else:
                    gone = firewall.remove(table, before, relay)
                    self._change(gone + firewall.add(table, publications, relay))
            except Internal:
                self._published[container_id] = before
                raise

    def unpublish(self, container_id: str) -> None:
        """Idempotent. Raises: Internal when the table can be neither changed nor written."""
        with self._lock:
            publications = self._published.pop(container_id, None)
            if publications:
                rules = self._rules
                self._change(firewall.remove(rules.table, publications, rules.relay))
                self.host.publish(self._everything())

    def _change(self, commands: str) -> None:
        """One small transaction; the whole table where others changed it. Raises: Internal."""
        try:
            self._nft.run(commands)
        except Internal as error:
            log.warning(
                "table %s was changed by others, writing it anew: %s", self._rules.table, error
            )
            self._write()

    def replace_relay(self) -> None:
        """The relay ended: start another and lead there. Raises: OSError, Internal."""
        with self._lock:
            self._rules = replace(self._rules, relay=None)
            if self._need_relay(self._everything()):
                self._write()

    def relays(self) -> bool:
        """Whether the relay carries anything now."""
        with self._lock:
            return firewall.needs_relay(self._everything())

    def rewrite(self) -> None:
        """Make the table what is declared, in one transaction. Raises: Internal."""
        with self._lock:
            self._write()

    def obstacles(self) -> list[str]:
        """Others' tables that keep containers from the outside, a sentence each."""
        try:
            found = firewall.dropping_chains(self._nft.json("list chains"))
        except Internal as error:
            log.warning("the host's other firewall tables cannot be read: %s", error)
            return []
        return self.host.problems() + [
            f"chain {chain} drops what it does not know: published ports are not reached from "
            "other hosts, and containers do not reach them, unless it lets the bridge's traffic by"
            for chain in found
        ]

    def delete(self) -> None:
        """Remove the table, missing or not."""
        table = self._rules.table
        with self._lock:
            self.host.remove()
            self._nft.run(f"table inet {table}\ndelete table inet {table}\n")

    def _need_relay(self, publications: Iterable[Publication]) -> bool:
        """Whether a relay was started just now, because `publications` need one."""
        if self._rules.relay is not None or not firewall.needs_relay(publications):
            return False
        try:
            self._rules = replace(self._rules, relay=self._start_relay())
        except OSError as error:
            log.error("no relay, ports are published on IPv4 only: %s", error)
            return False
        return True

    def _everything(self) -> list[Publication]:
        return [item for items in self._published.values() for item in items]

    def _write(self) -> None:
        everything = tuple(self._everything())
        nonce = secrets.token_hex(8)
        self._nonces.add(nonce.encode())
        rules = replace(self._rules, publications=everything, nonce=nonce)
        self._nft.run(firewall.render(rules))
