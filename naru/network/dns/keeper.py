"""Keeps the name server (see `server`) in step with what narud wants, and alive.

It is started with the first client, and outlives narud: the next one adopts it. What is wanted is
kept here, so a server that died is replaced by another that serves the same; sockets are made
anew then (`place`). Calls run in threads, one at a time: a cancelled caller leaves nothing half
done, since each looks again at what is wanted before it acts.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from naru.base.errors import Internal
from naru.base.failpoints import declare
from naru.base.tasks import TaskRegistry
from naru.kernel.process import ProcessHandle, ProcessId
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import offload
from naru.network.dns import line, place
from naru.network.dns.line import Line, Post
from naru.network.dns.model import Client, encode
from naru.network.dns.place import Place

log = logging.getLogger("naru.network.dns")

PLACED = declare("dns.placed")
SERVED = declare("dns.served")
WITHDRAWN = declare("dns.withdrawn")

TRIAL_S = 2.0
DRAIN_S = 1.0
AGAIN_S = 1.0


class DnsKeeper:
    """One per engine. Its methods are the event loop's; for one client, one at a time."""

    def __init__(self, spawner: Spawner, exec_root: str, key: str) -> None:
        self._post = Post(spawner, exec_root, key)
        self._clients: dict[str, Client] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._busy = threading.Lock()
        self._line: Line | None = None
        self._process: ProcessId | None = None
        self._replaced_at = float("-inf")
        self._tasks = TaskRegistry()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, clients: Sequence[Client]) -> None:
        """Adopt what an earlier narud left, and make it serve exactly these. A client that cannot
        be served is logged."""
        self._loop = asyncio.get_running_loop()
        self._clients = {client.id: client for client in clients}
        await offload(self._adopt)

    async def serve(self, client: Client) -> None:
        """Add or replace one: 127.0.0.11 answers in its sandbox from now on. Raises: Internal."""
        self._loop = asyncio.get_running_loop()
        self._clients[client.id] = client
        try:
            await offload(self._serve, client)
        except BaseException:
            if self._wanted(client):
                await asyncio.shield(self.withdraw(client.id))
            raise

    async def update(self, clients: Sequence[Client]) -> None:
        """Other names, links or resolvers for clients that are served. Others are passed over.

        Never raises: names follow what is wanted, and what is in the way is logged.
        """
        for client in clients:
            if client.id in self._clients:
                self._clients[client.id] = client
        await offload(self._update, [client.id for client in clients])

    async def withdraw(self, client_id: str) -> None:
        """Nothing of the server stays in its sandbox. Idempotent."""
        self._clients.pop(client_id, None)
        await offload(self._withdraw, [client_id])
        WITHDRAWN()

    async def stop(self) -> None:
        """Let the server live on while it has clients, else end it."""
        await self._tasks.drain(DRAIN_S)
        await offload(self._leave)

    def _serve(self, client: Client, *, only_missing: bool = False) -> None:
        """Raises: Internal."""
        trial = None
        try:
            with self._busy:
                current = self._wanted(client)
                if current is None or (only_missing and client.id in self._told):
                    return
                made = Place(client.pin)
                try:
                    PLACED()
                    self._hand_over(current, made)
                    trial = made.trial.dup()
                finally:
                    made.close()
            SERVED()
            if not place.answers(trial, TRIAL_S, lambda: self._wanted(client) is not None):
                raise Internal(f"127.0.0.11 does not answer in the sandbox {client.pin}")
        except (OSError, ValueError) as error:
            raise Internal(f"names cannot be served in {client.pin}: {error}") from error
        finally:
            if trial is not None:
                trial.close()

    def _wanted(self, client: Client) -> Client | None:
        """What is known of it by now, None when this sandbox is not to be served any more."""
        current = self._clients.get(client.id)
        return current if current is not None and current.pin == client.pin else None

    def _hand_over(self, client: Client, made: Place) -> None:
        """Raises: Internal, OSError, ValueError."""
        (fields,), zones = encode([client])
        for attempt in range(2):
            try:
                connection = self._connection()
                request = {"do": "serve", "client": fields, "zones": self._unknown(zones)}
                self._ask(connection, request, made.descriptors())
                break
            except (OSError, ValueError):  # it died a moment ago: another one
                if attempt:
                    raise
        self._told[client.id] = fields

    def _connection(self) -> Line:
        """To a living server, a new one if need be. Raises: OSError, ValueError."""
        if self._line is None:
            self._told.clear()
            self._line, self._process, child = self._post.launch()
            self._watch_soon(self._process, child)
        return self._line

    def _ask(
        self, connection: Line, request: dict[str, Any], descriptors: list[int] | None = None
    ) -> None:
        try:
            connection.ask(request, descriptors)
        except (OSError, ValueError):
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        """The server is of no use any more, if it lives at all. `_watch` brings another."""
        if self._line is not None:
            self._line.close()
            self._line = None
        line.end(self._process)

    def _unknown(self, zones: dict[str, Any]) -> dict[str, Any]:
        known = {key for fields in self._told.values() for key in fields["zones"]}
        return {key: zone for key, zone in zones.items() if key not in known}

    def _update(self, ids: Iterable[str]) -> None:
        with self._busy:
            wanted = [self._clients[key] for key in ids if key in self._clients]
            told, zones = encode([client for client in wanted if client.id in self._told])
            changed = [fields for fields in told if self._told[fields["id"]] != fields]
            if self._line is None or not changed:
                return
            request = {"do": "update", "clients": changed, "zones": self._unknown(zones)}
            try:
                self._ask(self._line, request)
            except (OSError, ValueError):
                log.exception("the name server does not listen: it is replaced")
                return
            except Internal as error:
                log.error("names are not up to date: %s", error.message)
                return
            self._told |= {fields["id"]: fields for fields in changed}

    def _withdraw(self, ids: list[str]) -> None:
        with self._busy:
            gone = [key for key in ids if key not in self._clients]
            if self._line is None or not gone:
                return
            try:
                self._ask(self._line, {"do": "withdraw", "ids": gone})
            except (OSError, ValueError):
                log.exception("the name server does not listen: it is replaced")
            for key in gone:
                self._told.pop(key, None)

    def _adopt(self) -> None:
        with self._busy:
            found = self._post.adopt()
            served: dict[str, int] = {}
            if found is not None:
                self._line, self._process, served = found
                self._watch_soon(self._process, None)
                stale = [key for key in served if not self._same(key, served[key])]
                with contextlib.suppress(OSError, ValueError):
                    self._ask(self._line, {"do": "withdraw", "ids": stale})
                served = {key: served[key] for key in served.keys() - set(stale)}
                self._told = {key: {"id": key, "zones": []} for key in served}
        self._update(list(served))
        self._place_all([client for key, client in self._clients.items() if key not in served])

    def _same(self, client_id: str, inode: int) -> bool:
        """Whether what is served is the wanted client's sandbox of today, and works."""
        client = self._clients.get(client_id)
        try:
            return (
                client is not None
                and os.stat(client.pin).st_ino == inode
                and place.answers_in(client.pin, TRIAL_S)
            )
        except OSError:
            return False

    def _place_all(self, clients: Iterable[Client]) -> None:
        for client in clients:
            try:
                self._serve(client, only_missing=True)
            except Internal as error:
                log.error("names of container %s: %s", client.id[:12], error.message)

    def _leave(self) -> None:
        with self._busy:
            if self._line is not None and not self._clients:
                try:
                    self._line.ask({"do": "end"})
                    self._post.clear()
                except (OSError, ValueError, Internal):
                    line.end(self._process)
            if self._line is not None:
                self._line.close()
                self._line = None

    def _watch_soon(self, process: ProcessId, child: Child | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(
            lambda: self._tasks.spawn("network-dns", self._watch(process, child))
        )

    async def _watch(self, process: ProcessId, child: Child | None) -> None:
        if child is not None:
            await child.wait()
        else:
            try:
                with ProcessHandle.open(process) as handle:
                    await handle.wait()
            except ProcessLookupError:
                pass
        log.error("the name server (pid %s) ended: starting another", process.pid)
        await asyncio.sleep(self._replaced_at + AGAIN_S - time.monotonic())
        self._replaced_at = time.monotonic()  # one that does not get far: not as fast as we can
        while True:
            if await offload(self._replace, process):
                return
            await asyncio.sleep(AGAIN_S)

    def _replace(self, dead: ProcessId) -> bool:
        """False when that failed and should be tried again."""
        with self._busy:
            if self._process == dead:
                if self._line is not None:
                    self._line.close()
                self._line = self._process = None
                self._told.clear()
            left = [client for key, client in self._clients.items() if key not in self._told]
        self._place_all(left)
        return self._line is not None or not left
