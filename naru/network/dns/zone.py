"""What names mean to one asker. Pure.

A `Zone` is one network's names, shared by everybody on it; a `View` is what one sandbox may see:
its links, then its networks in order. The first network that has an address of the wanted family
under a name answers, as on Docker; a name that exists without one has no data, and is never asked
for elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence

from naru.network.dns import message

Addresses = tuple[bytes, ...]  # packed: 4 bytes or 16
Entry = tuple[Sequence[str], Sequence[str], Sequence[bytes], bool]  # own names, aliases, addresses
_EMPTY: Addresses = ()
_V4, _V6 = 4, 16


class Zone:
    """The names of one network."""

    __slots__ = ("_names", "_pointers", "_suffix")

    def __init__(self, network_name: str, members: Iterable[Entry]) -> None:
        self._suffix = message.encode_name(network_name)
        self._names: dict[bytes, Addresses] = {}
        self._pointers: dict[bytes, Addresses] = {}
        for own_names, aliases, addresses, listed in members:
            for name in own_names:
                self._add(name, addresses)
            for name in aliases:
                self._add(name, addresses if listed else _EMPTY)
            target = message.encode_name(f"{own_names[0]}.{network_name}") if own_names else None
            if target is not None:
                for address in addresses:
                    self._pointers.setdefault(message.reverse_name(address), (target,))

    def _add(self, name: str, addresses: Iterable[bytes]) -> None:
        wire = message.encode_name(name)
        if wire is not None:
            known = self._names.get(wire, _EMPTY)
            self._names[wire] = tuple(dict.fromkeys((*known, *addresses)))

    def find(self, name: bytes) -> Addresses | None:
        """All addresses of `name` or `name.network`; None when there is no such name."""
        found = self._names.get(name)
        suffix = self._suffix
        if found is None and suffix is not None and name.endswith(suffix):
            return self._names.get(name[: -len(suffix)] + b"\0")
        return found

    def pointer(self, name: bytes) -> Addresses | None:
        return self._pointers.get(name)


class View:
    """What one sandbox's names mean. `links`: private names, seen by nobody else."""

    __slots__ = ("links", "zones")

    def __init__(self, zones: Sequence[Zone], links: Mapping[str, Sequence[bytes]]) -> None:
        self.zones = tuple(zones)
        named = ((message.encode_name(name), tuple(found)) for name, found in links.items())
        self.links = {name: found for name, found in named if name is not None}


def lookup(view: View, name: bytes, qtype: int) -> tuple[bytes, ...] | None:
    """The records' data for a name on the wire in lower case, empty for none of that type; None
    when the name is not one of ours."""
    if name.endswith(b"\x04arpa\0"):
        for zone in view.zones:
            target = zone.pointer(name)
            if target is not None:
                return target if qtype == message.PTR else _EMPTY
        return None
    length = {message.A: _V4, message.AAAA: _V6}.get(qtype, 0)
    known = False
    for found in (view.links.get(name), *(zone.find(name) for zone in view.zones)):
        if found is not None:
            known = True
            wanted = tuple(address for address in found if len(address) == length)
            if wanted:
                return wanted
    return _EMPTY if known else None
