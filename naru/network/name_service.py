"""Keeps the name server told of what is attached: one telling for many changes at once."""

import asyncio
import logging

from naru.base.errors import NaruError
from naru.network import names
from naru.network.dns.keeper import DnsKeeper
from naru.network.endpoints import Endpoints
from naru.network.plan import Attached

log = logging.getLogger("naru.network.dns")


class NameService:
    """One per engine, on its event loop."""

    def __init__(self, keeper: DnsKeeper, endpoints: Endpoints) -> None:
        self._keeper = keeper
        self._endpoints = endpoints
        self._served: set[str] = set()
        self._unlisted: set[str] = set()
        self._dirty: set[str] = set()
        self._asked = self._told = 0
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Adopt or start the server with all that was adopted."""
        clients = names.clients(list(self._endpoints.attached.values()), self._unlisted)
        self._served = {client.id for client in clients}
        await self._keeper.start(clients)

    async def stop(self) -> None:
        """The server lives on while somebody needs it."""
        await self._keeper.stop()

    async def joined(self, item: Attached) -> None:
        """A sandbox was made or got another endpoint: it asks, and others find it. Raises:
        Internal when it could not be given the name server."""
        if names.asks(item) and item.container_id not in self._served:
            members = names.members_of(self._endpoints.attached.values(), self._unlisted)
            await self._keeper.serve(names.client_of(item, members))
            self._served.add(item.container_id)
        await self._changed(names.networks_of(item))

    async def leaves(self, container_id: str) -> None:
        """The sandbox is about to go: nothing of the server may hold it."""
        self._unlisted.discard(container_id)
        if container_id in self._served:
            self._served.discard(container_id)
            await self._keeper.withdraw(container_id)

    async def left(self, before: Attached) -> None:
        """A container lost these endpoints: others do not find it there any more."""
        item = self._endpoints.attached.get(before.container_id)
        if item is not None and before.container_id in self._served and not names.asks(item):
            await self.leaves(before.container_id)
        await self._changed(names.networks_of(before))

    async def renamed(self, container_id: str) -> None:
        """It has another name now."""
        item = self._endpoints.attached.get(container_id)
        if item is not None:
            await self._changed(names.networks_of(item))

    async def list_or_hide(self, container_id: str, *, listed: bool) -> None:
        """Whether its shared aliases lead to it."""
        if listed == (container_id not in self._unlisted):
            return
        if listed:
            self._unlisted.discard(container_id)
        else:
            self._unlisted.add(container_id)
        await self.renamed(container_id)

    def hide_at_first(self, container_id: str) -> None:
        """It is not healthy yet: its shared aliases do not lead to it until it is."""
        self._unlisted.add(container_id)

    async def _changed(self, networks: set[str]) -> None:
        """Tell every client on these networks; calls that meet are told together."""
        if not networks:
            return
        self._dirty |= networks
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._told >= mine:
                return
            upto, dirty = self._asked, self._dirty
            self._dirty = set()
            attached = list(self._endpoints.attached.values())
            members = names.members_of(attached, self._unlisted)
            clients = [
                names.client_of(item, members)
                for item in attached
                if item.container_id in self._served and names.networks_of(item) & dirty
            ]
            try:
                await self._keeper.update(clients)
            except (NaruError, OSError):
                log.exception("the name server was not told of a change; with the next one again")
                self._dirty |= dirty
            self._told = upto
