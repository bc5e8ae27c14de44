"""Which containers have ids of their own on the host, and which ids those are.

    UsernsMode     engine without userns-remap     engine with it
    ""             the host's ids                  the remapping's
    host           the host's ids                  the host's ids
    private        the engine's own range          the remapping's

The engine's own range is what /etc/subuid and /etc/subgid set aside for `naru`, else the default
one, which no tool gives to anybody: docs/adr/0010.
"""

import asyncio
import os

from naru.base.errors import Internal, InvalidParameter
from naru.base.idmap import IdMap, IdRange, free_line, overlaps, ranges_of
from naru.kernel.spawn import Spawner
from naru.kernel.threads import offload
from naru.kernel.userns import Mapped, open_userns
from naru.spec.engine.container_config import HostConfig

SUBUID, SUBGID = "/etc/subuid", "/etc/subgid"
OWN_NAME = "naru"
OWN_RANGE = IdRange(0, 0x7F000000, 65_536)


class UserNamespaces:
    """`remap`: of every container that does not ask for the host's ids, None for none."""

    def __init__(self, spawner: Spawner, remap: IdMap | None) -> None:
        self._spawner, self._remap = spawner, remap
        self._held: dict[IdMap, Mapped] = {}
        self._lock = asyncio.Lock()

    def map_of(self, host_config: HostConfig) -> IdMap | None:
        """None for the host's ids. Reads files. Raises: InvalidParameter, saying what to write."""
        if not self._is_mapped(host_config):
            return None
        return self._remap or own_map(read_ids(SUBUID), read_ids(SUBGID))

    async def of(self, host_config: HostConfig) -> Mapped | None:
        """As `map_of`, with a namespace for mounts and helpers. Raises: Internal too."""
        if not self._is_mapped(host_config):
            return None
        return await self.hold(await offload(self.map_of, host_config))

    def _is_mapped(self, host_config: HostConfig) -> bool:
        mode = host_config.userns_mode
        return mode == "private" or (mode == "" and self._remap is not None)

    async def hold(self, id_map: IdMap | None) -> Mapped | None:
        """A namespace that has the map; made once, closed with the engine. Raises: Internal."""
        if id_map is None:
            return None
        async with self._lock:
            if id_map not in self._held:
                try:
                    self._held[id_map] = await offload(open_userns, self._spawner, id_map)
                except OSError as error:
                    raise Internal(f"cannot make a user namespace: {error.strerror}") from error
            return self._held[id_map]

    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1].fd)


def read_ids(path: str) -> str:
    """The file's text; a missing one sets nothing aside."""
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read(1 << 20)
    except FileNotFoundError:
        return ""


def own_map(subuid: str, subgid: str) -> IdMap:
    """The engine's own range, from the texts of the two files. Raises: InvalidParameter."""
    try:
        uids, gids = (ranges_of(text, {OWN_NAME}) for text in (subuid, subgid))
    except ValueError as error:
        raise InvalidParameter(f"{SUBUID} or {SUBGID}: {error}") from error
    line = free_line(OWN_NAME, (subuid, subgid))
    if bool(uids) != bool(gids):
        present, missing = (SUBUID, SUBGID) if uids else (SUBGID, SUBUID)
        raise InvalidParameter(
            f"{present} sets ids aside for {OWN_NAME} and {missing} does not: add the line {line} "
            f"to {missing}"
        )
    if uids:
        return IdMap(uids, gids)
    for path, text in ((SUBUID, subuid), (SUBGID, subgid)):
        taken = overlaps(text, (OWN_RANGE,))
        if taken is not None:
            raise InvalidParameter(
                f"the ids that containers get by --userns private belong to somebody: {taken} in "
                f"{path}; add the line {line} to {SUBUID} and {SUBGID}"
            )
    return IdMap((OWN_RANGE,), (OWN_RANGE,))
