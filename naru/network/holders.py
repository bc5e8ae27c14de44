"""Which process of the host has a port: for the text of an error only."""

import os
from collections.abc import Iterator
from pathlib import Path

_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_LISTEN = "0A"


def find(proto: str, port: int) -> str | None:
    """`process nginx (pid 12)` for a socket that listens on `port` on any address, else None."""
    inodes = set(_inodes(proto, port))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    own = os.getpid()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) != own and _has(pid, wanted):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            return f"process {name} (pid {pid})"
    return None


def _inodes(proto: str, port: int) -> Iterator[str]:
    suffix = f":{port:04X}"
    for table in _TABLES.get(proto, ()):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(suffix) and (proto == "udp" or fields[3] == _LISTEN):
                yield fields[9]


def _has(pid: str, wanted: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            return any(os.readlink(descriptor.path) in wanted for descriptor in descriptors)
    except OSError:
        return False
