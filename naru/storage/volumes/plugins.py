"""Volume drivers that are other programs: found in directories, asked by Docker's protocol.

    NAME.sock, NAME/NAME.sock    a socket
    NAME.spec                    a text: unix:///path or tcp://host:port
    NAME.json                    {"Name", "Addr"}

A plugin is looked for whenever it is needed, so that it may come and go. Each call has a deadline.
Where a plugin says that a volume lies is checked: it must be a directory of the host that is
neither the host's root, nor the kernel's, nor the engine's own.

Spec: Docker plugin API and volume plugins, v1.
"""

import asyncio
import json
import os
import stat
from collections.abc import Sequence
from typing import Any

from naru.base.errors import NotFound
from naru.base.ids import is_name
from naru.kernel.files import read_file_limited
from naru.kernel.threads import offload
from naru.storage.volumes.plugin_call import PluginAnswer, PluginError, PluginVolume, call

DEFAULT_DIRECTORIES = ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")
_SPEC_BYTES = 1 << 16
LOOK_S = 5.0
_FORBIDDEN = ("/proc", "/sys", "/dev")
_INTERFACE = "VolumeDriver"


class Plugins:
    """`own`: directories of the engine, which no volume may be, hold, or lie in."""

    def __init__(
        self, directories: Sequence[str], *, timeout_s: float = 30.0, own: Sequence[str] = ()
    ) -> None:
        self._directories, self._timeout_s, self._own = directories, timeout_s, own
        self._active: dict[str, tuple[str, str]] = {}

    async def scope(self, driver: str, volume: str) -> str:
        """What the driver says of its reach: local or global. Raises: NotFound (no such plugin)."""
        address = await self._address(driver, volume)
        known = self._active.get(driver)
        if known is not None and known[0] == address:
            return known[1]
        manifest = await call(driver, address, "Plugin.Activate", {}, self._timeout_s)
        if _INTERFACE not in (manifest.implements or ()):
            raise NotFound(
                f"create {volume}: error looking up volume plugin {driver}: plugin {driver} does "
                f"not implement the requested interface {_INTERFACE}"
            )
        scope = "local"
        try:
            said = await self._at(address, driver, "Capabilities", {})
            if said.capabilities is not None and said.capabilities.scope.lower() == "global":
                scope = "global"
        except PluginError:
            pass  # an old plugin knows no such call
        self._active[driver] = (address, scope)
        return scope

    async def get(self, driver: str, name: str) -> PluginVolume | None:
        """The volume as the plugin knows it, or None. Raises: PluginError, NotFound."""
        try:
            answer = await self._ask(driver, name, "Get", {"Name": name})
        except PluginError as error:
            if error.said:
                return None
            raise
        return answer.volume

    async def create(self, driver: str, name: str, options: dict[str, str]) -> None:
        """Raises: PluginError with the plugin's own words."""
        try:
            await self._ask(driver, name, "Create", {"Name": name, "Opts": options})
        except PluginError as error:
            raise PluginError(f"create {name}: {error.message}") from error

    async def remove(self, driver: str, name: str) -> None:
        """Raises: PluginError; a volume that the plugin does not know is gone."""
        try:
            await self._ask(driver, name, "Remove", {"Name": name})
        except PluginError as error:
            if error.said and await self.get(driver, name) is None:
                return
            raise PluginError(f"remove {name}: {error.message}", said=error.said) from error

    async def mount(self, driver: str, name: str, holder: str) -> str:
        """The directory of the data. Raises: PluginError."""
        try:
            answer = await self._ask(driver, name, "Mount", {"Name": name, "ID": holder})
            return await self._checked(driver, answer.mountpoint or "")
        except PluginError as error:
            raise PluginError(
                f"error while mounting volume '{name}': VolumeDriver.Mount: {error.message}"
            ) from error

    async def path(self, driver: str, name: str) -> str:
        """The directory of a volume that is mounted. Raises: PluginError."""
        answer = await self._ask(driver, name, "Path", {"Name": name})
        return await self._checked(driver, answer.mountpoint or "")

    async def unmount(self, driver: str, name: str, holder: str) -> None:
        """Raises: PluginError, NotFound."""
        await self._ask(driver, name, "Unmount", {"Name": name, "ID": holder})

    async def list(self) -> "tuple[dict[str, list[PluginVolume]], list[str]]":
        """The volumes of every driver, and a warning for each that does not tell."""

        async def one(driver: str) -> list[PluginVolume]:
            async with asyncio.timeout(LOOK_S):
                return (await self._ask(driver, "", "List", {})).volumes or []

        drivers = await self.names()
        found = await asyncio.gather(*map(one, drivers), return_exceptions=True)
        volumes: dict[str, list[PluginVolume]] = {}
        warnings = []
        for driver, outcome in zip(drivers, found, strict=True):
            if isinstance(outcome, list):
                volumes[driver] = [item for item in outcome if is_name(item.name)]
            elif isinstance(outcome, (PluginError, NotFound)):
                warnings.append(f"list {driver}: {outcome.message}")
            elif isinstance(outcome, TimeoutError):
                warnings.append(f"list {driver}: plugin {driver} did not answer in {LOOK_S:g} s")
            else:
                raise outcome
        return volumes, warnings

    async def names(self) -> Sequence[str]:
        """The drivers that there are files of."""
        return await offload(self._scan)

    # -- finding them

    def _scan(self) -> Sequence[str]:
        found = set()
        for folder in self._directories:
            try:
                entries = os.listdir(folder)
            except OSError:
                continue
            for entry in entries:
                base, dot, end = entry.rpartition(".")
                name = base if dot and end in ("sock", "spec", "json") else entry
                if is_name(name) and self._look(name):
                    found.add(name)
        return sorted(found)

    async def _address(self, driver: str, volume: str) -> str:
        address = await offload(self._look, driver) if is_name(driver) else ""
        if not address:
            self._active.pop(driver, None)
            raise NotFound(
                f"create {volume}: error looking up volume plugin {driver}: plugin "
                f'"{driver}" not found'
            )
        return address

    def _look(self, driver: str) -> str:
        """The address of a driver, empty when there is none."""
        for folder in self._directories:
            for place in (f"{driver}.sock", f"{driver}/{driver}.sock"):
                path = os.path.join(folder, place)
                if _is_socket(path):
                    return f"unix://{path}"
        for folder in self._directories:
            for end in ("spec", "json"):
                for place in (f"{driver}.{end}", f"{driver}/{driver}.{end}"):
                    address = _read_spec(os.path.join(folder, place), end)
                    if address:
                        return address
        return ""

    # -- asking them

    async def _ask(self, driver: str, volume: str, what: str, body: dict[str, Any]) -> PluginAnswer:
        await self.scope(driver, volume)
        try:
            return await self._at(self._active[driver][0], driver, what, body)
        except PluginError as error:
            if not error.said:
                self._active.pop(driver, None)  # it may come back as another one
            raise

    async def _at(self, address: str, driver: str, what: str, body: dict[str, Any]) -> PluginAnswer:
        return await call(driver, address, f"{_INTERFACE}.{what}", body, self._timeout_s)

    async def _checked(self, driver: str, path: str) -> str:
        reason = ""
        if not path.startswith("/") or "\0" in path or os.path.normpath(path) != path:
            reason = "which is no absolute path in its normal form"
        elif path == "/" or _inside(path, _FORBIDDEN):
            reason = "which is not for volumes"
        elif _inside(path, self._own) or any(_inside(own, (path,)) for own in self._own):
            reason = "which is the engine's own"
        elif not await offload(_is_directory, path):
            reason = "which is no directory"
        if reason:
            raise PluginError(f"plugin {driver} says that the volume is at {path!r}, {reason}")
        return path


def _inside(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _is_directory(path: str) -> bool:
    """A link would be somebody else's say of where the volume is."""
    return os.path.realpath(path) == path and os.path.isdir(path)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _read_spec(path: str, kind: str) -> str:
    """The address in a .spec or .json file; empty when it is none that can be used."""
    try:
        text = read_file_limited(path, _SPEC_BYTES).decode().strip()
        address = str(json.loads(text)["Addr"]) if kind == "json" else text
        if kind == "json" and json.loads(text).get("TLSConfig"):
            return ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    scheme, _, rest = address.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return address
    host, colon, port = rest.rpartition(":")
    return address if scheme == "tcp" and host and colon and port.isdigit() else ""
