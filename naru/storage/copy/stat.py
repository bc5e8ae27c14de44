"""What a client is told of a path before its archive: the header `X-Docker-Container-Path-Stat`.

Spec: Engine API 1.51, ContainerArchiveInfo; the mode has the bits of Go's `os.FileMode`. Pure.
"""

import base64
import json
import stat
from dataclasses import asdict, dataclass

from naru.base.clock import rfc3339

_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


@dataclass(frozen=True, slots=True)
class PathStat:
    """`mode` as Go has it; `link_target`: where a symbolic link leads in the end, else empty."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        return bool(self.mode & 1 << 31)

    def header(self) -> str:
        """The header's value: base64 of JSON."""
        body = {
            "name": self.name,
            "size": self.size,
            "mode": self.mode,
            "mtime": rfc3339(self.mtime_ns) if self.mtime_ns > 0 else "1970-01-01T00:00:00Z",
            "linkTarget": self.link_target,
        }
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        return base64.b64encode(text.encode("utf-8", "replace")).decode()

    def to_json(self) -> dict[str, str | int]:
        return asdict(self)


def go_mode(mode: int) -> int:
    """A Unix mode with type bits as Go's `os.FileMode`."""
    value = mode & 0o777 | _TYPES.get(stat.S_IFMT(mode), 0)
    return value | sum(go for unix, go in _BITS if mode & unix)
